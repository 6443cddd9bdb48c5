"""The verdicts of the fit: figures in, Fits, Evict, MustWait or NeverFits out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paddock.memory.estimate import Need
from paddock.memory.fit import Ask, Evict, Fits, Holding, MustWait, NeverFits, Pool, Standing, Supply, decide

GB = 1_000_000_000


def ask(size_gb: float, wants_accelerator: bool = True) -> Ask:
    return Ask("big", Need(int(size_gb * GB), 0, 0, 0), wants_accelerator)


def cpu(free_gb: float, reserve_gb: float = 0.0) -> Supply:
    return Supply((Pool("cpu", 64 * GB, int(free_gb * GB), has_accelerator=False, has_cpu=True),), int(reserve_gb * GB))


def holding(key: str, size_gb: float, standing: Standing = Standing.IDLE, held_gb: float | None = None) -> Holding:
    held_bytes = int((size_gb if held_gb is None else held_gb) * GB)
    return Holding(key, "cpu", standing, int(size_gb * GB), held_bytes, weights_bytes=int(size_gb * GB))


def test_what_is_free_is_enough() -> None:
    assert decide(ask(8), cpu(8), []) == Fits("cpu")


def test_the_reserve_is_not_given_away() -> None:
    assert isinstance(decide(ask(8), cpu(8, reserve_gb=1), []), NeverFits)


@pytest.mark.parametrize("standing", [Standing.LOADING, Standing.BUSY, Standing.IDLE, Standing.STOPPING])
def test_what_is_promised_and_not_yet_held_is_not_free(standing: Standing) -> None:
    assert not isinstance(decide(ask(8), cpu(10), [holding("a", 4, standing, held_gb=1)]), Fits)
    assert decide(ask(8), cpu(10), [holding("a", 4, standing, held_gb=2)]) == Fits("cpu")


def test_a_runner_that_holds_more_than_it_was_promised_gives_all_of_it_back() -> None:
    assert decide(ask(8), cpu(3), [holding("a", 4, held_gb=5)]) == Evict(("a",))


def test_no_more_are_evicted_than_make_room() -> None:
    idle = [holding("a", 2), holding("b", 2), holding("c", 2)]

    verdict = decide(ask(5), cpu(2), [replace(h, idle_seconds=s) for h, s in zip(idle, (30, 10, 20), strict=True)])

    assert verdict == Evict(("a", "c"))


def test_a_small_one_is_spared_when_a_larger_one_suffices() -> None:
    old_small = replace(holding("small", 1), idle_seconds=1000)
    large = replace(holding("large", 8), idle_seconds=1)

    assert decide(ask(8), cpu(1), [old_small, large]) == Evict(("large",))


def test_of_equally_idle_ones_the_one_that_is_quicker_to_reload_goes() -> None:
    quick = replace(holding("quick", 2), weights_bytes=GB, idle_seconds=60)
    slow = replace(holding("slow", 2), weights_bytes=20 * GB, idle_seconds=60)

    assert decide(ask(2), cpu(0), [slow, quick]) == Evict(("quick",))


def test_long_idleness_outweighs_the_cost_of_a_reload() -> None:
    recent = replace(holding("recent", 2), weights_bytes=GB, idle_seconds=5)
    old = replace(holding("old", 2), weights_bytes=20 * GB, idle_seconds=3600)

    assert decide(ask(2), cpu(0), [recent, old]) == Evict(("old",))


def test_pinned_ones_go_last_whatever_their_age() -> None:
    pinned = replace(holding("pinned", 4), idle_seconds=1e6, is_pinned=True)
    recent = replace(holding("recent", 2), idle_seconds=0)

    assert decide(ask(2), cpu(0), [pinned, recent]) == Evict(("recent",))
    assert decide(ask(4), cpu(0), [pinned, recent]) == Evict(("pinned",))


@pytest.mark.parametrize("standing", [Standing.LOADING, Standing.BUSY])
def test_those_in_use_are_waited_for_and_never_evicted(standing: Standing) -> None:
    verdict = decide(ask(8), cpu(2), [holding("a", 6, standing)])

    assert isinstance(verdict, MustWait)
    assert verdict.until == frozenset({"a"})


def test_only_the_busy_ones_that_are_needed_are_waited_for() -> None:
    old = replace(holding("old", 4, Standing.BUSY), idle_seconds=100)
    verdict = decide(ask(5), cpu(1), [holding("new", 4, Standing.BUSY), old])

    assert isinstance(verdict, MustWait)
    assert verdict.until == frozenset({"old"})


@pytest.mark.parametrize("standing", [Standing.STOPPING, Standing.RETURNING])
def test_what_is_on_its_way_back_is_waited_for_before_anything_is_evicted(standing: Standing) -> None:
    verdict = decide(ask(6), cpu(2), [holding("going", 4, standing), holding("idle", 4)])

    assert isinstance(verdict, MustWait)
    assert verdict.until == frozenset()


def test_what_is_mostly_back_is_not_waited_for_but_forbids_a_final_no() -> None:
    rest = holding("rest", 2, Standing.RETURNED)

    assert decide(ask(4), cpu(2), [rest, holding("idle", 2)]) == Evict(("idle",))
    assert isinstance(decide(ask(4), cpu(2), [rest]), MustWait)


def test_a_loading_runner_of_which_nothing_is_seen_forbids_a_final_no() -> None:
    assert isinstance(decide(ask(12), cpu(6), [holding("a", 6, Standing.LOADING, held_gb=0)]), MustWait)
    assert isinstance(decide(ask(13), cpu(6), [holding("a", 6, Standing.LOADING, held_gb=0)]), NeverFits)


def test_never_is_said_with_the_terms_and_a_way_out() -> None:
    supply = cpu(6)
    need = Need(12 * GB, GB // 2, 100_000_000, 200_000_000)

    verdict = decide(Ask("big", need), supply, [holding("a", 2, Standing.BUSY)])

    assert verdict == NeverFits(
        "Model 'big' needs 12.8 GB (weights 12.0 GB, context 500 MB, workspace 100 MB, runtime 200 MB) but this "
        "machine can give 8.0 GB: choose a smaller model, a stronger quantisation or a smaller num_ctx."
    )


def test_a_place_among_the_loaded_is_made_like_room() -> None:
    idle, busy = holding("idle", 1), holding("busy", 1, Standing.BUSY)

    assert decide(ask(1), cpu(9), [idle, busy], max_loaded=3) == Fits("cpu")
    assert decide(ask(1), cpu(9), [idle, busy], max_loaded=2) == Evict(("idle",))
    assert isinstance(decide(ask(1), cpu(9), [busy], max_loaded=1), MustWait)
    assert decide(ask(1), cpu(9), [holding("back", 1, Standing.RETURNING)], max_loaded=1) == Fits("cpu")


def two_pools(free_gb: float) -> Supply:
    cuda = Pool("cuda:0", 16 * GB, int(free_gb * GB), has_accelerator=True, has_cpu=False)
    return Supply((cuda, *cpu(32).pools), 0)


def test_a_model_goes_to_the_accelerator_unless_it_is_kept_off() -> None:
    assert decide(ask(8), two_pools(16), []) == Fits("cuda:0")
    assert decide(ask(8, wants_accelerator=False), two_pools(16), []) == Fits("cpu")


def test_a_model_that_does_not_fit_the_accelerator_is_not_put_elsewhere_in_silence() -> None:
    assert isinstance(decide(ask(20), two_pools(16), []), NeverFits)


def test_the_second_accelerator_is_taken_before_anything_is_evicted_on_the_first() -> None:
    first, second = (Pool(f"cuda:{n}", 16 * GB, n * 9 * GB, has_accelerator=True, has_cpu=False) for n in range(2))
    resident = replace(holding("a", 16), pool_id="cuda:0")

    assert decide(ask(8), Supply((first, second), 0), [resident]) == Fits("cuda:1")
    assert decide(ask(12), Supply((first, second), 0), [resident]) == Evict(("a",))


def test_memory_of_another_pool_is_no_help() -> None:
    resident = replace(holding("a", 16), pool_id="cpu")

    assert isinstance(decide(ask(12), two_pools(4), [resident]), NeverFits)


def test_a_machine_without_a_usable_device_says_so() -> None:
    cuda_only = Supply((Pool("cuda:0", 16 * GB, 16 * GB, has_accelerator=True, has_cpu=False),), 0)

    verdict = decide(ask(1, wants_accelerator=False), cuda_only, [])

    assert isinstance(verdict, NeverFits)
    assert "num_gpu" in verdict.why


def test_an_accelerator_that_shares_the_memory_only_has_a_part_of_it() -> None:
    metal = Supply((Pool("cpu", 40 * GB, 30 * GB, has_accelerator=True, has_cpu=True),), 0)

    assert decide(ask(12), metal, [holding("a", 25)]) == Fits("cpu")
    assert decide(ask(16), metal, [holding("a", 25)]) == Evict(("a",))
