"""What a runner says of itself."""

from __future__ import annotations

import enum

from paddock.protocol.frames import Failed
from paddock.protocol.message import Message


class RunnerState(enum.StrEnum):
    """Where a runner is in its life, as it tells it itself."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    """The load failed; `Health.failure` says why, and the process ends soon after."""


class Activity(enum.StrEnum):
    """What the work loop is doing."""

    IDLE = "idle"
    LOAD = "load"
    PROMPT = "prompt"
    """A step that may read a chunk of a prompt."""
    DECODE = "decode"
    """A step that makes a token for each sequence."""
    IMAGE = "image"
    """A step of a picture."""


class MemoryTerms(Message, frozen=True):
    """What the runner measures of itself, in bytes."""

    weights_bytes: int = 0
    active_bytes: int = 0
    """Held by arrays now (weights included)."""
    cache_bytes: int = 0
    """Held by MLX's allocator for reuse."""
    peak_bytes: int = 0
    """Most that arrays ever held."""
    resident_bytes: int = 0
    """The process's resident set."""
    private_bytes: int = 0
    """The part of it that this process alone holds: no files, nothing shared. On the CPU it has the arrays in it."""
    private_peak_bytes: int = 0
    """Its high-water mark."""
    runtime_bytes: int = 0
    """What was private beside the arrays when the load was over; 0 with an accelerator, where it cannot be told."""
    load_peak_bytes: int = 0
    """`private_peak_bytes` when the load was over, with an accelerator `peak_bytes`."""
    prefill_peak_bytes: int = 0
    """Most that arrays held while the last prompt was read."""
    request_peak_bytes: int = 0
    """Most that arrays held since the engine last began to work."""
    longest_tokens: int = 0
    """Most tokens that one sequence has had."""
    most_sequences: int = 0
    """Most sequences that were at work at once."""
    most_tokens: int = 0
    """Most tokens that all sequences at work had together."""
    prefix_bytes: int = 0
    """Kept of earlier prompts now, among the arrays."""
    prefix_peak_bytes: int = 0
    """Most that was ever kept of them."""
    is_on_accelerator: bool = False
    """Whether arrays live in an accelerator's memory."""

    @property
    def most_bytes(self) -> int:
        """The peak of what counts where the model lives: of its arrays, or on the CPU of the whole process."""
        return self.peak_bytes if self.is_on_accelerator else self.private_peak_bytes


class Health(Message, frozen=True):
    """The answer of GET /health; it never waits for the engine."""

    state: RunnerState
    pid: int
    progress: float = 0.0
    """Share of the load done, 0 to 1."""
    context_length: int = 0
    """Tokens that one sequence may hold: num_ctx, and never more than the model's own limit."""
    memory: MemoryTerms = MemoryTerms()
    steps: int = 0
    """Engine steps since the start: the heartbeat of the work loop."""
    tokens: int = 0
    """Tokens generated since the start."""
    active_requests: int = 0
    """Requests that still wait for something that this process must do."""
    idle_seconds: float = 0.0
    """Since the work loop last moved."""
    beats: int = 0
    """Moves of whatever does the work: steps of the engine, commands of the loop, requests made ready for it."""
    activity: Activity = Activity.IDLE
    lease_seconds: float = 0.0
    """Longest time that what it is doing now may take until the next beat; 0 where there is no such promise."""
    failure: Failed | None = None
