import pytest

from paddock.runner.engines.text.pace import READING_SHARE, Pace


def stepping(seconds: float, num_batch: int = 512) -> Pace:
    """A pace that has seen many steps of this length."""
    pace = Pace(num_batch)
    for _ in range(60):
        pace.has_stepped(seconds)
    return pace


def test_reading_gets_its_share_of_the_time_beside_answers():
    pace = stepping(0.03)

    budget = pace.budget_seconds

    assert budget / (budget + 0.03) == pytest.approx(READING_SHARE, rel=1e-3)


@pytest.mark.parametrize(("step_seconds", "budget_seconds"), [(0.0001, 0.05), (5.0, 0.25)])
def test_the_budget_is_neither_mere_overhead_nor_a_standstill(step_seconds, budget_seconds):
    assert stepping(step_seconds).budget_seconds == budget_seconds


def test_a_chunk_takes_about_the_budget_at_the_speed_that_was_measured():
    pace = stepping(0.03)
    pace.has_read(100, 0, 0.13)

    assert 0.03 + pace.chunk(pace.budget_seconds, 50) * 0.001 == pytest.approx(pace.budget_seconds, rel=0.02)


def test_a_chunk_is_never_larger_than_the_option_and_the_first_one_never_empty():
    pace = Pace(num_batch=64)
    assert pace.chunk(1.0, 0) <= 64
    pace.has_read(64, 0, 0.001)
    assert pace.chunk(10.0, 64) == 64
    pace.has_read(64, 64, 64.0)
    assert pace.chunk(0.02, 96) == 1
    assert pace.chunk(0.02, 96, is_first=False) == 0


def test_the_least_chunk_is_a_few_tokens_unless_they_alone_fill_the_budget():
    pace = stepping(0.25)
    pace.has_read(100, 0, 0.35)

    assert pace.chunk(0.25, 50) == 8

    pace.has_read(100, 0, 5.25)

    assert pace.chunk(0.25, 50) == 4


def test_what_a_token_costs_is_foreseen_from_how_many_are_before_it():
    pace = stepping(0.01)
    for depth in range(0, 4096, 512):
        pace.has_read(512, depth, 0.01 + 512 * 0.0001 * (1 + (depth + 256) / 1000))

    seconds = pace.chunk(0.11, 8192) * 0.0001 * (1 + 8192 / 1000)

    assert seconds == pytest.approx(0.1, rel=0.5), "a chunk of the length at depth 0 would take 0.9"


def test_one_prompts_depth_does_not_mislead_about_another():
    pace = stepping(0.01)
    cost = {100: 0.0001 * 1.1, 10_000: 0.0001 * 11}
    for _ in range(30):
        for depth, seconds in cost.items():
            pace.has_read(32, depth - 16, 0.01 + 32 * seconds)

    for depth, seconds in cost.items():
        assert pace.chunk(0.03, depth) * seconds == pytest.approx(0.02, rel=0.1)


def test_where_a_pass_over_the_weights_is_what_costs_chunks_do_not_dwindle():
    pace = stepping(0.05)
    for _ in range(20):
        pace.has_read(tokens := pace.chunk(pace.budget_seconds, 0), 0, 0.05 + 0.001 * tokens)

    assert tokens == pytest.approx(100, abs=5)


@pytest.mark.parametrize("milliseconds_of_a_token", [0.05, 0.3, 1.0, 4.0])
def test_beside_a_very_long_prompt_no_gap_between_tokens_is_over_twice_the_budget(milliseconds_of_a_token):
    """A simulated machine, on which tokens cost more the further back they look: five times as much at 16,000."""
    pace, read, gaps = stepping(0.01), 0, []
    while read < 16_000:
        budget, spent = pace.budget_seconds, 0.0
        tokens = pace.chunk(budget, read)
        while tokens > 0 and read < 16_000:
            seconds = 0.01 + tokens * milliseconds_of_a_token / 1000 * (1 + read / 4000)
            pace.has_read(tokens, read, seconds)
            read, spent = read + tokens, spent + seconds
            tokens = pace.chunk(budget - spent, read, is_first=False)
        pace.has_stepped(0.01)
        gaps.append((spent + 0.01) / budget)

    assert max(gaps[1:]) <= 2.0, "the first chunk is read before anything was measured"
    assert sum(gaps) / len(gaps) > 0.9, "the budget is used"
