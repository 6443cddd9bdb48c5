import asyncio
import os
import signal
from contextlib import aclosing

import psutil
import pytest

from paddock.errors import (
    DamagedModel,
    InvalidOption,
    LoadFailed,
    OutOfMemory,
    ProtocolError,
    RunnerDied,
    UnsupportedModel,
    UnsupportedPlatform,
)
from paddock.memory.devices import Device
from paddock.protocol import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    Done,
    EmbeddingRequest,
    Failed,
    Image,
    ImageRequest,
    Step,
    Text,
    TokenizeRequest,
)
from paddock.supervisor import runner_server
from paddock.supervisor.load_watch import Deadlines
from paddock.supervisor.model_server import MemorySize, ModelServer
from paddock.supervisor.runner_server import RunnerServer
from tests.fakes.fake_server import FakeModelServer
from tests.fakes.holdings import Holdings
from tests.fakes.runners import CPU, SYSTEM, fake_host, fake_spec, is_alive, zombie_count
from tests.fakes.waiting import settle, until

GPU = Device("metal", "Apple M9", 8_000_000_000, 8_000_000_000, is_accelerator=True)
PROMPT = CompletionRequest(prompt="the quick brown fox")


async def text_of(frames) -> str:
    async with aclosing(frames):
        return "".join([frame.content async for frame in frames if isinstance(frame, Text)])


# ---- a load ---------------------------------------------------------------------------------------------------------


def test_it_and_the_fake_are_model_servers():
    servers: list[ModelServer] = [RunnerServer(fake_spec(), fake_host()), FakeModelServer(fake_spec())]
    assert [server.pid for server in servers] == [-1, -1]
    assert [server.endpoint for server in servers] == ["", ""]
    assert [server.has_exited for server in servers] == [False, False]


async def test_a_load_starts_a_process_that_becomes_ready(start_runner):
    server = await start_runner()
    assert is_alive(server.pid)
    assert server.endpoint.endswith("/socket")
    assert server.context_length == 2048
    assert not server.has_exited
    await server.ping()


async def test_a_slow_load_with_progress_outlives_the_deadline_for_progress(start_runner):
    server = await start_runner(load_seconds=1.0, load_steps=20, deadlines=Deadlines(load_seconds=0.4))
    assert server.context_length == 2048


async def test_a_load_without_progress_fails_and_its_process_is_ended(start_runner):
    server = await start_runner(is_ready=False, never_ready=True, deadlines=Deadlines(load_seconds=0.3))
    with pytest.raises(LoadFailed, match=r"made no progress for 0\.3 seconds"):
        await server.wait_until_running()
    assert server.has_exited
    assert server.pid == -1
    assert server.endpoint == ""


async def test_a_runner_that_never_answers_fails_the_load(start_runner):
    server = await start_runner(is_ready=False, never_hello=True, deadlines=Deadlines(hello_seconds=0.3))
    with pytest.raises(LoadFailed, match=r"did not answer within 0\.3 seconds"):
        await server.wait_until_running()
    assert server.has_exited


QUICK_TO_SEE = Deadlines(ping_seconds=0.1, standstill_seconds=0.5)


async def test_a_runner_that_is_stopped_while_it_loads_is_found(start_runner):
    server = await start_runner(is_ready=False, load_seconds=60, deadlines=QUICK_TO_SEE)
    waiting = asyncio.create_task(server.wait_until_running())
    await until(lambda: server._process.state == "loading")
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(LoadFailed, match="hang, it stood still for 1 seconds while it was loading"):
        await asyncio.wait_for(waiting, 5)
    assert server.has_exited
    assert zombie_count() == 0


async def test_a_load_that_keeps_its_process_from_answering_is_left_alone(start_runner):
    server = await start_runner(load_computes=40, deadlines=QUICK_TO_SEE)
    assert server.context_length == 2048


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ({"die_at": "start", "last_words": "ImportError: no mlx"}, LoadFailed, "exit code 1: ImportError: no mlx"),
        ({"die_at": "load", "exit_code": -11}, LoadFailed, "SIGSEGV"),
        ({"die_at": "load", "exit_code": -9}, OutOfMemory, "SIGKILL"),
        ({"die_at": "load", "last_words": "ValueError: Model type x not supported."}, UnsupportedModel, "Model type x"),
        ({"die_at": "load", "last_words": "SafetensorError: InvalidHeader"}, DamagedModel, "InvalidHeader"),
        ({"load_failure": Failed(code="unsupported_model", message="No engine runs x.")}, UnsupportedModel, "engine"),
        ({"load_failure": Failed(code="out_of_memory", message="Too big.")}, OutOfMemory, "Too big"),
    ],
)
async def test_a_load_that_fails_says_why_at_once_and_leaves_no_process(start_runner, behaviour, kind, words):
    server = await start_runner(is_ready=False, **behaviour)
    with pytest.raises(kind, match=words):
        await asyncio.wait_for(server.wait_until_running(), 3)
    assert server.has_exited
    assert zombie_count() == 0


async def test_cancelling_the_wait_for_a_load_leaves_nothing_behind(start_runner):
    server = await start_runner(is_ready=False, load_seconds=60)
    before = None
    for _ in range(3):
        waiting = asyncio.create_task(server.wait_until_running())
        await until(lambda: server._process.state == "loading")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await settle()
        before = before or Holdings()
    await before.are_all()
    assert is_alive(server.pid)
    await server.close()
    assert server.has_exited


async def test_closing_during_a_load_ends_the_wait_for_it(start_runner):
    server = await start_runner(is_ready=False, load_seconds=60)
    waiting = asyncio.create_task(server.wait_until_running())
    await until(lambda: server._process.state == "loading")
    await server.close()
    with pytest.raises(LoadFailed, match="it was stopped"):
        await waiting


async def test_nothing_starts_on_a_machine_without_mlx(monkeypatch):
    monkeypatch.setattr(runner_server.platform, "system", lambda: "Windows")
    server = RunnerServer(fake_spec(), fake_host())
    with pytest.raises(UnsupportedPlatform):
        await server.load(SYSTEM, [CPU], require_full=False)
    assert server.pid == -1
    await server.close()


async def test_what_was_not_started_says_so():
    server = RunnerServer(fake_spec(), fake_host())
    with pytest.raises(RunnerDied, match="was not started"):
        await server.ping()
    assert await server.memory_size() == MemorySize(total_bytes=0, device_bytes=0)
    await server.close()


# ---- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_gpu", "used", "size"),
    [(-1, "metal", MemorySize(2300, 2300)), (0, "cpu", MemorySize(total_bytes=5000, device_bytes=0))],
)
async def test_memory_is_told_where_it_is_held(num_gpu, used, size):
    spec = fake_spec()
    spec = type(spec)(**{**vars(spec), "options": type(spec.options)(num_ctx=128, num_gpu=num_gpu)})
    server = RunnerServer(spec, fake_host())
    try:
        assert await server.load(SYSTEM, [GPU, CPU], require_full=False) == [used]
        await server.wait_until_running()
        assert await server.memory_size() == size
        assert await server.vram_by_device(used) == size.total_bytes
        assert await server.vram_by_device("cuda:7") == 0
        assert await server.device_infos() == []
    finally:
        await server.close()
    assert await server.memory_size() == size


async def test_a_runner_that_stands_still_fails_the_ping_and_keeps_its_last_figures(start_runner):
    deadlines = Deadlines(ping_seconds=0.2, memory_seconds=0.2, grace_seconds=0.2)
    server = await start_runner(freeze_after_frames=1, deadlines=deadlines)
    async with aclosing(server.completion(PROMPT)) as frames:
        assert await anext(frames) == Text(content="the ")
        with pytest.raises(RunnerDied, match=r"did not answer within 0\.2 seconds"):
            await server.ping()
        assert (await server.memory_size()).total_bytes == 5000


# ---- answers --------------------------------------------------------------------------------------------------------


async def test_an_answer_is_frames_that_end_in_done(start_runner):
    server = await start_runner()
    frames = [frame async for frame in server.completion(PROMPT)]
    assert [frame.content for frame in frames[:-1]] == ["the ", "quick ", "brown ", "fox "]
    assert isinstance(frames[-1], Done)
    request = ChatRequest(messages=(ChatMessage(role="user", content="hello there"),))
    assert await text_of(server.chat(request)) == "hello there "


async def test_pictures_come_with_their_steps(start_runner):
    server = await start_runner()
    request = ImageRequest(prompt="a red circle", width=16, height=8, steps=2, seed=4)
    frames = [frame async for frame in server.image(request)]
    assert [frame.done for frame in frames if isinstance(frame, Step)] == [0, 1, 2]
    assert [type(frame) for frame in frames[-2:]] == [Image, Done]
    assert (frames[-2].seed, frames[-2].width, frames[-2].height) == (4, 16, 8)


async def test_a_picture_of_the_largest_size_comes_whole(start_runner):
    server = await start_runner(long_frame_bytes=48 * 2**20)
    [*_, picture, _] = [frame async for frame in server.image(ImageRequest(prompt="a red circle", steps=1))]
    assert len(picture.data) >= 48 * 2**20


async def test_the_other_questions_are_answered(start_runner):
    server = await start_runner()
    request = ChatRequest(messages=(ChatMessage(role="user", content="hi"),))
    assert await server.apply_chat_template(request) == "hi"
    assert await server.tokenize(TokenizeRequest(text="ab")) == [97, 98]
    assert await server.count(request) == 1
    assert await server.detokenize(DetokenizeRequest(tokens=(97, 98))) == "ab"
    assert (await server.embedding(EmbeddingRequest(inputs=("a", "b")))).embeddings == ((1.0, 0.0), (1.0, 0.0))


async def test_many_answers_at_once_do_not_wait_for_each_other(start_runner):
    server = await start_runner(frame_count=20, frame_seconds=0.02)
    start = asyncio.get_running_loop().time()
    texts = await asyncio.gather(*(text_of(server.completion(CompletionRequest(prompt=f"{n}"))) for n in range(50)))
    assert texts == [f"{n} " * 20 for n in range(50)]
    assert asyncio.get_running_loop().time() - start < 4


async def test_prompts_and_frames_may_be_large(start_runner):
    server = await start_runner(long_frame_bytes=5_000_000)
    answer = await text_of(server.completion(CompletionRequest(prompt="x" * 8_000_000)))
    assert len(answer) == 8_000_001
    assert len(await text_of(server.completion(CompletionRequest(prompt="a b")))) == 10_000_000


async def test_a_refusal_before_the_first_frame_keeps_its_class(start_runner):
    server = await start_runner(refuse=Failed(code="invalid_option", message="num_predict is too large."))
    with pytest.raises(InvalidOption, match="num_predict is too large"):
        await text_of(server.completion(PROMPT))
    with pytest.raises(InvalidOption):
        await server.tokenize(TokenizeRequest(text="a"))


async def test_a_failed_frame_is_raised_as_its_class(start_runner):
    server = await start_runner(fail_after_frames=2)
    frames = server.completion(PROMPT)
    assert [await anext(frames), await anext(frames)] == [Text(content="the "), Text(content="quick ")]
    with pytest.raises(OutOfMemory, match="No memory is left"):
        await anext(frames)
    with pytest.raises(StopAsyncIteration):
        await anext(frames)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"break_after_frames": 2}, "broke off its answer"),
        ({"end_after_frames": 2}, "broke off its answer"),
        ({"malformed_after_frames": 2}, "does not know"),
        ({"frame_after_done": True}, "went on after the end"),
    ],
)
async def test_an_answer_that_breaks_the_protocol_ends_in_an_error(start_runner, behaviour, words):
    server = await start_runner(**behaviour)
    with pytest.raises(ProtocolError, match=words):
        await asyncio.wait_for(text_of(server.completion(PROMPT)), 4)
    await server.ping()


@pytest.mark.parametrize("behaviour", [{"die_at": "first_token"}, {"die_after_frames": 2}])
async def test_a_runner_that_dies_in_an_answer_ends_it_with_its_last_words(start_runner, behaviour):
    server = await start_runner(exit_code=134, last_words="fatal error: lost the GPU", **behaviour)
    with pytest.raises(RunnerDied) as death:
        await asyncio.wait_for(text_of(server.completion(PROMPT)), 2)
    expected = "The runner of 'tiny' ended while it was answering: exit code 134: fatal error: lost the GPU."
    assert death.value.message == expected
    assert await server.wait_exited() == "The runner of 'tiny' ended: exit code 134: fatal error: lost the GPU."
    with pytest.raises(RunnerDied, match="exit code 134"):
        await server.ping()
    with pytest.raises(RunnerDied, match="exit code 134"):
        await text_of(server.completion(PROMPT))


async def test_a_kill_mid_stream_reaches_every_answer_within_two_seconds(start_runner):
    server = await start_runner(frame_count=100_000, frame_seconds=0.01)
    streams = [server.completion(PROMPT) for _ in range(5)]
    for stream in streams:
        await anext(stream)
    os.kill(server.pid, signal.SIGKILL)
    start = asyncio.get_running_loop().time()
    for stream in streams:
        with pytest.raises(RunnerDied, match=r"while it was answering: killed by signal 9 \(SIGKILL\)"):
            await text_of(stream)
    assert asyncio.get_running_loop().time() - start < 2
    assert server.has_exited


async def test_a_grandchild_that_holds_the_connection_does_not_hold_the_answer(start_runner):
    server = await start_runner(grandchild="own_session", grandchild_at="first_token", frame_count=9, frame_seconds=0.2)
    stream = server.completion(PROMPT)
    await anext(stream)
    [grandchild] = psutil.Process(server.pid).children()
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(RunnerDied, match="SIGKILL"):
        await asyncio.wait_for(text_of(stream), 2)
    grandchild.kill()


# ---- cancellation ---------------------------------------------------------------------------------------------------


async def until_active(server: RunnerServer) -> None:
    """Return once the runner works on a request."""
    client = server._client
    assert client is not None
    for _ in range(400):
        if (await client.health(2)).active_requests:
            return
    raise AssertionError("the runner got no request")


async def tokens_stand_still(server: RunnerServer) -> None:
    """Return once the runner has no request and generates nothing more."""
    client = server._client
    assert client is not None
    for _ in range(400):
        health = await client.health(2)
        if health.active_requests == 0:
            assert (await client.health(2)).tokens == health.tokens
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the runner still works on a request that was cancelled")


async def test_closing_an_answer_stops_the_generation(start_runner):
    server = await start_runner(frame_count=100_000, frame_seconds=0.005)
    stream = server.completion(PROMPT)
    for _ in range(3):
        await anext(stream)
    await stream.aclose()
    await tokens_stand_still(server)


async def test_cancelling_a_task_before_the_first_frame_stops_the_generation(start_runner):
    server = await start_runner(frame_count=10, frame_seconds=30)
    reading = asyncio.create_task(text_of(server.completion(PROMPT)))
    await until_active(server)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await tokens_stand_still(server)


async def test_a_request_that_the_runner_does_not_read_can_be_cancelled(start_runner):
    server = await start_runner(stop_reading=True)
    await settle()
    before = Holdings()
    sending = asyncio.create_task(text_of(server.completion(CompletionRequest(prompt="x" * 20_000_000))))
    await until(lambda: any("descriptors" in each for each in before.grown()))
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await before.are_all()


# ---- close ----------------------------------------------------------------------------------------------------------


async def test_closing_ends_answers_under_way(start_runner):
    server = await start_runner(frame_count=100_000, frame_seconds=0.01)
    stream = server.completion(PROMPT)
    await anext(stream)
    await server.close()
    with pytest.raises(RunnerDied, match="it was stopped"):
        await asyncio.wait_for(text_of(stream), 2)


async def test_many_may_close_it_at_once_and_again(start_runner):
    server = await start_runner(ignore_sigterm=True, deadlines=Deadlines(grace_seconds=0.2))
    pid = server.pid
    closes = [asyncio.create_task(server.close()) for _ in range(10)]
    await asyncio.sleep(0)
    closes[0].cancel()
    await asyncio.wait(closes)
    await server.close()
    assert server.has_exited
    assert not is_alive(pid)


async def test_lives_with_answers_leave_no_descriptor_thread_zombie_or_task():
    async def live() -> None:
        server = RunnerServer(fake_spec(frame_count=50, frame_seconds=0.001), fake_host())
        await server.load(SYSTEM, [CPU], require_full=False)
        await server.wait_until_running()
        assert len(await text_of(server.completion(PROMPT))) > 50
        broken = server.completion(PROMPT)
        await anext(broken)
        await server.close()
        await broken.aclose()

    await live()
    before = Holdings()
    for _ in range(5):
        await live()
    await before.are_all()
    assert zombie_count() == 0


async def test_it_hands_on_the_wish_for_smaller_caches(start_runner):
    server = await start_runner()

    assert await server.shrink_caches(keep_bytes=6) == 7


async def test_it_remembers_what_its_runner_last_said(start_runner):
    server = await start_runner()

    assert server.last_health is not None
    assert server.last_health.pid == server.pid
