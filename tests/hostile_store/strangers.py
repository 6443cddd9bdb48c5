"""Servers that want a pull to go elsewhere, the traps that listen there, and the internet that they are part of."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "hf_marked_secret"
"""What only the Hub itself may see."""

HUB, CDN, ELSEWHERE, FLIPPING = "8.8.4.4", "9.9.9.9", "1.0.0.1", "1.1.1.1"
"""Public addresses, of which the internet in the box leads all but the last to this machine."""

NAMES = {
    "hub.test": [[HUB]],
    "cdn.test": [[CDN]],
    "elsewhere.test": [[ELSEWHERE]],
    "localhost": [["127.0.0.1"]],
    "inside.test": [["10.0.0.5"]],
    "loop.test": [["127.0.0.1"]],
    "six.test": [["::1"]],
    "cloud.test": [["169.254.169.254"]],
    "both.test": [[CDN, "127.0.0.1"]],
    "flip.test": [[FLIPPING], ["127.0.0.1"]],
}
INTERNET: dict[str, Any] = {
    "names": NAMES,
    # A private address that is wanted all the same is let through to the traps, so that they tell.
    "routes": dict.fromkeys((HUB, CDN, ELSEWHERE, "127.0.0.1", "10.0.0.5", "169.254.169.254"), "127.0.0.1"),
}

PRIVATE = (
    "http://127.0.0.1:{trap}/x", "http://127.1:{trap}/x", "http://0x7f.1:{trap}/x", "http://0x7f000001:{trap}/x",
    "http://2130706433:{trap}/x", "http://017700000001:{trap}/x", "http://0177.0.0.1:{trap}/x",
    "http://127.0.0.1.:{trap}/x", "http://127.254.1.2:{trap}/x", "http://0.0.0.0:{trap}/x", "http://0:{trap}/x",
    "http://10.0.0.5:{trap}/x", "http://172.16.0.1:{trap}/x", "http://192.168.1.1:{trap}/x", "http://100.64.0.1:{trap}/",
    "http://169.254.169.254/latest/meta-data/", "http://224.0.0.1:{trap}/x", "http://255.255.255.255:{trap}/x",
    "http://[::1]:{trap}/x", "http://[::]:{trap}/x", "http://[::ffff:127.0.0.1]:{trap}/x",
    "http://[::ffff:7f00:1]:{trap}/x", "http://[64:ff9b::7f00:1]:{trap}/x", "http://[2002:7f00:1::]:{trap}/x",
    "http://[fe80::1]:{trap}/x", "http://[fe80::1%25lo]:{trap}/x", "http://[fd00::1]:{trap}/x",
    "http://[fec0::1]:{trap}/x", "http://[::127.0.0.1]:{trap}/x", "http://[64:ff9b:1::7f00:1]:{trap}/x",
    "http://[::ffff:0:127.0.0.1]:{trap}/x", "http://localhost:{trap}/x", "http://LOCALHOST:{trap}/x", "http://loop.test:{trap}/x",
    "http://inside.test:{trap}/x", "http://six.test:{trap}/x", "http://cloud.test:{trap}/x", "http://both.test:{trap}/x",
    "http://%31%32%37.0.0.1:{trap}/x", "http://127%2e0%2e0%2e1:{trap}/x", "http://127\u30020\u30020\u30021:{trap}/x",
    "http://\uff4c\uff4fcalhost:{trap}/x", "http://\u2460\u2461\u2466.0.0.1:{trap}/x", "//127.0.0.1:{trap}/x",
    "\\\\127.0.0.1:{trap}\\x", "/\\127.0.0.1:{trap}/x", "http:\\\\127.0.0.1:{trap}\\x",
    "http://hub.test@127.0.0.1:{trap}/x", "http://hub.test:80@127.0.0.1:{trap}/x", "http://127.0.0.1:{trap}#@hub.test/",
    "http://127.0.0.1:{trap}?@hub.test/", "http://127.0.0.1:{trap}\\@hub.test/", "http://user:pw@127.0.0.1:{trap}/x",
)  # fmt: skip
"""Where a server that is public must not send anybody; `trap` is the port of one."""
OTHER_SCHEMES = (
    "file:///etc/passwd", "FILE:///etc/passwd", "file://hub.test/etc/passwd", "ftp://cdn.test/x", "gopher://cdn.test/x",
    "data:application/json,{{}}", "javascript:x", "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fx/y",
    "ws://cdn.test/x", "dict://127.0.0.1:{trap}/x", "ldap://127.0.0.1:{trap}/x", "jar:http://127.0.0.1:{trap}/!/",
    "http:///x", "http://", "http://[bad", "http://:{trap}/x", "http://hub.test:99999/x", "http://hub.test:x/x", "://",
    "http://user:pw@cdn.test:{cdn}/x", "http://hub.test:pw@elsewhere.test:{cdn}/x",
)  # fmt: skip
"""Addresses that are none of the web, cannot be read, or bring names and passwords along."""


@dataclass
class Seen:
    """A request that arrived somewhere."""

    host: str
    path: str
    headers: dict[str, str]

    @property
    def secrets(self) -> list[str]:
        """What in it was meant for somebody, and is more than a name."""
        return [name for name, value in self.headers.items() if TOKEN in value or name.lower() in _CREDENTIALS]


Answer = Callable[[web.BaseRequest], web.StreamResponse]
REDIRECTS = (301, 302, 303, 307, 308)


def redirect(target: str, status: int = 302) -> Answer:
    """An answer that points elsewhere."""
    return lambda request: web.Response(status=status, headers={"Location": target}, text="own words of a stranger")


def packed(data: bytes, status: int = 200) -> Answer:
    """An answer that says it is compressed."""
    return lambda request: web.Response(status=status, body=data, headers={"Content-Encoding": "gzip"})


def plain(text: str = "own words of a stranger", status: int = 200) -> Answer:
    return lambda request: web.Response(status=status, text=text)


_CREDENTIALS = ("authorization", "cookie", "proxy-authorization", "x-api-key")


@dataclass
class Stranger:
    """A server that answers as it is told, and notes what it was asked."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    answer: Answer = lambda request: web.Response(status=404)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(Seen(request.headers.get("Host", ""), request.raw_path, dict(request.headers)))
        return self.answer(request)


async def _listening(stranger: Stranger) -> web.ServerRunner:
    runner = web.ServerRunner(web.Server(stranger._handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stranger.port = runner.addresses[0][1]
    return runner


@dataclass
class Strangers:
    """The Hub or a registry, where it keeps its files, and a trap that nobody should step into."""

    own: Stranger
    cdn: Stranger
    trap: Stranger

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Strangers]:
        """On ports of this machine, in a thread of their own."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        every = (Stranger(), Stranger(), Stranger())
        runners = [asyncio.run_coroutine_threadsafe(_listening(one), loop).result(10) for one in every]
        every[2].answer = lambda request: web.Response(text="the trap's own words")
        yield cls(*every)
        for runner in runners:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def place(self, template: str) -> str:
        """An address with the ports filled in."""
        return template.format(trap=self.trap.port, cdn=self.cdn.port, own=self.own.port)

    def forget(self) -> None:
        for stranger in (self.own, self.cdn, self.trap):
            stranger.seen.clear()

    @property
    def leaks(self) -> list[Seen]:
        """Requests with credentials that arrived elsewhere than at the server itself."""
        return [seen for stranger in (self.cdn, self.trap) for seen in stranger.seen if seen.secrets]
