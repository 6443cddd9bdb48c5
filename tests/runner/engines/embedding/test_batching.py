from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paddock.runner.engines.embedding.batching import Batches


def batches_of(most_tokens: int, jobs: dict[str, list[int]]) -> list[list[tuple[str, int]]]:
    batches: Batches[str] = Batches(most_tokens)
    for name, lengths in jobs.items():
        batches.add(name, lengths)
    taken = []
    while batches:
        taken.append(batches.take())
    return taken


def test_texts_of_about_one_length_go_together() -> None:
    assert batches_of(100, {"a": [3, 50, 4, 40]}) == [[("a", 1), ("a", 3)], [("a", 2), ("a", 0)]]


def test_a_text_longer_than_a_batch_is_computed_alone() -> None:
    assert batches_of(10, {"a": [30, 29]}) == [[("a", 0)], [("a", 1)]]


def test_a_batch_is_filled_with_texts_of_other_requests() -> None:
    assert batches_of(40, {"a": [10], "b": [9, 100, 6], "c": [4]}) == [
        [("a", 0), ("b", 0), ("b", 2)],
        [("b", 1)],
        [("c", 0)],
    ]


def test_a_short_request_waits_for_one_batch_of_a_long_one() -> None:
    taken = batches_of(100, {"long": [100] * 50, "short": [1]})

    assert taken[1] == [("short", 0)]


def test_what_is_removed_is_not_computed() -> None:
    batches: Batches[str] = Batches(10)
    batches.add("a", [10, 10])
    batches.add("b", [10])
    assert batches.take() == [("a", 1)]

    batches.remove("a")

    assert batches.take() == [("b", 0)]
    assert not batches
    assert batches.take() == []


@given(
    st.integers(1, 200),
    st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=20), min_size=1, max_size=6),
)
def test_every_text_is_computed_once_within_the_bounds(most_tokens: int, jobs: list[list[int]]) -> None:
    lengths = dict(enumerate(jobs))
    batches: Batches[int] = Batches(most_tokens)
    for key, texts in lengths.items():
        batches.add(key, texts)
    seen = []
    while batches:
        batch = batches.take()
        sizes = [lengths[key][index] for key, index in batch]
        assert len(batch) == 1 or max(sizes) * len(batch) <= most_tokens
        assert 2 * min(sizes) >= max(sizes)
        seen += batch
    assert sorted(seen) == sorted((key, index) for key, texts in lengths.items() for index in range(len(texts)))
