"""Real runner processes: how they start, what they survive, and how they end."""

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from paddock.protocol import CompletionRequest, Done, Failed, PromptProgress, RunnerState, Sampling, Text
from paddock.runner.hygiene import EXIT_ORPHANED
from paddock.runner.main import EXIT_GIVEN_UP, EXIT_LOAD_FAILED
from tests.fakes.waiting import until
from tests.runner.processes import SOURCES, spawn

ENDLESS = CompletionRequest(prompt="hello", sampling=Sampling(seed=1))
LONG = CompletionRequest(prompt="x" * 8000, sampling=Sampling(num_predict=2))


async def test_it_answers_before_the_model_is_loaded(tiny_model):
    async with spawn(tiny_model) as runner:
        first = await runner.health()
        last = await runner.wait_loaded()

    assert first.state in (RunnerState.STARTING, RunnerState.LOADING)
    assert (last.state, last.progress, last.context_length) == (RunnerState.READY, 1.0, 512)
    assert last.pid == runner.child.pid
    assert 0 < last.memory.weights_bytes <= last.memory.active_bytes < last.memory.resident_bytes


async def test_many_requests_at_once_get_the_answers_they_would_get_alone(start_runner, tiny_model):
    runner = await start_runner(tiny_model, parallel=3)
    requests = [
        CompletionRequest(prompt=f"prompt {index}", sampling=Sampling(seed=index, num_predict=30)) for index in range(7)
    ]
    alone = [(await runner.answer("/completion", request))[0] for request in requests]

    together = await asyncio.gather(*(runner.answer("/completion", request) for request in requests))

    assert [text for text, _ in together] == alone
    assert len(set(alone)) == 7
    health = await runner.health()
    assert (health.active_requests, health.tokens) == (0, 2 * 7 * 30)


async def test_health_is_immediate_while_a_long_prompt_is_read(start_runner, slow_model):
    runner = await start_runner(slow_model, num_ctx=8192, num_batch=4096)
    reading = asyncio.ensure_future(runner.frames("/completion", LONG))
    latencies = []
    while not reading.done() and len(latencies) < 30:
        begun = time.monotonic()
        health = await runner.health()
        latencies.append(time.monotonic() - begun)
        await asyncio.sleep(0.01)
        if health.steps >= 2:
            break
    reading.cancel()

    assert len(latencies) >= 3, "the prompt was read too fast to prove anything"
    assert sorted(latencies)[len(latencies) // 2] < 0.1
    assert max(latencies) < 0.5


async def test_a_long_prompt_reports_progress_and_stops_when_its_client_leaves(start_runner, slow_model):
    runner = await start_runner(slow_model, num_ctx=8192, num_batch=64)
    async with runner.stream("/completion", LONG) as frames:
        first = await anext(frames)
    deadline = time.monotonic() + 5
    while (await runner.health()).active_requests:
        assert time.monotonic() < deadline
    stopped = await runner.health()
    text, done = await runner.answer("/completion", CompletionRequest(prompt="next", sampling=Sampling(num_predict=3)))

    assert first == PromptProgress(done=64, total=8000)
    assert stopped.steps < 8000 // 64
    assert (await runner.health()).steps <= stopped.steps + 1 + 4
    assert done.eval_count == 3
    assert text


async def test_generation_stops_when_its_client_leaves(start_runner, slow_model):
    runner = await start_runner(slow_model, num_ctx=8192)
    async with runner.stream("/completion", ENDLESS) as frames:
        for _ in range(5):
            assert isinstance(await anext(frames), Text)
    deadline = time.monotonic() + 5
    while (await runner.health()).active_requests:
        assert time.monotonic() < deadline
    stopped = (await runner.health()).tokens
    await asyncio.sleep(0.3)

    assert (await runner.health()).tokens <= stopped + 1
    assert stopped < 200


async def test_token_ids_that_would_crash_the_engine_are_refused(start_runner, tiny_model):
    runner = await start_runner(tiny_model)

    status, failed = await runner.failure("/completion", CompletionRequest(prompt="x", context=(1_000_000,)))

    assert (status, failed.code) == (400, "bad_request")
    assert isinstance((await runner.frames("/completion", CompletionRequest(prompt="x")))[-1], Done)


@pytest.mark.parametrize("is_busy", [False, True])
async def test_it_ends_when_the_servers_end_of_the_control_pipe_closes(start_runner, slow_model, is_busy):
    runner = await start_runner(slow_model, num_ctx=8192, num_batch=8192)
    if is_busy:
        request = asyncio.ensure_future(runner.frames("/completion", LONG))
        await _busy(runner)
    begun = time.monotonic()
    runner.close_control()
    status = await runner.wait_exit(1.0)

    assert status == EXIT_ORPHANED
    assert time.monotonic() - begun < 1.0
    if is_busy:
        with pytest.raises(Exception):  # noqa: B017 -- whichever way the client notices
            await request


async def test_it_ends_while_it_loads_when_the_control_pipe_closes(tiny_model):
    async with spawn(tiny_model) as runner:
        await runner.health()
        runner.close_control()

        assert await runner.wait_exit(1.0) == EXIT_ORPHANED


async def _busy(runner) -> None:
    deadline = time.monotonic() + 5
    while not (await runner.health()).active_requests:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_sigterm_ends_active_requests_with_an_error_and_the_process_with_zero(start_runner, slow_model):
    runner = await start_runner(slow_model, num_ctx=8192)
    async with runner.stream("/completion", ENDLESS) as frames:
        await anext(frames)
        begun = time.monotonic()
        runner.child.send_signal(signal.SIGTERM)
        *_, last = [frame async for frame in frames]
        assert isinstance(last, Failed)
        assert last.code == "server_closing"

    assert await runner.wait_exit(2.0) == 0
    assert time.monotonic() - begun < 2.0


async def test_sigterm_in_the_middle_of_a_long_step_does_not_wait_for_it(start_runner, slow_model):
    runner = await start_runner(slow_model, num_ctx=8192, num_batch=8192)
    request = asyncio.ensure_future(runner.failure("/completion", LONG))
    await _busy(runner)
    runner.child.send_signal(signal.SIGTERM)

    assert await runner.wait_exit(2.0) == 0
    status, failed = await request
    assert (status, failed.code) == (503, "server_closing")
    assert "abort" not in runner.stderr().lower()


async def test_sigterm_while_it_loads_ends_it_cleanly(tiny_model):
    async with spawn(tiny_model) as runner:
        await runner.health()
        runner.child.send_signal(signal.SIGTERM)

        assert await runner.wait_exit(2.0) == 0


async def test_interrupts_are_the_servers_business(start_runner, tiny_model):
    runner = await start_runner(tiny_model)
    runner.child.send_signal(signal.SIGINT)
    text, _ = await runner.answer("/completion", CompletionRequest(prompt="x", sampling=Sampling(num_predict=3)))

    assert text
    assert runner.child.poll() is None


def _heed_interrupts() -> None:
    """A suite that runs in the background has SIGINT ignored from the start, which would look like a runner's doing."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent")
async def test_it_ends_with_a_server_that_was_killed_even_if_the_control_pipe_stays_open(tiny_model, tmp_path):
    script = (
        "import os, socket, subprocess, sys, time\n"
        "listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()\n"
        "command = [sys.executable, '-m', 'paddock', 'runner', '--engine', 'text', '--model', 'm',\n"
        "    '--model-path', sys.argv[2], '--listen-fd', str(listener.fileno()), '--control-fd', sys.argv[3],\n"
        "    '--num-ctx', '64']\n"
        "fds = (listener.fileno(), int(sys.argv[3]))\n"
        "print(subprocess.Popen(command, pass_fds=fds, start_new_session=True).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    read_end, write_end = os.pipe()
    arguments = [sys.executable, "-c", script, str(tmp_path / "s"), str(tiny_model), str(read_end)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    server = subprocess.Popen(  # noqa: ASYNC220 -- it returns at once
        arguments, pass_fds=(read_end,), stdout=subprocess.PIPE, env=environment, preexec_fn=_heed_interrupts
    )
    assert server.stdout is not None
    runner = psutil.Process(int(server.stdout.readline()))
    await until(lambda: _listens_to_signals(runner.pid))
    server.kill()
    server.wait()
    server.stdout.close()

    await until(lambda: not runner.is_running() or runner.status() == psutil.STATUS_ZOMBIE, within_seconds=5.0)
    os.close(read_end)
    os.close(write_end)


def _listens_to_signals(pid: int) -> bool:
    """Whether it has come as far as ignoring SIGINT, which it does after it asked to die with its parent."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"].strip(), 16) & 1 << (signal.SIGINT - 1))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the limits of other processes")
async def test_the_limit_of_open_files_is_left_as_it_was(start_runner, tiny_model):
    runner = await start_runner(tiny_model)

    assert psutil.Process(runner.child.pid).rlimit(psutil.RLIMIT_NOFILE) == resource.getrlimit(resource.RLIMIT_NOFILE)


async def test_a_healthy_life_leaves_nothing_on_stderr_but_the_name_of_the_blas(start_runner, tiny_model):
    runner = await start_runner(tiny_model)
    await runner.answer("/completion", CompletionRequest(prompt="x", sampling=Sampling(num_predict=3)))
    runner.child.send_signal(signal.SIGTERM)
    await runner.wait_exit(2.0)

    assert [line for line in runner.stderr().splitlines() if "Matrix products run on" not in line] == []


def _without(tiny_model: Path, folder: Path, name: str) -> Path:
    shutil.copytree(tiny_model, folder)
    (folder / name).unlink()
    return folder


async def test_a_load_that_fails_can_be_read_until_the_server_ends_it(tiny_model, tmp_path):
    async with spawn(_without(tiny_model, tmp_path / "model", "model.safetensors")) as runner:
        health = await runner.wait_loaded()
        again = await runner.health()
        status, failed = await runner.failure("/completion", ENDLESS)
        runner.child.send_signal(signal.SIGTERM)
        exit_status = await runner.wait_exit()
        stderr = runner.stderr()

    message = (
        "There are no weights among the model's files: model.safetensors is missing; pull or create the model again."
    )
    assert (health.state, health.failure) == (RunnerState.FAILED, Failed(code="damaged_model", message=message))
    assert again.failure == health.failure == failed
    assert status == 500
    assert exit_status == EXIT_LOAD_FAILED
    assert stderr.endswith(f"error: {message}\n")


async def test_an_unknown_architecture_fails_the_load(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": "quantum"}))
    async with spawn(folder) as runner:
        health = await runner.wait_loaded()

    assert health.failure is not None
    assert health.failure.code == "unsupported_model"
    assert '"quantum"' in health.failure.message


async def test_a_kind_of_model_without_an_engine_fails_the_load(tiny_model):
    async with spawn(tiny_model, engine="sound") as runner:
        health = await runner.wait_loaded()

    assert health.failure is not None
    assert health.failure.code == "unsupported_model"


async def test_a_text_on_which_the_tokenizer_hangs_ends_the_runner_and_says_so(tiny_model, tmp_path):
    """A word of any length is looked up by every one of its parts: native code that cannot be interrupted."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    known = json.loads((folder / "tokenizer.json").read_text())
    known["model"] = {
        "type": "WordPiece",
        "vocab": known["model"]["vocab"],
        "unk_token": "a",
        "continuing_subword_prefix": "",
        "max_input_chars_per_word": 1_000_000_000,
    }
    (folder / "tokenizer.json").write_text(json.dumps(known))
    async with spawn(folder) as runner:
        assert (await runner.wait_loaded()).state is RunnerState.READY
        async with runner.stream("/completion", CompletionRequest(prompt="a", sampling=Sampling(seed=1))) as frames:
            assert isinstance(await anext(frames), Text)
            status, failed = await runner.failure("/completion", CompletionRequest(prompt="a" * 20_000))
            *_, last = [frame async for frame in frames]

        assert status == 500
        assert failed.code == "damaged_model"
        assert "takes far too long" in failed.message
        assert isinstance(last, Done | Failed)
        assert await runner.wait_exit() == EXIT_GIVEN_UP
        assert "cannot be interrupted" in runner.stderr()
