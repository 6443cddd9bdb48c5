"""The HTTP surface over a scripted engine, in this process: who is told what, and when work stops."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp.test_utils import TestClient, TestServer

from paddock import protocol
from paddock.errors import BadRequest, ContextTooLong, DamagedModel
from paddock.protocol import ChatMessage, ChatRequest, CompletionRequest, Done, Failed, Health, RunnerState, Text
from paddock.protocol.frames import decode_frame
from paddock.runner.http import make_app
from paddock.runner.service import RunnerService
from tests.fakes.waiting import until
from tests.runner.scripted import ScriptedEngine

REQUEST = CompletionRequest(prompt="hello")


class Surface:
    """A service, its engine and a client of it."""

    def __init__(self, service: RunnerService, engine: ScriptedEngine, client: TestClient) -> None:
        self.service, self.engine, self.client = service, engine, client

    async def health(self) -> Health:
        async with self.client.get("/health") as response:
            return protocol.decode(await response.read(), Health)

    async def post(self, route: str, message: protocol.Message) -> tuple[int, bytes]:
        async with self.client.post(route, data=protocol.encode(message)) as response:
            return response.status, await response.read()

    async def frames(self, message: protocol.Message = REQUEST) -> list[protocol.Frame]:
        status, body = await self.post("/completion", message)
        assert status == 200, body
        return [protocol.decode_frame(line) for line in body.splitlines()]


StartSurface = Callable[[ScriptedEngine], Awaitable[Surface]]


@pytest.fixture
async def start() -> AsyncIterator[StartSurface]:
    async with AsyncExitStack() as clients:
        engines = []

        async def start(engine: ScriptedEngine) -> Surface:
            service = RunnerService(lambda: engine)
            client = await clients.enter_async_context(TestClient(TestServer(make_app(service))))
            engines.append(engine)
            service.start()
            return Surface(service, engine, client)

        yield start
        for engine in engines:
            engine.allow(1_000)


@pytest.fixture
async def surface(start: StartSurface) -> Surface:
    surface = await start(ScriptedEngine())
    await asyncio.wait_for(surface.service.load_ended.wait(), 5)
    return surface


async def test_an_answer_is_lines_of_frames_with_one_end(surface):
    surface.engine.length = 3
    surface.engine.allow(10)

    frames = await surface.frames()

    *words, done = frames
    assert isinstance(done, Done)
    assert "".join(frame.content for frame in words) == "xxx"


async def test_words_that_come_at_once_go_out_together(surface):
    surface.engine.length = 50
    surface.engine.allow(100)

    *words, _ = await surface.frames()

    assert "".join(frame.content for frame in words) == 50 * "x"
    assert len(words) < 25


async def test_words_that_wait_are_told_though_the_engine_stands_still(surface):
    surface.engine.allow(3)
    async with surface.client.post("/completion", data=protocol.encode(REQUEST)) as response:
        found = ""
        async with asyncio.timeout(5):
            while found != "xxx":
                found += decode_frame(await response.content.readline()).content


async def test_a_client_that_goes_away_costs_at_most_one_more_token(surface):
    surface.engine.allow(3)
    response = await surface.client.post("/completion", data=protocol.encode(REQUEST))
    await response.content.readline()
    await until(lambda: surface.engine.steps == 3)
    response.close()
    await until(lambda: surface.service.health().active_requests == 0)
    surface.engine.allow(100)
    await until(lambda: not surface.engine.active)

    assert surface.engine.tokens_generated <= 4


async def test_a_client_that_goes_away_before_the_first_frame_is_noticed_too(surface):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await surface.client.post("/completion", data=protocol.encode(REQUEST))
    await until(lambda: surface.service.health().active_requests == 0)
    surface.engine.allow(100)
    await until(lambda: not surface.engine.active)

    assert surface.engine.tokens_generated <= 1


async def test_a_cancelled_request_leaves_the_others_alone(surface):
    stays = asyncio.ensure_future(surface.frames())
    leaves = asyncio.ensure_future(surface.frames())
    await until(lambda: len(surface.engine.active) == 2 or surface.service.health().active_requests == 2)
    leaves.cancel()
    await until(lambda: surface.service.health().active_requests == 1)
    surface.engine.length = 5
    surface.engine.allow(20)

    frames = await asyncio.wait_for(stays, 5)

    assert isinstance(frames[-1], Done)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadRequest("No."), 400, "bad_request"),
        (ContextTooLong("Too long."), 400, "context_too_long"),
        (DamagedModel("Broken."), 500, "damaged_model"),
        (ZeroDivisionError("internals"), 500, "runner"),
        (MemoryError(), 500, "out_of_memory"),
        (GeneratorExit("as a native panic: no Exception"), 500, "runner"),
    ],
)
async def test_what_goes_wrong_before_the_first_frame_has_a_status(surface, error, status, code):
    surface.engine.prepare_errors.append(error)

    found, body = await surface.post("/completion", REQUEST)

    failed = protocol.decode(body, Failed)
    assert (found, failed.code) == (status, code)
    assert "internals" not in failed.message


async def test_an_engine_that_stumbles_fails_its_requests_and_serves_the_next(surface):
    surface.engine.errors.extend([RuntimeError("shapes"), GeneratorExit("as a native panic: no Exception")])
    surface.engine.length = 2
    for _ in range(2):
        surface.engine.allow(1)
        status, body = await surface.post("/completion", REQUEST)
        assert (status, protocol.decode(body, Failed).code) == (500, "runner")
    surface.engine.allow(10)

    assert isinstance((await surface.frames())[-1], Done)


async def test_a_failure_in_the_middle_is_the_last_frame(surface):
    surface.engine.allow(2)
    response = await surface.client.post("/completion", data=protocol.encode(REQUEST))
    await response.content.readline()
    await until(lambda: surface.engine.steps == 2)
    surface.engine.errors.append(RuntimeError("shapes"))
    surface.engine.allow(1)

    lines = (await asyncio.wait_for(response.read(), 5)).splitlines()

    assert response.status == 200
    assert isinstance(protocol.decode_frame(lines[-1]), Failed)
    assert all(isinstance(protocol.decode_frame(line), Text) for line in lines[:-1])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"prompt": 5}', b'{"prompt": "x", "unknown": 1}'])
async def test_what_is_no_request_is_refused(surface, body):
    async with surface.client.post("/completion", data=body) as response:
        failed = protocol.decode(await response.read(), Failed)

    assert (response.status, failed.code) == (400, "protocol")


async def test_a_route_that_does_not_exist_says_so(surface):
    async with surface.client.get("/nothing") as response:
        failed = protocol.decode(await response.read(), Failed)

    assert (response.status, failed.code) == (404, "not_found")


async def test_texts_and_tokens_are_converted_while_the_engine_is_busy(surface):
    busy = asyncio.ensure_future(surface.frames())
    await until(lambda: surface.service.health().active_requests == 1)
    messages = (ChatMessage(role="user", content="Hi"),)

    _, template = await surface.post("/template", ChatRequest(messages=messages))
    _, tokens = await surface.post("/tokenize", protocol.TokenizeRequest(text="four"))
    _, text = await surface.post("/detokenize", protocol.DetokenizeRequest(tokens=(1, 2)))

    assert protocol.decode(template, protocol.TemplateReply).prompt == "rendered"
    assert protocol.decode(tokens, protocol.TokenizeReply).tokens == (4,)
    assert protocol.decode(text, protocol.DetokenizeReply).text == "xx"
    busy.cancel()


async def test_embeddings_are_refused_by_a_model_that_generates_text(surface):
    status, body = await surface.post("/embedding", protocol.EmbeddingRequest(inputs=("x",)))

    assert (status, protocol.decode(body, Failed).code) == (400, "unsupported")


async def test_vectors_and_scores_come_as_one_reply(surface):
    surface.engine.makes_vectors = True
    surface.engine.rows = ((1.0, 0.0), (0.0, 1.0))
    surface.engine.allow(10)

    _, vectors = await surface.post("/embedding", protocol.EmbeddingRequest(inputs=("x", (1, 2))))
    _, scores = await surface.post("/rerank", protocol.RerankRequest(query="a", documents=("b", "c")))

    assert protocol.decode(vectors, protocol.EmbeddingReply).embeddings == ((1.0, 0.0), (0.0, 1.0))
    assert protocol.decode(vectors, protocol.EmbeddingReply).prompt_tokens == 1
    assert protocol.decode(scores, protocol.RerankReply).logits == (1.0, 0.0)


async def test_a_failure_while_vectors_are_made_has_its_own_status(surface):
    surface.engine.makes_vectors = True
    surface.engine.errors.append(BadRequest("No."))
    surface.engine.allow(1)

    status, body = await surface.post("/embedding", protocol.EmbeddingRequest(inputs=("x",)))

    assert (status, protocol.decode(body, Failed).code) == (400, "bad_request")


async def test_whoever_asked_for_vectors_and_left_is_forgotten(surface):
    surface.engine.makes_vectors = True
    asking = asyncio.ensure_future(surface.post("/embedding", protocol.EmbeddingRequest(inputs=("x",))))
    await until(lambda: surface.engine.active)

    asking.cancel()

    await until(lambda: surface.service.health().active_requests == 0)
    surface.engine.allow(1)
    await until(lambda: not surface.engine.active)


async def test_the_heartbeat_counts_steps_tokens_and_requests(surface):
    before = await surface.health()
    streams = [asyncio.ensure_future(surface.frames()) for _ in range(2)]
    await until(lambda: surface.service.health().active_requests == 2)
    surface.engine.allow(5)
    await until(lambda: surface.service.health().steps == 5)
    after = await surface.health()

    assert (before.state, before.steps, before.tokens, before.active_requests) == (RunnerState.READY, 0, 0, 0)
    assert after.tokens >= 5
    assert after.active_requests == 2
    assert after.memory.active_bytes == 7
    assert after.context_length == 64
    for stream in streams:
        stream.cancel()


async def test_idle_seconds_grow_while_the_engine_hangs_but_start_with_its_work(surface):
    await asyncio.sleep(0.3)
    asked = time.monotonic()
    stream = asyncio.ensure_future(surface.frames())
    await until(lambda: surface.service.health().active_requests == 1)
    started = surface.service.health().idle_seconds
    since_asked = time.monotonic() - asked
    await until(lambda: surface.service.health().idle_seconds > since_asked)
    standing = surface.service.health().idle_seconds
    surface.engine.allow(1)
    await until(lambda: surface.service.health().idle_seconds < standing)

    assert started <= since_asked
    stream.cancel()


async def test_while_the_model_loads_requests_are_told_to_come_back(start):
    reports: asyncio.Queue = asyncio.Queue()
    loop, gate = asyncio.get_running_loop(), asyncio.Event()

    def load(report):
        report(0.5)
        report(0.25)
        loop.call_soon_threadsafe(reports.put_nowait, None)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(5)

    surface = await start(ScriptedEngine(load=load))
    await reports.get()
    health = await surface.health()
    status, body = await surface.post("/completion", REQUEST)
    gate.set()
    await asyncio.wait_for(surface.service.load_ended.wait(), 5)

    assert (health.state, health.progress) == (RunnerState.LOADING, 0.5)
    assert (status, protocol.decode(body, Failed).code) == (503, "busy")
    assert (await surface.health()).state is RunnerState.READY


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DamagedModel("Broken."), "damaged_model"),
        (SystemExit(1), "unsupported_model"),
        (RuntimeError("[malloc] Unable to allocate 10 bytes."), "out_of_memory"),
        (RuntimeError("internals"), "load_failed"),
    ],
)
async def test_a_load_that_fails_stays_readable(start, error, code):
    def load(_report):
        raise error

    surface = await start(ScriptedEngine(load=load))
    await asyncio.wait_for(surface.service.load_ended.wait(), 5)

    health = await surface.health()
    assert (health.state, health.failure.code) == (RunnerState.FAILED, code)
    assert "internals" not in health.failure.message
    status, body = await surface.post("/completion", REQUEST)
    assert (status, protocol.decode(body, Failed)) == (500, health.failure)


async def test_draining_ends_what_runs_and_refuses_what_comes(surface):
    surface.engine.allow(1)
    response = await surface.client.post("/completion", data=protocol.encode(REQUEST))
    await response.content.readline()

    surface.service.drain()
    surface.service.drain()

    last = protocol.decode_frame((await asyncio.wait_for(response.read(), 5)).splitlines()[-1])
    assert isinstance(last, Failed)
    assert last.code == "server_closing"
    status, body = await surface.post("/completion", REQUEST)
    assert (status, protocol.decode(body, Failed).code) == (503, "server_closing")
    assert (await surface.health()).state is RunnerState.DRAINING


async def test_caches_shrink_between_two_steps_of_a_request(surface):
    answering = asyncio.create_task(surface.frames())
    await until(lambda: surface.engine.active)
    shrinking = asyncio.create_task(surface.post("/shrink", protocol.ShrinkRequest(keep_bytes=5)))
    surface.engine.length = 3
    surface.engine.allow(10)

    status, body = await shrinking

    assert status == 200
    assert protocol.decode(body, protocol.ShrinkReply).freed_bytes == 11
    assert surface.engine.kept_bytes == 5
    assert isinstance((await answering)[-1], Done)
