"""One loaded model in a runner process: joins the process and the client into the contract that the scheduler knows."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import AsyncGenerator, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddock.errors import LoadFailed, PaddockError, RunnerDied, from_code
from paddock.memory.devices import Device, SystemMemory
from paddock.memory.supply import private_bytes
from paddock.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingReply,
    EmbeddingRequest,
    Frame,
    Health,
    ImageRequest,
    LoadRequest,
    RerankReply,
    RerankRequest,
    RunnerState,
    ShrinkRequest,
    TokenizeRequest,
)
from paddock.supervisor.care import Care, NoCare
from paddock.supervisor.client import RunnerClient
from paddock.supervisor.exit_report import Cause, classify, one_line
from paddock.supervisor.hang_watch import HangLimits
from paddock.supervisor.hang_watcher import watch_for_hangs
from paddock.supervisor.host import RunnerHost
from paddock.supervisor.load_watch import Deadlines, LoadWatch
from paddock.supervisor.machine import check_platform
from paddock.supervisor.model_server import MemorySize, ModelServer, RunnerSpec
from paddock.supervisor.process import TRANSITIONS, ProcessState, RunnerProcess, load_arguments

logger = logging.getLogger(__name__)

_BEFORE_READY = (ProcessState.SPAWNED, ProcessState.HELLO, ProcessState.LOADING)
_SEEN_STATES = {RunnerState.LOADING: ProcessState.LOADING, RunnerState.READY: ProcessState.READY}


class RunnerServer:
    """A ModelServer whose model lives in a process of its own. One object is one process: it is loaded once."""

    def __init__(
        self,
        spec: RunnerSpec,
        host: RunnerHost,
        deadlines: Deadlines | None = None,
        care: Care | None = None,
        hang_limits: HangLimits | None = None,
    ) -> None:
        self._spec = spec
        self._host = host
        self._deadlines = deadlines or Deadlines()
        self._care = care or NoCare()
        self._hang_limits = hang_limits or HangLimits()
        self._process: RunnerProcess | None = None
        self._client: RunnerClient | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Task[None] | None = None
        self._health: Health | None = None
        self._devices: tuple[Device, ...] = ()

    @property
    def model_path(self) -> Path:
        return self._spec.model_path

    @property
    def pid(self) -> int:
        return -1 if self._process is None else self._process.pid

    @property
    def endpoint(self) -> str:
        return "" if self._process is None or self.has_exited else str(self._process.socket_path)

    @property
    def context_length(self) -> int:
        return 0 if self._health is None else self._health.context_length

    @property
    def has_exited(self) -> bool:
        return self._process is not None and self._process.state in (ProcessState.STUCK, ProcessState.GONE)

    @property
    def is_busy(self) -> bool:
        """Whether it loads, or somebody waits for its answer."""
        if self._process is None or self._client is None or self.has_exited:
            return False
        return self._client.in_use.is_set() or self._process.state in _BEFORE_READY

    @property
    def claimed_bytes(self) -> int:
        """What it holds of the main memory, or was promised where that is more."""
        if self._process is None or self.has_exited:
            return 0
        lives_elsewhere = any(device.is_accelerator and not device.is_unified for device in self._devices)
        promised_bytes = 0 if lives_elsewhere else self._spec.memory_limit_bytes
        return max(private_bytes(self.pid), promised_bytes)

    async def load(self, system: SystemMemory, devices: Sequence[Device], require_full: bool) -> list[str]:
        """See `ModelServer.load`. Whether the model fits has been decided above; here it is started."""
        check_platform(platform.system(), platform.machine())
        if self._process is not None:
            raise RuntimeError("a runner is loaded once")
        self._care.admit(self._spec)
        self._take_on(self._care.take_spare(self._spec) or RunnerProcess(self._spec, self._host))
        self._devices = _used_devices(devices, self._spec.options.num_gpu)
        return [device.id for device in self._devices]

    async def wait_until_running(self) -> None:
        process, client = self._running()
        try:
            if process.is_spare:
                process, client = await self._enlist(process, client)
            await self._poll_until_ready(process, client)
        except PaddockError:
            await self.close()
            raise
        self._care.ready(self._spec)
        self._look_after(watch_for_hangs(process, client, self._hang_limits))

    async def ping(self) -> None:
        _, client = self._running()
        try:
            self._health = await client.health(self._deadlines.ping_seconds)
        except RunnerDied:
            raise
        except (TimeoutError, PaddockError):
            raise RunnerDied(
                f"The runner of '{self._spec.name}' did not answer within {self._deadlines.ping_seconds:g} seconds."
            ) from None

    def completion(self, request: CompletionRequest) -> AsyncGenerator[Frame, None]:
        return self._running()[1].completion(request)

    def chat(self, request: ChatRequest) -> AsyncGenerator[Frame, None]:
        return self._running()[1].chat(request)

    def image(self, request: ImageRequest) -> AsyncGenerator[Frame, None]:
        return self._running()[1].image(request)

    async def apply_chat_template(self, request: ChatRequest) -> str:
        return (await self._running()[1].template(request)).prompt

    async def embedding(self, request: EmbeddingRequest) -> EmbeddingReply:
        return await self._running()[1].embedding(request)

    async def rerank(self, request: RerankRequest) -> RerankReply:
        return await self._running()[1].rerank(request)

    async def count(self, request: ChatRequest) -> int:
        return (await self._running()[1].count(request)).tokens

    async def tokenize(self, request: TokenizeRequest) -> list[int]:
        return list((await self._running()[1].tokenize(request)).tokens)

    async def detokenize(self, request: DetokenizeRequest) -> str:
        return (await self._running()[1].detokenize(request)).text

    async def memory_size(self) -> MemorySize:
        """Arrays and the allocator's cache on an accelerator; on the CPU the resident set, which holds them too."""
        if self._client is not None and not self.has_exited:
            try:
                self._health = await self._client.health(self._deadlines.memory_seconds)
            except (TimeoutError, PaddockError) as error:
                logger.debug("The memory of %s is that of its last answer: %r", self._spec.name, error)
        if self._health is None:
            return MemorySize(total_bytes=0, device_bytes=0)
        memory = self._health.memory
        held_bytes = memory.active_bytes + memory.cache_bytes
        if any(device.is_accelerator for device in self._devices):
            return MemorySize(total_bytes=held_bytes, device_bytes=held_bytes)
        return MemorySize(total_bytes=max(held_bytes, memory.resident_bytes), device_bytes=0)

    async def vram_by_device(self, device_id: str) -> int:
        device = next((device for device in self._devices if device.id == device_id), None)
        if device is None:
            return 0
        size = await self.memory_size()
        return size.device_bytes if device.is_accelerator else size.total_bytes

    async def device_infos(self) -> list[Device]:
        return []

    @property
    def last_health(self) -> Health | None:
        return self._health

    async def shrink_caches(self, keep_bytes: int) -> int:
        return (await self._running()[1].shrink(ShrinkRequest(keep_bytes=keep_bytes))).freed_bytes

    async def wait_exited(self) -> str:
        process, _ = self._running()
        return (await process.wait_over()).sentence

    async def close(self) -> None:
        """See `ModelServer.close`. Whoever calls it may be cancelled; the stop goes on."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._process is not None:
            await self._process.stop(self._deadlines.grace_seconds)
            await asyncio.wait({self._telling})  # who is told of this end knows of a crash by then
        for task in self._tasks:
            task.cancel()
        if self._client is not None:
            await self._client.close()

    def _running(self) -> tuple[RunnerProcess, RunnerClient]:
        if self._process is None or self._client is None:
            raise RunnerDied(f"The runner of '{self._spec.name}' was not started.")
        return self._process, self._client

    def _take_on(self, process: RunnerProcess) -> None:
        self._process, self._client = process, RunnerClient(process)
        self._look_after(self._hang_up_when_over(process, self._client))
        # Not among the tasks that a close cuts short: an end is told whatever happens.
        self._telling = asyncio.get_running_loop().create_task(self._tell_end(process))

    def _look_after(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _tell_end(self, process: RunnerProcess) -> None:
        report = await process.wait_over()
        if process is not self._process:
            return  # a spare that was never used
        if report.is_requested:
            self._care.stopped(self._spec)
        else:
            self._care.crashed(self._spec, report.reason, report.cause)

    async def _hang_up_when_over(self, process: RunnerProcess, client: RunnerClient) -> None:
        """A grandchild may hold the connections of a process that has ended: they end with it all the same."""
        await process.wait_over()
        await asyncio.sleep(self._deadlines.drain_seconds)
        await client.close()

    async def _enlist(self, process: RunnerProcess, client: RunnerClient) -> tuple[RunnerProcess, RunnerClient]:
        """Give the spare its model; one that does not take it is replaced by a process that never was one."""
        try:
            arguments = load_arguments(self._spec, process.environment)
            await client.load(LoadRequest(arguments=arguments), self._deadlines.hello_seconds)
        except (TimeoutError, PaddockError) as error:
            logger.warning("event=spare_unfit model=%s error=%r", self._spec.name, error)
            process.kill()
            self._take_on(RunnerProcess(self._spec, self._host))
            await client.close()
        else:
            logger.info("event=spare_used model=%s pid=%d", self._spec.name, process.pid)
            process.adopt(self._spec)
        return self._running()

    async def _poll_until_ready(self, process: RunnerProcess, client: RunnerClient) -> None:
        clock = asyncio.get_running_loop().time
        watch = LoadWatch(self._spec.name, self._deadlines, clock())
        pause_seconds = self._deadlines.first_poll_seconds
        while True:
            health = await self._health_if_any(client)
            if health is not None:
                watch.saw(health, clock())
                if self._take(health, process):
                    return
            else:
                watch.silence(process.processor_seconds, clock())
                if watch.verdict:
                    process.condemn(watch.verdict)
            try:
                report = await process.wait_gone(pause_seconds)
            except TimeoutError:
                self._check(watch, clock())
                pause_seconds = min(pause_seconds * 1.5, self._deadlines.longest_poll_seconds)
            else:
                raise classify(report, is_loading=True)

    def _check(self, watch: LoadWatch, now: float) -> None:
        """A load that gets nowhere has failed, which is as bad as a crash."""
        try:
            watch.check(now)
        except LoadFailed as error:
            self._care.crashed(self._spec, error.message.rstrip("."), Cause.HANG)
            raise

    async def _health_if_any(self, client: RunnerClient) -> Health | None:
        try:
            return await client.health(min(self._deadlines.ping_seconds, self._deadlines.hello_seconds))
        except (TimeoutError, PaddockError) as error:
            logger.debug("The runner of %s does not answer yet: %r", self._spec.name, error)
            return None

    def _take(self, health: Health, process: RunnerProcess) -> bool:
        """Note what a loading runner says; True when it is ready. Raises what it failed with."""
        if health.state is RunnerState.FAILED:
            failure = health.failure
            if failure is None:
                raise LoadFailed(f"The model '{self._spec.name}' could not be loaded.")
            raise from_code(failure.code, one_line(failure.message))
        for seen in (ProcessState.HELLO, _SEEN_STATES.get(health.state)):
            if seen in TRANSITIONS[process.state]:
                process.advance(seen)
        self._health = health
        return process.state is ProcessState.READY


def _used_devices(devices: Sequence[Device], num_gpu: int) -> tuple[Device, ...]:
    """The first accelerator, or the CPU where there is none or the request keeps the model off them."""
    accelerators = [device for device in devices if device.is_accelerator and num_gpu != 0]
    processors = [device for device in devices if not device.is_accelerator]
    return tuple((accelerators or processors)[:1])


if TYPE_CHECKING:
    _implements: type[ModelServer] = RunnerServer
