"""What an image model is said to need. Real runners are held to it by `make memory-report`, one in `test_report`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paddock.memory.correction import Point, Seen, foresee
from paddock.memory.estimate import MIB, Need, Settings, estimate
from paddock.memory.image import decoding_values, denoising_values, resident_bytes, tokens_of, work_bytes
from paddock.store.images import ImageFacts, PartFacts
from tests.memory.image_models import FACTS, GB, KLEIN, SQUARE, model
from tests.runner.engines.image.running import a_file, ask, loaded
from tests.runner.engines.image.tiny_folders import make_tiny_klein
from tests.runner.running import run

ONE = Settings(512, 1, picture_pixels=SQUARE, tile_pixels=1024)


def need(settings: Settings = ONE, image: ImageFacts = FACTS, *, on_accelerator: bool = False) -> Need:
    return estimate(model(image), settings, on_accelerator=on_accelerator)


def test_a_token_is_a_cell_of_the_picture_of_a_reference_or_of_the_text() -> None:
    assert tokens_of(FACTS, ONE) == 64 * 64 + 512
    assert tokens_of(KLEIN, replace(ONE, references=2)) == 3 * 64 * 64 + 512
    assert tokens_of(KLEIN, replace(ONE, picture_pixels=4 * SQUARE, references=1)) == 5 * 64 * 64 + 512


def test_parts_that_take_turns_need_no_more_than_the_larger_of_them() -> None:
    form: dict[str, Any] = {"on_accelerator": True, "keep_packed": False}

    together, in_turn = (resident_bytes(FACTS, staged=staged, **form) for staged in (False, True))

    assert together == 20 * GB + GB // 5
    assert in_turn == 12 * GB + GB // 5
    assert need(on_accelerator=False).weights_bytes == 2 * together


def test_packed_weights_stay_packed_where_that_is_wanted() -> None:
    packed = replace(FACTS, transformer=PartFacts(4 * GB, 4 * GB, 5 * GB, 24 * GB, GB // 100))

    dense, kept = (need(replace(ONE, keep_packed=keeps), packed).weights_bytes for keeps in (False, True))

    assert dense - kept == 19 * GB


def test_denoising_grows_with_the_pictures_that_are_made_at_once() -> None:
    one, four = (denoising_values(FACTS, replace(ONE, parallel=count)) for count in (1, 4))

    assert one == 4608 * 3840 * 16 + (1 << 20)
    assert four == pytest.approx(4 * one, rel=0.02)


def test_references_make_denoising_larger_and_nothing_else() -> None:
    settings = replace(ONE, references=4)

    assert denoising_values(KLEIN, settings) > 4 * denoising_values(KLEIN, ONE)
    assert decoding_values(KLEIN, settings) == decoding_values(KLEIN, ONE)


def test_tiles_bound_the_decoding() -> None:
    large, small = (decoding_values(FACTS, replace(ONE, tile_pixels=side)) for side in (1024, 512))

    assert decoding_values(FACTS, replace(ONE, picture_pixels=16 * SQUARE)) == large
    assert small < large / 3
    quarter = replace(ONE, picture_pixels=SQUARE // 4)
    assert decoding_values(FACTS, quarter) == small


def test_a_picture_that_is_put_together_is_on_the_host_twice() -> None:
    whole = work_bytes(FACTS, ONE, on_accelerator=False)
    more = work_bytes(FACTS, replace(ONE, picture_pixels=SQUARE + 1), on_accelerator=False)

    assert more - whole == pytest.approx(12 * SQUARE, rel=0.01)


def test_the_terms_of_a_need_are_those_of_the_stages() -> None:
    found = need()

    assert found.workspace_bytes == work_bytes(FACTS, ONE, on_accelerator=False) + 40 * MIB
    assert found.kv_bytes == 2 * 512 * 3840 * 4
    assert 0 < found.load_bytes < GB
    assert found.total_bytes == found.weights_bytes + found.runtime_bytes + found.working_bytes


def test_what_a_full_picture_was_seen_to_take_replaces_the_workspace() -> None:
    before = need()
    peak_bytes = before.weights_bytes + before.runtime_bytes + before.workspace_bytes // 2
    seen = Seen(before.weights_bytes, 0, 0, (Point(SQUARE, 1, SQUARE, 512, 0, peak_bytes),))

    now = foresee(model(), ONE, on_accelerator=False, seen=seen)
    larger = foresee(model(), replace(ONE, picture_pixels=4 * SQUARE), on_accelerator=False, seen=seen)

    assert now.workspace_bytes == round(1.02 * peak_bytes) - before.weights_bytes - before.runtime_bytes
    assert larger.workspace_bytes == need(replace(ONE, picture_pixels=4 * SQUARE)).workspace_bytes


def test_a_small_picture_that_took_more_than_foreseen_raises_larger_ones() -> None:
    small = replace(ONE, picture_pixels=SQUARE // 4)
    peak_bytes = need(small).total_bytes + need(small).workspace_bytes
    seen = Seen(need(small).weights_bytes, 0, 0, (Point(SQUARE // 4, 1, SQUARE // 4, 512, 0, peak_bytes),))

    now = foresee(model(), ONE, on_accelerator=False, seen=seen)

    assert now.workspace_bytes > 1.5 * need().workspace_bytes


def test_an_engine_tells_how_large_its_pictures_were_and_what_it_looked_at(tmp_path: Path) -> None:
    engine = loaded(make_tiny_klein(tmp_path), pictures_at_once=2)

    run(engine, ask(width=32, height=24, count=3, steps=1))
    plain = engine.memory()
    run(engine, ask(width=32, height=24, steps=1, images=(a_file(64, 64),)))
    looking = engine.memory()

    assert (plain.longest_tokens, plain.most_sequences, plain.most_tokens) == (32 * 24, 2, 2 * 32 * 24)
    assert (looking.longest_tokens, looking.most_sequences) == (32 * 24 + 64 * 64, 2)
