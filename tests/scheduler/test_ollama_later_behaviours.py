"""What later versions of Ollama ask of their scheduler, beyond `test_ollama_behaviours.py`, and where it is tested.

`COVERED` names the test of each; `DIFFERENT` says where ours does otherwise, and why. The tests below are those that no
other file has.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.config import Config
from paddock.errors import InvalidOption, OutOfMemory
from paddock.options import merge
from paddock.scheduler import events
from paddock.scheduler.actions import StartRunner
from paddock.scheduler.defaults import GIB, Machine
from paddock.scheduler.order import LoadOrder, LoadWish, order
from tests.scheduler.worlds import World, stored_model

TESTS = Path(__file__).parent.parent

COVERED = {
    "the context in force is stored, automatic or asked for": (
        "scheduler/test_ollama_behaviours.py::test_the_context_in_force_is_kept_with_the_runner"
    ),
    "automatic contexts ask for no reload": (
        "scheduler/test_ollama_behaviours.py::test_options_that_nobody_fixed_ask_for_no_reload"
    ),
    "a lowered runner serves those who fixed nothing": (
        "scheduler/test_retry.py::test_a_lowered_runner_serves_those_who_fixed_nothing"
    ),
    "the default context follows the accelerator's memory": (
        "scheduler/test_order.py::test_the_default_context_follows_from_the_accelerators_memory"
    ),
    "out of memory lowers the automatic context first": "test_out_of_memory_at_load_lowers_the_automatic_context",
    "out of memory keeps a context that was asked for": (
        "scheduler/test_retry.py::test_options_that_were_fixed_are_kept_in_the_second_attempt"
    ),
    "the first load of all is tried again as well": "test_out_of_memory_at_load_lowers_the_automatic_context",
    "a crash at load evicts all others and is tried once": (
        "scheduler/test_retry.py::"
        "test_a_load_that_runs_out_of_memory_is_tried_again_with_the_least_when_all_idle_are_gone"
    ),
    "the second failure is final": "scheduler/test_retry.py::test_there_is_no_third_attempt",
    "no others and nothing to lower fails at once": (
        "scheduler/test_retry.py::test_where_nothing_can_be_won_it_fails_at_once"
    ),
    "another failure fails at once": "scheduler/test_retry.py::test_another_failure_is_not_tried_again",
    "an eviction under way is waited for, not repeated": (
        "memory/test_fit.py::test_what_is_on_its_way_back_is_waited_for_before_anything_is_evicted"
    ),
    "several runners are tracked and evicted as needed": (
        "memory/test_fit.py::test_no_more_are_evicted_than_make_room"
    ),
    "shared memory counts by its worst measurement": (
        "memory/test_fit.py::test_an_accelerator_that_shares_the_memory_only_has_a_part_of_it"
    ),
    "a model goes to the device where it fits": (
        "memory/test_fit.py::test_the_second_accelerator_is_taken_before_anything_is_evicted_on_the_first"
    ),
    "the context counts once for each sequence": "test_every_sequence_has_the_whole_context",
    "the batch by context": "test_the_batch_does_not_follow_the_context",
    "mapped or read": "test_there_is_no_choice_of_mapping_the_weights",
    "a full context": "runner/engines/text/test_engine.py::test_generation_stops_when_the_context_is_full",
    "out of memory while answering": (
        "scheduler/test_ollama_behaviours.py::test_memory_that_runs_out_while_answering_ends_that_runner_alone"
    ),
}
"""By behaviour, the file and the test; those without a file are below."""

DIFFERENT = {
    "the context counts once for each sequence": "Ollama's num_ctx is shared out among the slots of its GGUF runners, "
    "which shortens each; ours is what one sequence may hold, and admission counts as many.",
    "the batch by context": "Ollama lowers its batch where the context is long, since its scores are held in full for "
    "every layer of a graph; here one layer's scores exist at a time, and admission counts them.",
    "mapped or read": "Ollama's tables choose between mapping a GGUF file and reading it. MLX reads tensors into the "
    "memory where they stay, on every system, so there is nothing to choose: use_mmap may only be what it is.",
    "a full context": "Ollama can shift the window by half of its middle, which changes what the model has read "
    "without saying so. Ours ends the answer with done_reason length.",
    "out of memory while answering": "Ollama unloads every model. Ours are processes of their own.",
    "a model goes to the device where it fits": "Ollama splits layers of GGUF models over devices. Ours are whole.",
}


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("behaviour", COVERED)
def test_the_test_of_each_behaviour_exists(behaviour: str) -> None:
    file, _, name = COVERED[behaviour].rpartition("::")

    assert name in names_in(TESTS / file if file else Path(__file__))


def test_every_difference_is_about_a_behaviour() -> None:
    assert set(DIFFERENT) <= set(COVERED)


def order_on(machine: Machine, config: Config | None = None, **fixed: int) -> LoadOrder:
    return order(stored_model("a", digest="a", context_length=0), LoadWish(**fixed), config or Config(), machine)


def test_out_of_memory_at_load_lowers_the_automatic_context() -> None:
    world = World(free_gb=60)
    world.send(events.Requested(world.now, 1, order_on(Machine(accelerator_bytes=48 * GIB))))
    first = world.of(StartRunner)[-1].order.options

    world.fail("a", OutOfMemory("It ran out of memory."))

    assert first.num_ctx == 262_144
    assert world.of(StartRunner)[-1].order.options.num_ctx == 4096


def test_every_sequence_has_the_whole_context() -> None:
    alone, four = (order_on(Machine(), Config(num_parallel=count)) for count in (1, 4))

    assert four.options.num_ctx == alone.options.num_ctx
    assert four.need.kv_bytes == 4 * alone.need.kv_bytes


def test_the_batch_does_not_follow_the_context() -> None:
    short, long = (order_on(Machine(), num_ctx=tokens) for tokens in (512, 262_144))

    assert short.options == replace(long.options, num_ctx=512)


def test_there_is_no_choice_of_mapping_the_weights() -> None:
    assert merge({}, {"use_mmap": True}) == merge({}, {})
    with pytest.raises(InvalidOption, match="use_mmap"):
        merge({}, {"use_mmap": False})
