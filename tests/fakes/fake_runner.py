"""A runner without MLX, for tests: a real process that speaks the protocol, starts fast and misbehaves on demand.

Its command line is the real one's. The environment variable FAKE_BEHAVIOUR holds a JSON object of `Behaviour`'s
fields; what is not set behaves well. FAKE_BEHAVIOURS holds one for each model's name, and comes first. It answers with
the words of the prompt, one token each, and makes pictures of one colour.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator

import msgspec

from paddock.protocol import (
    ChatRequest,
    CompletionRequest,
    CountReply,
    DetokenizeReply,
    DetokenizeRequest,
    Done,
    EmbeddingReply,
    EmbeddingRequest,
    Failed,
    Frame,
    Health,
    Image,
    ImageRequest,
    LoadRequest,
    MemoryTerms,
    Message,
    RunnerState,
    ShrinkReply,
    ShrinkRequest,
    TemplateReply,
    Text,
    TokenizeReply,
    TokenizeRequest,
    decode,
    encode,
    encode_line,
)

PR_SET_PDEATHSIG = 1


class Behaviour(msgspec.Struct, forbid_unknown_fields=True):
    """What it does differently. Frames are counted from 1: `die_after_frames: 3` dies once three were sent."""

    only_while: str = ""
    """A file: without it, everything is as usual."""
    lease_seconds: float = 0.0
    """What it says that a step may take."""
    count_starts_in: str = ""
    """A file that grows by one byte with each start."""

    load_seconds: float = 0.0
    load_steps: int = 10
    """Changes of progress during the load."""
    load_computes: int = 0
    """Millions of additions during the load that do not let go of the interpreter."""
    say_at_start: str = ""
    """Written on stderr first of all."""
    say_when_listening: str = ""
    """Written on stderr once it answers and its signals are handled."""
    write_environment_to: str = ""
    """A file that gets the environment as JSON."""

    die_at: str = ""
    """start | load | first_token"""
    die_after_frames: int = 0
    exit_code: int = 1
    """How it dies: an exit code, or a signal if negative."""
    last_words: str = ""
    """Written on stderr when it dies."""

    never_hello: bool = False
    never_ready: bool = False
    load_failure: Failed | None = None
    ignore_sigterm: bool = False
    freeze_after_frames: int = 0
    """The whole process stands still, without ending."""
    in_c_after_frames: int = 0
    """A call into C that does not let go of the interpreter: no thread of the process runs, and no signal handler."""
    in_c_seconds: int = 60
    stall_after_frames: int = 0
    """The work stands still while everything else goes on answering."""
    close_socket_after_frames: int = 0
    """It takes no more connections; the answer under way goes on."""
    survives_the_server: bool = False
    """Neither the control pipe nor the system ends it with its server."""
    stop_reading: bool = False
    """Bodies of requests are never read."""

    flood_bytes: int = 0
    flood_kind: str = "lines"
    """lines | one_line | invalid (UTF-8)"""
    grandchild: str = ""
    """same_group | own_session: sleeps for 60 s, holding the pipes and connections of this process."""
    grandchild_at: str = "start"
    """start | first_token"""

    frame_count: int = 0
    """Frames of text in an answer; 0 for one per word."""
    frame_seconds: float = 0.0
    """Pause before each frame."""
    break_after_frames: int = 0
    """The connection is cut."""
    end_after_frames: int = 0
    """The answer ends properly, but without Done."""
    malformed_after_frames: int = 0
    frame_after_done: bool = False
    hold_after_done: bool = False
    """The connection stays open after the end of the answer."""
    fail_after_frames: int = 0
    refuse: Failed | None = None
    """Every request is refused with it."""
    drift_bytes: int = 0
    """So much more memory of its own it says that it holds, once it has answered."""
    long_frame_bytes: int = 0
    """Each frame of text is that long, and each picture."""


class FakeRunner:
    def __init__(self, arguments: argparse.Namespace, behaviour: Behaviour) -> None:
        self.arguments = arguments
        self.behaviour = behaviour
        self.state = RunnerState.STARTING
        self.progress = 0.0
        self.tokens = 0
        self.active_requests = 0
        self.loading: asyncio.Task[None] | None = None
        self.server: asyncio.Server | None = None

    async def serve(self) -> None:
        behaviour = self.behaviour
        if behaviour.die_at == "start":
            die(behaviour)
        if behaviour.never_hello:
            await asyncio.Event().wait()
        listener = socket.socket(fileno=self.arguments.listen_fd)
        server = self.server = await asyncio.start_unix_server(self._connected, sock=listener)
        stopped = asyncio.Event()
        on_term = (lambda: None) if behaviour.ignore_sigterm else stopped.set
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_term)
        os.write(2, behaviour.say_when_listening.encode())
        await asyncio.to_thread(flood, behaviour)
        if not self.arguments.spare:
            self.loading = asyncio.create_task(self._load())
        await stopped.wait()
        if self.loading:
            self.loading.cancel()
        self.state = RunnerState.DRAINING
        server.close()

    async def _load(self) -> None:
        behaviour = self.behaviour
        self.state = RunnerState.LOADING
        for step in range(behaviour.load_steps):
            await asyncio.sleep(behaviour.load_seconds / behaviour.load_steps)
            self.progress = (step + 1) / behaviour.load_steps
        sum(range(behaviour.load_computes * 1_000_000))
        if behaviour.die_at == "load":
            die(behaviour)
        if behaviour.load_failure:
            self.state = RunnerState.FAILED
        elif not behaviour.never_ready:
            self.state = RunnerState.READY

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split("\r\n")[0].split(" ")
            if self.behaviour.stop_reading and method == "POST":
                await asyncio.Event().wait()
            length = next(
                (int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line), 0
            )
            body = await reader.readexactly(length)
            await self._answer(path, body, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if path != "/health" and self.behaviour.refuse:
            await reply(writer, self.behaviour.refuse, "400 Bad Request")
        elif path in ("/completion", "/chat", "/image"):
            streaming = asyncio.create_task(self._stream(path, body, writer))
            leaving = asyncio.create_task(reader.read(1))
            _, unfinished = await asyncio.wait({streaming, leaving}, return_when=asyncio.FIRST_COMPLETED)
            for task in unfinished:
                task.cancel()
        else:
            await reply(writer, self._reply(path, body))

    def _reply(self, path: str, body: bytes) -> Message:
        if path == "/load":
            self.arguments = parse([*sys.argv[1:], *decode(body, LoadRequest).arguments])
            self.loading = asyncio.create_task(self._load())
        if path in ("/health", "/load"):
            return self._health()
        if path == "/shrink":
            return ShrinkReply(freed_bytes=decode(body, ShrinkRequest).keep_bytes + 1)
        if path == "/template":
            return TemplateReply(prompt=words_of(decode(body, ChatRequest)))
        if path == "/count":
            return CountReply(tokens=len(words_of(decode(body, ChatRequest)).split()))
        if path == "/tokenize":
            return TokenizeReply(tokens=tuple(ord(character) for character in decode(body, TokenizeRequest).text))
        if path == "/detokenize":
            return DetokenizeReply(text="".join(chr(token) for token in decode(body, DetokenizeRequest).tokens))
        inputs = decode(body, EmbeddingRequest).inputs
        return EmbeddingReply(embeddings=tuple((1.0, 0.0) for _ in inputs), prompt_tokens=len(inputs))

    def _health(self) -> Health:
        return Health(
            state=self.state,
            pid=os.getpid(),
            progress=self.progress,
            context_length=self.arguments.num_ctx or 0,
            memory=MemoryTerms(
                weights_bytes=1000,
                active_bytes=2000,
                cache_bytes=300,
                resident_bytes=5000,
                private_bytes=4000 + (self.behaviour.drift_bytes if self.tokens else 0),
            ),
            steps=self.tokens,
            tokens=self.tokens,
            beats=self.tokens,
            lease_seconds=self.behaviour.lease_seconds,
            active_requests=self.active_requests,
            failure=self.behaviour.load_failure if self.state is RunnerState.FAILED else None,
        )

    async def _stream(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        lines = self._lines_of(path, body)
        self.active_requests += 1
        try:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
                b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            )
            sent = 0
            async for line in lines:
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.active_requests -= 1  # while its reader is slow, nobody waits for this process
                try:
                    await writer.drain()
                finally:
                    self.active_requests += 1
                sent += 1
                if self._is_cut_after(sent):
                    return
            if self.behaviour.hold_after_done:
                await asyncio.Event().wait()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        finally:
            self.active_requests -= 1

    def _lines_of(self, path: str, body: bytes) -> AsyncIterator[bytes]:
        if path == "/image":
            return self._picture_lines(decode(body, ImageRequest))
        if path == "/completion":
            return self._lines(decode(body, CompletionRequest).prompt)
        return self._lines(words_of(decode(body, ChatRequest)))

    async def _picture_lines(self, request: ImageRequest) -> AsyncIterator[bytes]:
        from pictures import frames_of  # beside this script, which is all that its path has of the tests

        for number, frame in enumerate(frames_of(request)):
            await asyncio.sleep(self.behaviour.frame_seconds)
            if number == 0 and self.behaviour.die_at == "first_token":
                die(self.behaviour)
            self.tokens += 1
            if isinstance(frame, Image):
                frame = msgspec.structs.replace(frame, data=frame.data.ljust(self.behaviour.long_frame_bytes, b"\0"))
            yield encode_line(frame)

    async def _lines(self, prompt: str) -> AsyncIterator[bytes]:
        behaviour = self.behaviour
        words = [word + " " for word in prompt.split()]
        if behaviour.frame_count:
            words = list(itertools.islice(itertools.cycle(words), behaviour.frame_count))
        for number, word in enumerate(words):
            await asyncio.sleep(behaviour.frame_seconds)
            if number == 0 and behaviour.die_at == "first_token":
                die(behaviour)
            if number and number == behaviour.stall_after_frames:
                await asyncio.sleep(60)
            if number == 0 and behaviour.grandchild_at == "first_token":
                start_grandchild(behaviour)
            if behaviour.malformed_after_frames and number == behaviour.malformed_after_frames:
                yield b'{"type":"telegram","content":"stop"}\n'
            if behaviour.fail_after_frames and number == behaviour.fail_after_frames:
                yield encode_line(Failed(code="out_of_memory", message="No memory is left for this request."))
                return
            if behaviour.end_after_frames and number == behaviour.end_after_frames:
                return
            self.tokens += 1
            yield encode_line(Text(content=word.ljust(behaviour.long_frame_bytes, ".")))
        for frame in self._end(len(words)):
            yield encode_line(frame)

    def _end(self, count: int) -> list[Frame]:
        done = Done(
            reason="stop", prompt_eval_count=count, prompt_eval_duration_ns=1, eval_count=count, eval_duration_ns=1
        )
        return [done, Text(content="one more")] if self.behaviour.frame_after_done else [done]

    def _is_cut_after(self, sent: int) -> bool:
        behaviour = self.behaviour
        if behaviour.die_after_frames == sent:
            die(behaviour)
        if behaviour.freeze_after_frames == sent:
            time.sleep(60)
        if behaviour.close_socket_after_frames == sent and self.server:
            self.server.close()
        if behaviour.in_c_after_frames == sent:
            ctypes.PyDLL(None).sleep(behaviour.in_c_seconds)
        return behaviour.break_after_frames == sent


def words_of(request: ChatRequest) -> str:
    return " ".join(message.content for message in request.messages)


async def reply(writer: asyncio.StreamWriter, message: Message, status: str = "200 OK") -> None:
    body = encode(message)
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    await writer.drain()


def die(behaviour: Behaviour) -> None:
    os.write(2, behaviour.last_words.encode())
    if behaviour.exit_code >= 0:
        os._exit(behaviour.exit_code)
    signal.signal(-behaviour.exit_code, signal.SIG_DFL) if behaviour.exit_code != -signal.SIGKILL else None
    os.kill(os.getpid(), -behaviour.exit_code)


def flood(behaviour: Behaviour) -> None:
    """Write to stderr as fast as it is read; if nobody reads, this never ends."""
    unit = {"lines": b"a line of no interest\n", "one_line": b"x", "invalid": b"\xff\xfe\x80"}[behaviour.flood_kind]
    chunk = unit * (65536 // len(unit))
    for _ in range(behaviour.flood_bytes // len(chunk)):
        os.write(2, chunk)


def start_grandchild(behaviour: Behaviour) -> None:
    """Fork a copy of this process that only sleeps: it holds every descriptor that this process has open."""
    if behaviour.grandchild and os.fork() == 0:
        if behaviour.grandchild == "own_session":
            os.setsid()
        signal.alarm(10)
        time.sleep(60)
        os._exit(0)


def end_with_the_server(control_descriptor: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def wait() -> None:
        os.read(control_descriptor, 1)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spare", action="store_true")
    is_spare = "--spare" in argv
    for name in ("--engine", "--model", "--model-path"):
        parser.add_argument(name, required=not is_spare)
    for name in ("--listen-fd", "--control-fd"):
        parser.add_argument(name, required=True, type=int)
    for name in ("--num-ctx", "--parallel", "--num-batch", "--num-gpu", "--memory-limit"):
        parser.add_argument(name, required=not is_spare, type=int)
    return parser.parse_known_args(argv)[0]  # what a fake does not depend on it need not know


def behaviour_of(model: str) -> Behaviour:
    """As the environment says."""
    by_model = msgspec.json.decode(os.environ.get("FAKE_BEHAVIOURS", "{}"), type=dict[str, Behaviour])
    common = msgspec.json.decode(os.environ.get("FAKE_BEHAVIOUR", "{}"), type=Behaviour)
    behaviour = by_model.get(model, common)
    if behaviour.count_starts_in:
        with open(behaviour.count_starts_in, "ab") as file:  # noqa: PTH123
            file.write(b".")
    if behaviour.only_while and not os.path.exists(behaviour.only_while):  # noqa: PTH110
        return Behaviour()
    return behaviour


def main() -> None:
    arguments = parse(sys.argv[1:])
    behaviour = behaviour_of(arguments.model or "")
    if not behaviour.survives_the_server:
        end_with_the_server(arguments.control_fd)
    os.write(2, behaviour.say_at_start.encode())
    if behaviour.write_environment_to:
        with open(behaviour.write_environment_to, "wb") as file:  # noqa: PTH123
            file.write(msgspec.json.encode(dict(os.environ)))
    if behaviour.grandchild_at == "start":
        start_grandchild(behaviour)
    asyncio.run(FakeRunner(arguments, behaviour).serve())


if __name__ == "__main__":
    main()
