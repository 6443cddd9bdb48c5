from itertools import pairwise

import numpy as np
import pytest

from paddock.runner.engines.image.tiling import Mosaic, Span, fades, spans


@pytest.mark.parametrize("most", [4, 8, 31, 64])
def test_spans_cover_a_side_and_overlap_enough(most):
    for length in range(1, 5 * most):
        side = spans(length, most)

        assert (side[0].start, side[-1].end) == (0, length)
        assert {span.end - span.start for span in side} == {min(most, length)}
        assert all(before.end - after.start >= most // 4 for before, after in pairwise(side))


@pytest.mark.parametrize("length", [9, 12, 15, 40, 41])
def test_weights_of_all_spans_are_one_together(length):
    total = np.zeros(length * 2)
    for span, weights in fades(spans(length, 8), 2).items():
        assert (weights > 0).all()
        total[span.start * 2 : span.end * 2] += weights

    assert total == pytest.approx(1.0, abs=1e-6)


def test_a_picture_is_whole_again_after_it_was_cut():
    picture = np.random.default_rng(0).normal(size=(37, 50, 3)).astype(np.float32)
    mosaic = Mosaic(37, 50, most=16)
    count = 0
    while (tile := mosaic.next_tile) is not None:
        mosaic.place(picture[tile.rows.start : tile.rows.end, tile.columns.start : tile.columns.end])
        count += 1

    assert count == 3 * 4
    assert np.abs(mosaic.whole() - picture).max() < 1e-5


def test_what_is_made_of_a_cell_may_be_larger():
    mosaic = Mosaic(10, 20, most=8, scale=2)
    while (tile := mosaic.next_tile) is not None:
        mosaic.place(np.full(((tile.rows.end - tile.rows.start) * 2, 16, 1), 3.0, np.float32))

    assert mosaic.whole().shape == (20, 40, 1)
    assert mosaic.whole() == pytest.approx(3.0, abs=1e-5)


def test_a_small_picture_is_one_tile_that_stays_as_it_is():
    mosaic = Mosaic(8, 6, most=8)
    values = np.ones((8, 6, 3), np.float32)
    mosaic.place(values)

    assert spans(8, 8) == [Span(0, 8)]
    assert mosaic.whole() is values
