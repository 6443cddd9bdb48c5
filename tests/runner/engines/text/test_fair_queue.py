import itertools

from hypothesis import given
from hypothesis import strategies as st

from paddock.runner.engines.text.fair_queue import FairQueue


def queue_of(*entries: str) -> FairQueue[str]:
    """Each entry is a client's letter and a number."""
    queue: FairQueue[str] = FairQueue()
    for entry in entries:
        queue.add(entry[0], entry)
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.take() for _ in range(len(queue))]


def test_one_client_is_served_in_the_order_it_came():
    assert drained(queue_of("a1", "a2", "a3")) == ["a1", "a2", "a3"]


def test_clients_take_turns_however_many_requests_one_of_them_has():
    assert drained(queue_of("a1", "a2", "a3", "a4", "b1", "c1", "b2")) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_a_client_that_comes_again_waits_behind_those_who_wait():
    queue = queue_of("a1", "b1", "c1")
    assert queue.take() == "a1"
    queue.add("a", "a2")

    assert drained(queue) == ["b1", "c1", "a2"]


def test_passing_on_gives_the_next_client_its_turn_and_keeps_the_item_first_of_its_own():
    queue = queue_of("a1", "a2", "b1")
    seen = []
    for _ in range(4):
        seen.append(queue.first())
        queue.pass_on()

    assert seen == ["a1", "b1", "a1", "b1"]
    assert len(queue) == 3


def test_what_is_removed_is_not_served_and_costs_nobody_a_turn():
    queue = queue_of("a1", "a2", "b1", "b2")
    queue.remove("a1")
    queue.remove("b1")
    queue.remove("b2")

    assert "a2" in queue
    assert "b2" not in queue
    assert drained(queue) == ["a2"]


@given(st.lists(st.sampled_from("abcd"), max_size=40))
def test_nobody_waits_for_more_than_one_turn_of_every_other_client(clients):
    entries = [f"{client}{number}" for number, client in enumerate(clients)]
    served = drained(queue_of(*entries))

    assert sorted(served) == sorted(entries)
    for client in set(clients):
        own = [entry for entry in served if entry[0] == client]
        assert own == [entry for entry in entries if entry[0] == client]
        places = [-1, *(place for place, entry in enumerate(served) if entry[0] == client)]
        for earlier, later in itertools.pairwise(places):
            between = [entry[0] for entry in served[earlier + 1 : later]]
            assert len(between) == len(set(between))


def test_looking_in_turn_shows_the_order_in_which_they_would_be_taken():
    queue = queue_of("a1", "a2", "a3", "b1", "c1", "b2")

    assert list(queue.in_turn()) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert drained(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_client_that_had_a_turn_out_of_order_goes_behind_the_others():
    queue = queue_of("a1", "a2", "b1", "b2", "c1")
    queue.remove("a1")
    queue.put_behind("a")
    queue.put_behind("nobody")

    assert drained(queue) == ["b1", "c1", "a2", "b2"]
