"""A hunt for deadlocks: random events in random order against a simulated machine, with laws that always hold."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from paddock.errors import LoadFailed
from paddock.memory.fit import Pool, Supply
from paddock.scheduler import events
from paddock.scheduler.actions import Action, ArmTimer, Grant, Reject, StartRunner, StopRunner
from paddock.scheduler.core import handle
from paddock.scheduler.order import LoadOrder
from paddock.scheduler.state import Lifecycle, Policy, State
from tests.scheduler.worlds import GB, an_order

TOTAL_GB = 10
SIZES_GB = {"a": 1, "b": 1, "c": 1, "d": 3, "e": 6, "f": 9, "g": 10, "h": 12}
"""The last never fits."""
DRAIN_ROUNDS = 400


@dataclass
class Process:
    """A runner as the machine sees it."""

    order: LoadOrder
    generation: int
    held_bytes: int = 0
    is_ready: bool = False
    is_stopping: bool = False

    @property
    def committed_bytes(self) -> int:
        """What it may come to hold before it is gone."""
        return max(self.held_bytes, self.order.need.total_bytes)


class SchedulerMachine(RuleBasedStateMachine):
    """The machine plays clients, runners, the memory and the clock."""

    waiters = Bundle("waiters")

    @initialize(
        max_loaded=st.sampled_from([0, 0, 1, 2]),
        max_queue=st.sampled_from([1, 3, 512]),
        max_overtaken=st.sampled_from([1, 2, 16]),
        is_measured=st.booleans(),
        is_memory_slow=st.booleans(),
    )
    def begin(
        self, max_loaded: int, max_queue: int, max_overtaken: int, is_measured: bool, is_memory_slow: bool
    ) -> None:
        self.now = 0.0
        self.is_measured = is_measured
        self.is_memory_slow = is_memory_slow
        self.unreturned_bytes = 0
        self.processes: dict[int, Process] = {}
        self.next_id = 1
        self.waiting: dict[int, str] = {}
        self.leases: dict[int, int] = {}
        self.answers: Counter[int] = Counter()
        self.overtaken: Counter[int] = Counter()
        self.alarm: float | None = None
        self.crossed: list[events.Event] = []
        self.state = State(Policy(20.0, max_loaded, max_queue, max_overtaken), self.supply())

    # the machine

    def supply(self) -> Supply:
        used_bytes = sum(process.held_bytes for process in self.processes.values()) + self.unreturned_bytes
        pool = Pool("cpu", TOTAL_GB * GB, TOTAL_GB * GB - used_bytes, has_accelerator=False, has_cpu=True)
        return Supply((pool,), 0)

    def figures(self) -> events.MemoryChanged:
        held = {process.generation: process.held_bytes for process in self.processes.values()}
        return events.MemoryChanged(self.now, self.supply(), held if self.is_measured else {})

    def send(self, event: events.Event) -> None:
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
                committed_bytes = sum(process.committed_bytes for process in self.processes.values())
                committed_bytes += self.unreturned_bytes
                assert committed_bytes + order.need.total_bytes <= TOTAL_GB * GB, "more was admitted than there is"
                limit = self.state.policy.max_loaded_models
                assert not limit or len(self.processes) < limit
                self.processes[generation] = Process(order, generation)
                self.count_overtaking(key)
            case StopRunner(key, generation):
                process = self.processes.get(generation)
                assert process is None or generation not in self.leases.values(), "a busy runner was stopped"
                assert process is None or not process.is_stopping
                if process:
                    process.is_stopping = True
                else:  # it ended by itself, which the decisions had not heard yet
                    self.crossed.append(events.Stopped(self.now, key, generation))
            case Grant(waiter_id, _, generation, waited_seconds):
                assert waited_seconds >= 0
                process = self.processes.get(generation)
                assert process is None or process.is_ready  # None: its end is not heard yet; the lease ends with it
                self.answer(waiter_id)
                self.leases[waiter_id] = generation
            case Reject(waiter_id):
                self.answer(waiter_id)
            case ArmTimer(at):
                self.alarm = at

    def answer(self, waiter_id: int) -> None:
        self.answers[waiter_id] += 1
        assert self.answers[waiter_id] == 1, "a waiter was answered twice"
        del self.waiting[waiter_id]

    def count_overtaking(self, key: str) -> None:
        first = min(waiter for waiter, wanted in self.waiting.items() if wanted == key)
        for head in self.state.cold_heads():
            if head.id < first:
                self.overtaken[head.id] += 1
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
    )
    def request(self, key: str, num_ctx: int | None, keep_alive: float | None, count: int) -> object:
        made = []
        for _ in range(count):
            waiter_id = self.next_id
            self.next_id += 1
            self.waiting[waiter_id] = key
            fixed = {} if num_ctx is None else {"num_ctx": num_ctx}
            self.send(events.Requested(self.now, waiter_id, an_order(key, SIZES_GB[key], **fixed), keep_alive))
            made.append(waiter_id)
        return multiple(*made)

    @rule(waiter_id=waiters)
    def cancel(self, waiter_id: int) -> None:
        self.leases.pop(waiter_id, None)
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
        process = data.draw(st.sampled_from(self.loading()))
        self.end(process)
        error = LoadFailed("It did not load.")
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

    @rule(share=st.sampled_from([0.3, 0.8, 1.0]))
    def return_memory(self, share: float) -> None:
        self.unreturned_bytes = int(self.unreturned_bytes * (1 - share))
        self.send(self.figures())

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


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(
    max_examples=80,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
