"""The entry of a runner process: reads its command line, opens its socket, and ends it in one of four ways."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from paddock.runner import blas, hygiene
from paddock.runner.engines.base import Engine, EngineOptions
from paddock.runner.http import make_app
from paddock.runner.service import RunnerService
from paddock.runner.spare import Spare, warm_up

EXIT_LOAD_FAILED = 3
EXIT_GIVEN_UP = 4
"""A request hangs in native code that cannot be interrupted."""
_SPARE = "--spare"

_FAILED_LINGER_SECONDS = 10.0
"""How long a runner whose load failed stays, so that the server can read why."""
_FLUSH_SECONDS = 1.0
"""How long the last frames may take to reach their clients when the runner is told to end."""


def main(argv: Sequence[str]) -> int:
    """Run until the server ends it: 0 after SIGTERM, 3 when the model could not be loaded. Does not really return."""
    arguments = _parser(is_spare=_SPARE in argv).parse_args(argv)
    hygiene.die_with_parent()
    hygiene.keep_to_ourselves(arguments.listen_fd, arguments.control_fd)
    hygiene.watch_control_pipe(arguments.control_fd)
    hygiene.ignore_interrupts()
    hygiene.stay_small_in_death()
    hygiene.stay_off_the_network()
    hygiene.prepare_environment(os.environ, arguments.num_gpu)
    hygiene.leave_torch_out()
    logging.basicConfig(
        level=logging.DEBUG if arguments.debug else logging.INFO,
        stream=sys.stderr,
        format="%(levelname)s %(name)s: %(message)s",
    )
    hygiene.exit_now(asyncio.run(_serve_spare(argv) if arguments.spare else _serve(arguments)))


def _parser(is_spare: bool = False) -> argparse.ArgumentParser:
    """The command line; a spare's has no model in it."""
    is_known = not is_spare
    parser = argparse.ArgumentParser(prog="paddock runner", description="One loaded model. Started by the server only.")
    parser.add_argument("--engine", required=is_known, help="text, vision, embedding or image")
    parser.add_argument("--model", required=is_known, help="name of the model, for the process list")
    parser.add_argument("--model-path", required=is_known, type=Path, help="folder of the model's files")
    parser.add_argument("--listen-fd", required=True, type=int, help="a Unix socket that already listens")
    parser.add_argument("--control-fd", required=True, type=int, help="a pipe whose end of file ends this process")
    parser.add_argument("--num-ctx", required=is_known, type=int, help="context length in tokens")
    parser.add_argument("--parallel", type=int, default=1, help="sequences served at once")
    parser.add_argument("--num-batch", type=int, default=512, help="prompt tokens read in one step")
    parser.add_argument("--num-gpu", type=int, default=-1, help="0 keeps the model off accelerators")
    parser.add_argument("--memory-limit", type=int, default=0, help="bytes that MLX may hold; 0 leaves it to MLX")
    parser.add_argument("--kv-bits", type=int, choices=(0, 8, 4), default=0, help="bits of a number in the KV cache")
    parser.add_argument("--prefix-cache", type=int, default=0, help="bytes that may be kept of earlier prompts")
    parser.add_argument("--keep-packed", type=int, default=0, help="1 computes with weights as they are stored")
    parser.add_argument("--draft-path", type=Path, help="folder of a smaller model that foresees this one's tokens")
    parser.add_argument("--runners", type=int, default=0, help="that share the processors; 0: do not care")
    parser.add_argument("--pictures-at-once", type=int, default=1, help="pictures of a request made in one batch")
    parser.add_argument("--picture-pixels", type=int, default=0, help="most pixels of a picture; 0: the model's most")
    parser.add_argument("--tile-pixels", type=int, default=1024, help="side of what is decoded of a picture at once")
    parser.add_argument("--staged", type=int, default=0, help="1 has the parts of an image model in memory in turn")
    parser.add_argument(_SPARE, action="store_true", help="import, and wait to be told the model")
    parser.add_argument("--debug", action="store_true")
    return parser


async def _serve(arguments: argparse.Namespace) -> int:
    service = RunnerService(lambda: _make_engine(arguments))
    return await _serve_until_told(service, make_app(service), arguments.listen_fd, service.start)


async def _serve_spare(argv: Sequence[str]) -> int:
    spare = Spare(argv, _parser().parse_args)
    service = RunnerService(lambda: _make_engine(spare.arguments))

    def begin(arguments: Sequence[str]) -> None:
        spare.begin(arguments)
        service.start()

    listen_fd = _parser(is_spare=True).parse_args(argv).listen_fd
    return await _serve_until_told(service, make_app(service, begin), listen_fd, lambda: warm_up(_import_engine))


async def _serve_until_told(
    service: RunnerService, app: web.Application, listen_fd: int, when_listening: Callable[[], object]
) -> int:
    told_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_end.set)
    # Without handler_cancellation a client that goes away would only be noticed at the next write.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_FLUSH_SECONDS)
    await runner.setup()
    # It answers before MLX is even imported: the server sees progress from the first moment.
    await web.SockSite(runner, socket.socket(fileno=listen_fd)).start()
    when_listening()
    status = await _until_the_end(service, told_to_end)
    service.drain()
    await runner.cleanup()
    return status


def _import_engine() -> None:
    """What text models need, which is most of what the others need too."""
    from paddock.runner.engines.registry import import_engine

    import_engine("text")


def _make_engine(arguments: argparse.Namespace) -> Engine:
    from paddock.runner.engines.registry import make_engine

    options = EngineOptions(
        model_path=arguments.model_path,
        num_ctx=arguments.num_ctx,
        parallel=max(1, arguments.parallel),
        num_batch=max(1, arguments.num_batch),
        num_gpu=arguments.num_gpu,
        memory_limit_bytes=max(0, arguments.memory_limit),
        kv_bits=arguments.kv_bits,
        prefix_cache_bytes=max(0, arguments.prefix_cache),
        keep_packed=bool(arguments.keep_packed),
        draft_path=arguments.draft_path,
        pictures_at_once=max(1, arguments.pictures_at_once),
        picture_pixels=max(0, arguments.picture_pixels),
        tile_pixels=max(1, arguments.tile_pixels),
        staged=bool(arguments.staged),
    )
    engine = make_engine(arguments.engine, options)
    # What was imported stays: looking through it again and again would show as gaps between tokens.
    gc.collect()
    gc.freeze()
    if arguments.runners:
        threads = blas.part_of(hygiene.usable_cpus(), arguments.runners)
        blas.use_threads(threads, os.environ, has_cuda=hygiene.has_cuda_wheel())
    return engine


async def _until_the_end(service: RunnerService, told_to_end: asyncio.Event) -> int:
    """Wait for SIGTERM, for a failed load and a while for it to be read, or for the process to be of no more use.
    Returns the exit status."""
    await _first_of(service.load_ended, told_to_end)
    if service.failure is None:
        await _first_of(service.given_up, told_to_end)
        return EXIT_GIVEN_UP if service.given_up.is_set() else 0
    sys.stderr.write(f"error: {service.failure.message}\n")
    sys.stderr.flush()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(told_to_end.wait(), _FAILED_LINGER_SECONDS)
    return EXIT_LOAD_FAILED


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
