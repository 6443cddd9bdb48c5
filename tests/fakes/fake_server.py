"""A ModelServer in memory, with scripted behaviour, for tests of what stands above the supervisor.

servers = FakeModelServers()
servers.scripts["tiny"] = Script(load_gate=asyncio.Event(), answer=(Text(content="hi"), done()))
service = Service(make_server=servers)        # called with a RunnerSpec
servers.scripts["tiny"].load_gate.set()       # now the load ends
servers.made[0].calls                         # ["load", "wait_until_running", "chat", ...]
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paddock.errors import PaddockError, RunnerDied, from_code
from paddock.memory.devices import Device, SystemMemory
from paddock.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    Done,
    EmbeddingReply,
    EmbeddingRequest,
    Failed,
    Frame,
    Health,
    ImageRequest,
    RerankReply,
    RerankRequest,
    Text,
    TokenizeRequest,
)
from paddock.supervisor.model_server import MemorySize, ModelServer, RunnerSpec
from tests.fakes.pictures import frames_of

Step = Frame | Exception | asyncio.Event
"""Of an answer: a frame is yielded (a Failed raised, as the client does), an exception raised, an event awaited."""


def done(eval_count: int = 1, prompt_eval_count: int = 1, reason: str = "stop", thinking_tokens: int = 0) -> Done:
    """The end of an answer, with plausible figures."""
    return Done(
        reason="length" if reason == "length" else "stop",
        prompt_eval_count=prompt_eval_count,
        prompt_eval_duration_ns=1_000_000,
        eval_count=eval_count,
        eval_duration_ns=2_000_000,
        thinking_tokens=thinking_tokens,
    )


@dataclass
class Script:
    """What a fake does. It may be changed while the fake runs; what is not set goes well and at once."""

    start_failure: PaddockError | None = None
    """Raised by `load`."""
    load_gate: asyncio.Event | None = None
    """`wait_until_running` waits for it."""
    load_failure: PaddockError | None = None
    """Raised by `wait_until_running`, after the gate."""
    answer: Sequence[Step] = (Text(content="Hello"), Text(content=" world"), done(eval_count=2))
    pictures: Sequence[Step] | None = None
    """The answer of a model that makes pictures; None makes what the request asks for."""
    ping_failure: PaddockError | None = None
    close_gate: asyncio.Event | None = None
    """`close` waits for it."""
    memory: MemorySize = field(default_factory=lambda: MemorySize(total_bytes=1_000_000_000, device_bytes=0))
    device_ids: Sequence[str] = ("cpu",)
    pid: int = 4242
    health: Health | None = None
    cache_bytes: int = 0
    """What it frees when it is asked to shrink its caches."""
    memory_gate: asyncio.Event | None = None
    """`memory_size` waits for it."""
    reply_gate: asyncio.Event | None = None
    """`embedding` and `rerank` wait for it."""


class FakeModelServer:
    """One loaded model that exists only in this object.

    `calls` records the names of the methods called, and "cancelled" for each answer that was closed before its end;
    `requests` the requests of answers. `die` ends the process as the system would.
    """

    def __init__(self, spec: RunnerSpec, script: Script | None = None) -> None:
        self.spec = spec
        self.script = script or Script()
        self.calls: list[str] = []
        self.requests: list[CompletionRequest | ChatRequest | ImageRequest | EmbeddingRequest | RerankRequest] = []
        self.active = 0
        """Answers going on now."""
        self._is_loaded = False
        self._is_ready = False
        self._gone = asyncio.Event()
        self._reason = ""

    def die(self, reason: str = "killed by signal 9 (SIGKILL)") -> None:
        """End the process: answers under way raise RunnerDied, `wait_exited` returns."""
        if not self._gone.is_set():
            self._reason = f"The runner of '{self.spec.name}' ended: {reason}."
            self._gone.set()

    @property
    def model_path(self) -> Path:
        return self.spec.model_path

    @property
    def pid(self) -> int:
        return self.script.pid if self._is_loaded and not self._gone.is_set() else -1

    @property
    def endpoint(self) -> str:
        return "/nowhere/fake.sock" if self.pid != -1 else ""

    @property
    def context_length(self) -> int:
        return self.spec.options.num_ctx if self._is_ready else 0

    @property
    def has_exited(self) -> bool:
        return self._gone.is_set()

    async def load(self, system: SystemMemory, devices: Sequence[Device], require_full: bool) -> list[str]:
        self.calls.append("load")
        if self.script.start_failure:
            raise self.script.start_failure
        self._is_loaded = True
        return list(self.script.device_ids)

    async def wait_until_running(self) -> None:
        self.calls.append("wait_until_running")
        if self.script.load_gate:
            await self._wait_alive(self.script.load_gate)
        if self.script.load_failure:
            self.die(self.script.load_failure.message.rstrip("."))
            raise self.script.load_failure
        self._check_alive()
        self._is_ready = True

    async def ping(self) -> None:
        self.calls.append("ping")
        if self.script.ping_failure:
            raise self.script.ping_failure
        self._check_alive()

    def completion(self, request: CompletionRequest) -> AsyncGenerator[Frame, None]:
        return self._answer("completion", request, self.script.answer)

    def chat(self, request: ChatRequest) -> AsyncGenerator[Frame, None]:
        return self._answer("chat", request, self.script.answer)

    def image(self, request: ImageRequest) -> AsyncGenerator[Frame, None]:
        pictures = self.script.pictures
        return self._answer("image", request, tuple(frames_of(request)) if pictures is None else pictures)

    async def apply_chat_template(self, request: ChatRequest) -> str:
        self.calls.append("apply_chat_template")
        return "".join(f"<{message.role}>{message.content}" for message in request.messages) + "<assistant>"

    async def count(self, request: ChatRequest) -> int:
        self.calls.append("count")
        self.requests.append(request)
        return sum(len(message.content.split()) for message in request.messages)

    async def embedding(self, request: EmbeddingRequest) -> EmbeddingReply:
        await self._wait_to_reply("embedding", request)
        vectors = tuple((1.0, 0.0, 0.0) for _ in request.inputs)
        return EmbeddingReply(embeddings=vectors, prompt_tokens=sum(len(text.split()) for text in request.inputs))

    async def rerank(self, request: RerankRequest) -> RerankReply:
        await self._wait_to_reply("rerank", request)
        logits = tuple(float(len(set(request.query.split()) & set(text.split()))) for text in request.documents)
        return RerankReply(logits=logits, prompt_tokens=len(logits))

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        self.calls.append("tokenize")
        return [ord(character) for character in request.text]

    async def detokenize(self, request: DetokenizeRequest) -> str:
        self.calls.append("detokenize")
        return "".join(chr(token) for token in request.tokens)

    async def memory_size(self) -> MemorySize:
        if self.script.memory_gate:
            await self.script.memory_gate.wait()
        return self.script.memory

    async def vram_by_device(self, device_id: str) -> int:
        return self.script.memory.device_bytes if device_id in self.script.device_ids else 0

    async def device_infos(self) -> list[Device]:
        return []

    @property
    def last_health(self) -> Health | None:
        return self.script.health

    async def shrink_caches(self, keep_bytes: int) -> int:
        self.calls.append("shrink_caches")
        self._check_alive()
        return self.script.cache_bytes

    async def wait_exited(self) -> str:
        await self._gone.wait()
        return self._reason

    async def close(self) -> None:
        self.calls.append("close")
        if self.script.close_gate:
            await self.script.close_gate.wait()
        self.die("it was stopped")

    async def _answer(
        self, call: str, request: CompletionRequest | ChatRequest | ImageRequest, answer: Sequence[Step]
    ) -> AsyncGenerator[Frame, None]:
        self.calls.append(call)
        self.requests.append(request)
        self.active += 1
        steps = deque(answer)
        try:
            while steps:
                self._check_alive()
                step = steps.popleft()
                if isinstance(step, asyncio.Event):
                    await self._wait_alive(step)
                elif isinstance(step, Exception):
                    raise step
                elif isinstance(step, Failed):
                    raise from_code(step.code, step.message)
                else:
                    yield step
        except (GeneratorExit, asyncio.CancelledError):
            if steps:
                self.calls.append("cancelled")
            raise
        finally:
            self.active -= 1

    async def _wait_to_reply(self, call: str, request: EmbeddingRequest | RerankRequest) -> None:
        self.calls.append(call)
        self.requests.append(request)
        self.active += 1
        try:
            if self.script.reply_gate:
                await self._wait_alive(self.script.reply_gate)
        except asyncio.CancelledError:
            self.calls.append("cancelled")
            raise
        finally:
            self.active -= 1

    async def _wait_alive(self, event: asyncio.Event) -> None:
        """Wait for the event, or for the end of the process, which raises."""
        waits = {asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._gone.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._check_alive()

    def _check_alive(self) -> None:
        if self._gone.is_set():
            raise RunnerDied(self._reason)


@dataclass
class FakeModelServers:
    """Makes a fake for each spec, after the script of that name; keeps all that it made, in order."""

    scripts: dict[str, Script] = field(default_factory=dict)
    made: list[FakeModelServer] = field(default_factory=list)

    def __call__(self, spec: RunnerSpec) -> ModelServer:
        server = FakeModelServer(spec, self.scripts.get(spec.name))
        self.made.append(server)
        return server

    def running(self, name: str) -> list[FakeModelServer]:
        """The fakes of that name whose process has not ended."""
        return [server for server in self.made if server.spec.name == name and not server.has_exited]
