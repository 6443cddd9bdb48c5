"""Who divides the processors with whom is settled when a load starts."""

from __future__ import annotations

from paddock.memory.fit import Pool, Supply
from paddock.scheduler import events
from paddock.scheduler.actions import StartRunner
from tests.scheduler.worlds import GB, World


def sharers(world: World) -> list[tuple[str, int]]:
    return [(start.key, start.runners) for start in world.of(StartRunner)]


def test_each_runner_divides_the_processors_with_those_that_are_there() -> None:
    world = World()
    for name in ("a", "b", "c"):
        world.load_idle(name)

    assert sharers(world) == [("a", 1), ("b", 2), ("c", 3)]


def test_one_that_is_on_its_way_out_leaves_its_part_to_the_next() -> None:
    world = World()
    world.load_idle("a")
    world.unload("a")
    world.request("b")

    assert sharers(world) == [("a", 1), ("b", 1)]


class AcceleratedWorld(World):
    """A machine with an accelerator beside its main memory."""

    def tell_memory(self) -> None:
        gpu = Pool("cuda:0", 64 * GB, 16 * GB, has_accelerator=True, has_cpu=False)
        cpu = Pool("cpu", 64 * GB, 16 * GB, has_accelerator=False, has_cpu=True)
        self.send(events.MemoryChanged(self.now, Supply((gpu, cpu), 0)))


def test_runners_on_an_accelerator_take_no_part() -> None:
    world = AcceleratedWorld()
    world.tell_memory()
    world.request("a")
    world.request("b", num_gpu=0)
    world.request("c", num_gpu=0)

    assert sharers(world) == [("a", 0), ("b", 1), ("c", 2)]
