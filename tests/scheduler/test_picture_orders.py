"""What a runner of an image model is given, what of it gives way, and which requests it is right for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paddock import errors
from paddock.config import Config
from paddock.memory.fit import NeverFits, decide
from paddock.protocol import MemoryTerms
from paddock.scheduler.defaults import GIB, Machine
from paddock.scheduler.order import LoadOrder, LoadWish, order, settings_of
from paddock.store.images import ImageFacts
from paddock.store.library import StoredModel
from paddock.supervisor.model_server import RunnerOptions
from tests.memory.image_models import FACTS, KLEIN, SQUARE, model, part
from tests.scheduler.worlds import GB, World, stored_model, supply_of

LARGE = Machine(main_bytes=256 * GIB)
GPU = Machine(accelerator_bytes=256 * GIB)


def painter(image: ImageFacts = FACTS) -> StoredModel:
    return replace(stored_model("painter", digest="painter"), facts=model(image))


def order_of(
    image: ImageFacts = FACTS, config: Config | None = None, machine: Machine = LARGE, **fixed: int
) -> LoadOrder:
    return order(painter(image), LoadWish(**fixed), config or Config(), machine)


def test_pictures_are_of_the_models_own_size_unless_larger_ones_are_asked_for() -> None:
    assert order_of().options.picture_pixels == SQUARE
    assert order_of(picture_pixels=64).options.picture_pixels == SQUARE
    assert order_of(picture_pixels=4 * SQUARE).options.picture_pixels == 4 * SQUARE
    assert order_of(replace(FACTS, width=512, height=256)).options.picture_pixels == 512 * 256


def test_an_accelerator_makes_four_pictures_at_once_where_that_takes_little() -> None:
    assert order_of(machine=GPU).options.parallel == 4
    assert order_of(machine=Machine(accelerator_bytes=2 * GIB)).options.parallel == 2
    assert order_of(machine=GPU, config=Config(num_parallel=2)).options.parallel == 2


def test_a_processor_makes_one_picture_at_a_time_unless_a_setting_says_otherwise() -> None:
    assert order_of().options.parallel == order_of(machine=GPU, num_gpu=0).options.parallel == 1
    assert order_of(config=Config(num_parallel=2)).options.parallel == 2


def test_pictures_to_look_at_are_promised_where_they_take_little_or_are_asked_for() -> None:
    small = Machine(main_bytes=GIB)

    assert order_of().options.references == 0, "it starts from a picture, and looks at none"
    assert order_of(KLEIN).options.references == 4
    assert order_of(KLEIN, machine=small).options.references == 1, "which takes no more than the decoding does"
    assert order_of(KLEIN, machine=small, references=2).options.references == 2


def test_more_pictures_to_look_at_than_the_model_takes_are_no_reason_for_a_load() -> None:
    assert order_of(KLEIN, references=9).is_met_by(order_of(KLEIN).options)
    assert order_of(references=1).is_met_by(order_of().options)


def test_a_context_means_nothing_to_an_image_model() -> None:
    made = order_of(num_ctx=64, num_batch=8)

    assert made.options.num_ctx == 512
    assert made.is_met_by(RunnerOptions(512, picture_pixels=SQUARE))


def test_pictures_mean_nothing_to_other_models() -> None:
    made = order(stored_model(), LoadWish(picture_pixels=SQUARE, references=2), Config(), LARGE)

    assert made.is_met_by(RunnerOptions(4096))
    assert made.options.picture_pixels == 0


@pytest.mark.parametrize(
    ("fixed", "is_met"),
    [
        ({}, True),
        ({"picture_pixels": SQUARE}, True),
        ({"picture_pixels": SQUARE + 1}, False),
        ({"references": 1}, True),
        ({"references": 2}, False),
        ({"picture_pixels": 64, "num_gpu": 0}, False),
    ],
)
def test_a_runner_is_right_for_what_is_no_larger_than_it_was_started_for(fixed: dict[str, int], is_met: bool) -> None:
    assert order_of(KLEIN, **fixed).is_met_by(RunnerOptions(512, picture_pixels=SQUARE, references=1)) == is_met


def test_what_gives_way_is_what_is_missed_least() -> None:
    wanted = order_of(KLEIN, machine=GPU, picture_pixels=SQUARE // 4)

    lowered = list(wanted.lowered())

    steps = [
        (each.options.references, each.options.parallel, each.options.tile_pixels, each.options.staged,
         each.options.picture_pixels)
        for each in lowered
    ]  # fmt: skip
    assert steps == [
        (0, 4, 1024, False, SQUARE),
        (0, 2, 1024, False, SQUARE),
        (0, 1, 1024, False, SQUARE),
        (0, 1, 512, False, SQUARE),
        (0, 1, 512, True, SQUARE),
        (0, 1, 512, True, SQUARE // 4),
    ]
    needs = [each.need.total_bytes for each in (wanted, *lowered)]
    assert needs == sorted(needs, reverse=True)


def test_what_was_asked_for_is_never_lowered() -> None:
    wanted = order_of(KLEIN, Config(num_parallel=4), picture_pixels=4 * SQUARE, references=3)

    assert all(wanted.is_met_by(each.options) for each in wanted.lowered())
    assert {each.options.parallel for each in wanted.lowered()} == {4}


def test_a_step_that_saves_nothing_is_passed_over() -> None:
    narrow = replace(FACTS, decoder_width=4, encoder_width=4)

    steps = [each.options for each in order_of(narrow).lowered()]

    assert {options.tile_pixels for options in steps} == {1024}
    assert steps[-1].staged


def test_the_reason_of_a_load_tells_what_was_lowered() -> None:
    wanted = order_of(KLEIN, machine=GPU, picture_pixels=64)
    *_, last = wanted.lowered()

    said = last.changes_from(wanted)

    for words in ("parallel 1 instead of 4", "tiles of 512 pixels", "in memory in turn", "references 0 instead of 4"):
        assert words in said


def test_what_never_fits_asks_for_a_smaller_picture() -> None:
    verdict = decide(order_of(picture_pixels=16 * SQUARE).ask, supply_of(4), ())

    assert isinstance(verdict, NeverFits)
    assert verdict.why.endswith("or a smaller picture.")


def test_a_peak_is_compared_with_what_was_foreseen_for_pictures_of_that_size() -> None:
    made = order_of(KLEIN)
    memory = MemoryTerms(longest_tokens=SQUARE // 4, most_sequences=1, most_tokens=SQUARE // 4)

    foreseen = made.foreseen_peak(memory)

    alone = replace(made.options, parallel=1, references=0, picture_pixels=SQUARE // 4)
    assert foreseen == made.need_of(alone)
    assert settings_of(alone).longest == SQUARE // 4


SMALL = replace(KLEIN, hidden=384, heads=3, text_encoder=part(GB), transformer=part(2 * GB), autoencoder=part(GB // 10))
"""Of about seven gigabytes in float32, and two for its work."""


def request(world: World, image: ImageFacts = SMALL, **fixed: int) -> int:
    return world.request_order(order_of(image, machine=Machine(main_bytes=16 * GIB), **fixed))


def test_a_larger_picture_has_the_model_loaded_anew_and_a_smaller_one_does_not() -> None:
    world = World(free_gb=32)
    first = request(world)
    world.ready("painter")
    smaller = request(world, picture_pixels=64)
    larger = request(world, picture_pixels=4 * SQUARE)

    assert world.is_granted(first)
    assert world.is_granted(smaller)
    assert world.is_waiting(larger)

    world.release(first, smaller)
    assert world.stops() == ["painter"]
    world.stopped("painter")
    world.ready("painter")

    assert world.is_granted(larger)
    assert world.resident("painter").order.options.picture_pixels == 4 * SQUARE


def test_a_picture_that_never_fits_does_not_cost_the_runner_that_is_there() -> None:
    world = World(free_gb=16)
    world.release(request(world))
    world.ready("painter")

    refused = request(world, picture_pixels=256 * SQUARE)

    error = world.error_of(refused)
    assert isinstance(error, errors.NeverFits)
    assert "smaller picture" in error.message
    assert world.stops() == []


def test_text_and_pictures_take_turns_on_memory_for_one_of_them() -> None:
    world = World(free_gb=16)
    painting = request(world)
    world.ready("painter")
    chatting = world.request("talker", 12)
    assert world.is_waiting(chatting)

    world.release(painting)
    assert world.stops() == ["painter"]
    world.stopped("painter")
    world.ready("talker")

    assert world.is_granted(chatting)
