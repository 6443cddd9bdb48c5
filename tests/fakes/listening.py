"""Small real HTTP servers in the loop of a test."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web


async def started(handler: Callable[[web.BaseRequest], object]) -> tuple[web.ServerRunner, str]:
    """A server on a port of its own, and its address; `cleanup` ends it."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"
