"""A hunt for deadlocks: random events in random order against a simulated machine, with laws that always hold.

`python -m tests.scheduler.model_check` runs it for long; `test_core_machine.py` for a moment.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from paddock.errors import Busy, Cancelled, LoadFailed, OutOfMemory, PaddockError
from paddock.memory.estimate import Need
from paddock.memory.fit import Pool, Supply
from paddock.scheduler import events
from paddock.scheduler.actions import Action, ArmTimer, Grant, Reject, ShrinkCaches, StartRunner, StopRunner
from paddock.scheduler.core import handle, needs_figures
from paddock.scheduler.order import Load, LoadOrder
from paddock.scheduler.state import Lifecycle, Policy, State
from paddock.supervisor.model_server import RunnerOptions
from tests.scheduler.worlds import GB, an_order

TOTAL_GB = 10
SIZES_GB = {"a": 1, "b": 1, "c": 1, "d": 3, "e": 6, "f": 9, "g": 10, "h": 12}
"""The last never fits."""
PARALLEL = 4
"""Sequences that the settings ask for; nobody fixed them, so fewer may be given."""
LOWERABLE = "g"
"""Of this one half the memory goes to its sequences, so that it fits with fewer where it does not with all."""
RESERVE_GB = 1
DRAIN_ROUNDS = 400


@dataclass
class Tally:
    """What happened in all runs together."""

    steps: int = 0
    runs: int = 0
    events: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    most_overtaken: int = 0
    most_waiting: int = 0
    fullest_share: float = 0.0
    """Of the budget, admitted at once."""


@functools.cache
def order_of(key: str, **fixed: int) -> LoadOrder:
    """An order for `PARALLEL` sequences, which may be lowered."""
    made = an_order(key, SIZES_GB[key], **fixed)

    def need_of(options: RunnerOptions) -> Need:
        share = options.parallel / PARALLEL if key == LOWERABLE else 1.0
        return Need(int(SIZES_GB[key] * GB * (0.5 + 0.5 * share)), 0, 0, 0)

    options = replace(made.options, parallel=PARALLEL)
    return replace(made, options=options, need=need_of(options), need_of=need_of, is_parallel_fixed=False)


@dataclass
class Process:
    """A runner as the machine sees it."""

    order: LoadOrder
    generation: int
    held_bytes: int = 0
    drift_bytes: int = 0
    is_ready: bool = False
    is_stopping: bool = False

    @property
    def committed_bytes(self) -> int:
        """What it may come to hold before it is gone."""
        return max(self.held_bytes, self.order.need.total_bytes)


class SchedulerMachine(RuleBasedStateMachine):
    """The machine plays clients, runners, the memory and the clock."""

    tally = Tally()
    waiters = Bundle("waiters")

    @initialize(
        max_loaded=st.sampled_from([0, 0, 1, 2]),
        max_queue=st.sampled_from([1, 5, 512, 512]),
        max_overtaken=st.sampled_from([1, 2, 16]),
        is_measured=st.booleans(),
        is_memory_slow=st.booleans(),
        lookahead=st.sampled_from([0, 1, 1000]),
        limit_gb=st.sampled_from([0, 0, 5, 9]),
    )
    def begin(
        self,
        max_loaded: int,
        max_queue: int,
        max_overtaken: int,
        is_measured: bool,
        is_memory_slow: bool,
        lookahead: int,
        limit_gb: int,
    ) -> None:
        self.tally.runs += 1
        self.now = 0.0
        self.others_bytes = 0
        self.shrunk: list[int] = []
        self.is_measured = is_measured
        self.is_memory_slow = is_memory_slow
        self.unreturned_bytes = 0
        self.processes: dict[int, Process] = {}
        self.next_id = 1
        self.waiting: dict[int, str] = {}
        self.cancelled: set[int] = set()
        self.leases: dict[int, int] = {}
        self.answers: Counter[int] = Counter()
        self.overtaken: Counter[int] = Counter()
        self.alarm: float | None = None
        self.crossed: list[events.Event] = []
        self.refused: dict[Load, PaddockError] = {}
        policy = Policy(20.0, max_loaded, max_queue, max_overtaken, lookahead, limit_gb * GB, settled_seconds=5.0)
        self.state = State(policy, self.supply())

    # the machine

    def supply(self) -> Supply:
        """There is a reserve beyond the `TOTAL_GB`, so that only others can bring the machine under pressure."""
        used_bytes = sum(process.held_bytes for process in self.processes.values())
        used_bytes += self.unreturned_bytes + self.others_bytes
        total_bytes = (TOTAL_GB + RESERVE_GB) * GB
        pool = Pool("cpu", total_bytes, max(0, total_bytes - used_bytes), has_accelerator=False, has_cpu=True)
        return Supply((pool,), RESERVE_GB * GB)

    @property
    def budget_bytes(self) -> int:
        return min(TOTAL_GB * GB, self.state.policy.memory_limit_bytes or TOTAL_GB * GB)

    def figures(self) -> events.MemoryChanged:
        held = {process.generation: process.held_bytes for process in self.processes.values()}
        drifts = {process.generation: process.drift_bytes for process in self.processes.values()}
        return events.MemoryChanged(
            self.now, self.supply(), held if self.is_measured else {}, drifts, dict(self.refused)
        )

    def send(self, event: events.Event) -> None:
        self.tally.events[type(event).__name__] += 1
        if needs_figures(self.state, event):
            for action in handle(self.state, self.figures()):
                self.perform(action)
        for action in handle(self.state, event):
            self.perform(action)
        while self.crossed:
            self.send(self.crossed.pop())
        self.leases = {lease: generation for lease, generation in self.leases.items() if generation in self.processes}

    def perform(self, action: Action) -> None:
        match action:
            case StartRunner(key, generation, order):
                assert all(process.order.key != key for process in self.processes.values())
                assert order.load not in self.refused, "a load was started that would be refused"
                self.check_budget(order)
                limit = self.state.policy.max_loaded_models
                assert not limit or len(self.processes) < limit
                self.processes[generation] = Process(order, generation)
                self.count_overtaking(key)
                self.count("start")
                if self.state.residents[key].is_retry:
                    self.count("start: a second attempt")
                if order.options.parallel < PARALLEL:
                    self.count("start: lowered")
            case StopRunner(key, generation, why):
                self.count(f"stop: {self.reason(why)}")
                process = self.processes.get(generation)
                assert process is None or generation not in self.leases.values(), "a busy runner was stopped"
                assert process is None or not process.is_stopping
                if process:
                    process.is_stopping = True
                else:  # it ended by itself, which the decisions had not heard yet
                    self.crossed.append(events.Stopped(self.now, key, generation))
            case ShrinkCaches(_, generation):
                self.count("shrink caches")
                assert generation in self.processes
                self.shrunk.append(generation)
            case Grant(waiter_id, key, generation, waited_seconds):
                self.count("grant")
                resident = self.state.residents[key]
                limit = resident.order.options.parallel + self.state.policy.lookahead
                assert len(resident.leases - resident.visits) <= limit, "a runner was given more than it can take"
                assert waited_seconds >= 0
                process = self.processes.get(generation)
                assert process is None or process.is_ready  # None: its end is not heard yet; the lease ends with it
                self.answer(waiter_id)
                self.leases[waiter_id] = generation
            case Reject(waiter_id, _, error):
                self.count(f"reject: {type(error).__name__}")
                assert not isinstance(error, Cancelled) or waiter_id in self.cancelled
                self.answer(waiter_id)
            case ArmTimer(at):
                self.alarm = at

    def count(self, outcome: str) -> None:
        self.tally.outcomes[outcome] += 1

    @staticmethod
    def reason(why: str) -> str:
        """The kind of a reason: without names and figures."""
        kinds = {
            "needs other options": "reload",
            "keep_alive is over": "keep_alive",
            "nobody waits": "unwanted load",
            "needs its memory": "evicted for another",
            "ran out of memory": "evicted after a failed load",
            "free memory is": "evicted under pressure",
            "does not explain": "recycled",
        }
        return next(kind for part, kind in kinds.items() if part in why)

    def check_budget(self, order: LoadOrder) -> None:
        """What is promised to all, and what others and the dead still hold, is no more than there is."""
        committed_bytes = order.need.total_bytes + sum(process.committed_bytes for process in self.processes.values())
        assert committed_bytes <= self.budget_bytes, "more was admitted than is allowed"
        held_elsewhere = self.unreturned_bytes + self.others_bytes
        assert committed_bytes + held_elsewhere <= TOTAL_GB * GB, "more was admitted than there is"
        self.tally.fullest_share = max(self.tally.fullest_share, committed_bytes / self.budget_bytes)

    def answer(self, waiter_id: int) -> None:
        self.answers[waiter_id] += 1
        assert self.answers[waiter_id] == 1, "a waiter was answered twice"
        del self.waiting[waiter_id]

    def count_overtaking(self, key: str) -> None:
        first = min(waiter for waiter, wanted in self.waiting.items() if wanted == key)
        for head in self.state.cold_heads():
            if head.id < first:
                self.overtaken[head.id] += 1
                self.tally.most_overtaken = max(self.tally.most_overtaken, self.overtaken[head.id])
                assert self.overtaken[head.id] <= self.state.policy.max_overtaken, "a waiter starves"

    def end(self, process: Process) -> None:
        """The process is gone."""
        del self.processes[process.generation]
        if self.is_memory_slow:
            self.unreturned_bytes += process.held_bytes

    def loading(self) -> list[Process]:
        return [process for process in self.processes.values() if not process.is_ready and not process.is_stopping]

    def stopping(self) -> list[Process]:
        return [process for process in self.processes.values() if process.is_stopping]

    def serving(self) -> list[Process]:
        return [process for process in self.processes.values() if process.is_ready and not process.is_stopping]

    # what happens

    @rule(
        target=waiters,
        key=st.sampled_from(sorted(SIZES_GB)),
        num_ctx=st.sampled_from([None, None, None, 4096, 8192]),
        keep_alive=st.sampled_from([None, None, 0.0, 1.0, 30.0, math.inf]),
        count=st.sampled_from([1, 1, 1, 4]),
        takes_slot=st.sampled_from([True, True, True, False]),
    )
    def request(self, key: str, num_ctx: int | None, keep_alive: float | None, count: int, takes_slot: bool) -> object:
        made = []
        for _ in range(count):
            waiter_id = self.next_id
            self.next_id += 1
            self.waiting[waiter_id] = key
            fixed = {} if num_ctx is None else {"num_ctx": num_ctx}
            self.send(events.Requested(self.now, waiter_id, order_of(key, **fixed), keep_alive, takes_slot))
            made.append(waiter_id)
        return multiple(*made)

    @rule(target=waiters, key=st.sampled_from("abcd"), count=st.sampled_from([1, 2]))
    def request_small(self, key: str, count: int) -> object:
        """What most requests are: for models that fit beside others."""
        return self.request(key, None, None, count, True)

    @precondition(lambda self: self.loading() or self.stopping())
    @rule()
    def everything_under_way_ends(self) -> None:
        for process in self.loading():
            self.finish(process)
        for process in self.stopping():
            self.stop(process)

    @rule(waiter_id=waiters)
    def cancel(self, waiter_id: int) -> None:
        self.leases.pop(waiter_id, None)
        self.cancelled.add(waiter_id)
        self.send(events.Cancelled(self.now, waiter_id))

    @rule(waiter_id=waiters)
    def release(self, waiter_id: int) -> None:
        if waiter_id not in self.waiting:
            self.leases.pop(waiter_id, None)
            self.send(events.Released(self.now, waiter_id))

    @precondition(lambda self: self.leases)
    @rule()
    def release_all(self) -> None:
        for lease in list(self.leases):
            self.release(lease)

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), share=st.sampled_from([0.1, 0.5, 1.0]))
    def grow(self, data: st.DataObject, share: float) -> None:
        process = data.draw(st.sampled_from(list(self.processes.values())))
        process.held_bytes = max(process.held_bytes, int(process.order.need.total_bytes * share))

    @precondition(lambda self: self.loading())
    @rule(data=st.data())
    def finish_load(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(self.loading())))

    def finish(self, process: Process) -> None:
        process.is_ready = True
        process.held_bytes = max(process.held_bytes, process.order.need.total_bytes // 2)
        self.send(events.Ready(self.now, process.order.key, process.generation, process.held_bytes))

    @precondition(lambda self: self.loading())
    @rule(data=st.data())
    def fail_load(self, data: st.DataObject) -> None:
        self.fail(data.draw(st.sampled_from(self.loading())), LoadFailed("It did not load."))

    @precondition(lambda self: self.loading())
    @rule(data=st.data())
    def run_out_of_memory(self, data: st.DataObject) -> None:
        self.tally.events["out of memory"] += 1
        self.fail(data.draw(st.sampled_from(self.loading())), OutOfMemory("Memory ran out."))

    def fail(self, process: Process, error: LoadFailed | OutOfMemory) -> None:
        self.end(process)
        self.send(events.LoadFailed(self.now, process.order.key, process.generation, error))

    @precondition(lambda self: self.serving())
    @rule(data=st.data())
    def exit(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self.serving()))
        self.end(process)
        self.send(events.Exited(self.now, process.order.key, process.generation, "It was killed."))

    @precondition(lambda self: self.stopping())
    @rule(data=st.data(), is_ready_first=st.booleans())
    def finish_stop(self, data: st.DataObject, is_ready_first: bool) -> None:
        process = data.draw(st.sampled_from(self.stopping()))
        if is_ready_first:
            self.send(events.Ready(self.now, process.order.key, process.generation, process.held_bytes))
        self.stop(process)

    def stop(self, process: Process) -> None:
        self.end(process)
        self.send(events.Stopped(self.now, process.order.key, process.generation))

    @rule(
        change=st.sampled_from(["return", "return", "others", "pressure"]), share=st.sampled_from([0.0, 0.3, 0.8, 1.0])
    )
    def memory_changes(self, change: str, share: float) -> None:
        """Memory of the dead comes back; others take some of what is free; or of what is promised but not taken yet."""
        self.tally.events[f"memory: {change}"] += 1
        held_bytes = sum(process.held_bytes for process in self.processes.values()) + self.unreturned_bytes
        promised_bytes = sum(process.committed_bytes for process in self.processes.values()) + self.unreturned_bytes
        before_bytes = self.others_bytes
        if change == "return":
            self.unreturned_bytes = int(self.unreturned_bytes * (1 - share))
        elif change == "others":
            self.others_bytes = int(share * max(0, TOTAL_GB * GB - promised_bytes))
        else:
            self.others_bytes = (TOTAL_GB + RESERVE_GB) * GB - held_bytes
        self.send(self.figures())
        if change == "pressure":
            self.wait(1.5)
            self.others_bytes = min(before_bytes, self.others_bytes)
            self.send(self.figures())

    @precondition(lambda self: self.serving())
    @rule(data=st.data())
    def drift(self, data: st.DataObject) -> None:
        """A runner comes to hold what nothing explains."""
        data.draw(st.sampled_from(self.serving())).drift_bytes = GB * 100
        self.send(self.figures())

    @rule(key=st.sampled_from("abcd"), is_refused=st.sampled_from([True, False, False]))
    def breaker_changes(self, key: str, is_refused: bool) -> None:
        load = order_of(key).load
        if is_refused:
            self.refused[load] = Busy("It keeps crashing.", 1.0)
        else:
            self.refused.pop(load, None)
        if not self.is_measured:  # else whoever asks next brings the news
            self.send(self.figures())

    @precondition(lambda self: self.processes)
    @rule(key=st.sampled_from(sorted(SIZES_GB)))
    def unload(self, key: str) -> None:
        self.send(events.UnloadAsked(self.now, key))

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 25.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.alarm is not None and self.alarm <= end:
            self.now, self.alarm = max(self.now, self.alarm), None
            self.send(events.TimerFired(self.now))
        self.now = end

    # what always holds

    @invariant()
    def steps_are_counted(self) -> None:
        self.tally.steps += 1
        self.tally.most_waiting = max(self.tally.most_waiting, len(self.waiting))

    @invariant()
    def retries_have_somebody_who_waits(self) -> None:
        assert self.state.retries.keys() <= self.state.queues.keys()
        assert not self.state.retries.keys() & self.state.residents.keys()

    @invariant()
    def nobody_waits_while_nothing_can_move(self) -> None:
        can_move = self.loading() or self.stopping() or self.leases
        is_timed = self.state.returning and self.alarm is not None
        assert not self.waiting or can_move or is_timed

    @invariant()
    def leases_are_those_that_were_granted(self) -> None:
        known = {lease: resident.generation for resident in self.state.residents.values() for lease in resident.leases}
        assert known == self.leases

    @invariant()
    def waiters_are_those_that_were_not_answered(self) -> None:
        assert {waiter.id for queue in self.state.queues.values() for waiter in queue} == set(self.waiting)
        assert all(self.state.queues.values())
        assert len(self.waiting) <= max(1, self.state.policy.max_queue)

    @invariant()
    def residents_are_the_processes(self) -> None:
        expected = {
            process.generation: (
                Lifecycle.STOPPING
                if process.is_stopping
                else Lifecycle.READY
                if process.is_ready
                else Lifecycle.LOADING
            )
            for process in self.processes.values()
        }
        assert {resident.generation: resident.lifecycle for resident in self.state.residents.values()} == expected

    @invariant()
    def whatever_is_due_has_an_alarm(self) -> None:
        for resident in self.state.residents.values():
            if resident.is_idle and resident.key not in self.state.queues and not math.isinf(resident.expires_at):
                assert self.alarm is not None
                assert self.alarm <= resident.expires_at

    def teardown(self) -> None:
        """Everything comes to its end: no request is left behind."""
        for _ in range(DRAIN_ROUNDS):
            if not self.waiting:
                break
            for process in self.loading():
                self.finish(process)
            self.release_all()
            for process in self.stopping():
                self.stop(process)
            self.unreturned_bytes = 0
            self.wait(0.5)
        assert not self.waiting
        assert set(self.answers.values()) <= {1}
        assert sum(self.answers.values()) == self.next_id - 1


def machine(tally: Tally) -> type[SchedulerMachine]:
    """The machine, counting into this tally."""
    return type("TalliedMachine", (SchedulerMachine,), {"tally": tally})
