"""Pictures as they are so far: when they come, what they show and what they cost."""

import mlx.core as mx
import numpy as np
import pytest

from paddock.pictures import read_details
from paddock.protocol import Image, Preview, Step
from paddock.runner.engines.base import Engine
from paddock.runner.engines.image.families import make_family
from paddock.runner.engines.image.flow import Flow, make_sigmas
from paddock.runner.engines.image.folder import read_folder
from paddock.runner.engines.image.layers import finish
from paddock.runner.engines.image.parts import Parts
from paddock.runner.engines.image.previews import area_weights, lead, preview_size, preview_steps
from tests.runner.engines.image.running import a_pattern, ask, loaded, pictures, pixels
from tests.runner.running import run


@pytest.fixture(scope="module")
def engine(tiny_z_image) -> Engine:
    return loaded(tiny_z_image)


@pytest.fixture(scope="module")
def klein(tiny_klein) -> Engine:
    return loaded(tiny_klein)


def previews(frames: list) -> list[Preview]:
    return [frame for frame in frames if isinstance(frame, Preview)]


# ---- when ----


@pytest.mark.parametrize(
    ("steps", "asked", "expected"),
    [(8, 3, (2, 4, 6)), (4, 3, (1, 2, 3)), (4, 2, (1, 2)), (50, 1, (25,)), (2, 3, (1,)), (1, 3, ()), (9, 0, ())],
)
def test_previews_lie_evenly_and_never_on_the_last_step(steps, asked, expected):
    assert preview_steps(steps, asked) == expected


def test_previews_come_between_the_steps_in_order(engine):
    [frames] = run(engine, ask(steps=8, previews=3))

    told = [frame.done if isinstance(frame, Step) else frame.number for frame in frames[:-2]]
    assert [type(frame) for frame in frames[:4]] == [Step, Step, Step, Preview]
    assert told == [0, 1, 2, 0, 3, 4, 1, 5, 6, 2, 7, 8]


def test_every_picture_of_a_request_has_its_own_previews(tiny_z_image):
    [frames] = run(loaded(tiny_z_image, pictures_at_once=2), ask(count=3, previews=2))

    shown = [(frame.index, frame.number) for frame in frames if isinstance(frame, Preview)]
    assert shown == [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (2, 1)]


def test_only_the_steps_that_are_made_count_where_it_starts_from_a_picture(engine):
    [frames] = run(engine, ask(images=(a_pattern(1),), steps=8, strength=0.5, previews=3))

    assert [type(frame) for frame in frames[:-2]] == [Step, Step, Preview, Step, Preview, Step, Preview, Step]


# ---- what ----


@pytest.mark.parametrize("name", ["engine", "klein"])
def test_a_picture_is_the_same_with_previews_and_its_seed_alone_tells_of_it(request, name):
    engine = request.getfixturevalue(name)
    with_previews, without = run(engine, *(ask(steps=4, width=32, height=24, previews=count) for count in (3, 0)))

    assert pictures(with_previews)[0].data == pictures(without)[0].data
    assert all(read_details(preview.data) is None for preview in previews(with_previews))


def test_the_last_step_leads_to_the_picture_itself(engine):
    """In the last preview nearly all is known: it is nearer to the picture than the first one is."""
    [frames] = run(engine, ask(steps=12, previews=3, width=64, height=48))
    whole = pixels(pictures(frames)[0]).astype(float)
    errors = [np.abs(pixels(preview).astype(float) - whole).mean() for preview in previews(frames)]

    assert errors[2] < 0.6 * errors[0]


@pytest.mark.parametrize("inverts", [False, True])
def test_what_is_known_of_a_straight_way_is_its_end(inverts):
    sigmas = make_sigmas(Flow(shift=3.0, invert_sigmas=inverts), 5, 0.0)
    start, velocity = np.array([1.0, -2.0]), np.array([0.25, 3.0])

    for step in range(5):
        before, after = (start + (sigmas[place] - sigmas[0]) * velocity for place in (step, step + 1))
        estimate = before + lead(sigmas, step) * (after - before)
        assert estimate == pytest.approx(start + (sigmas[-1] - sigmas[0]) * velocity, abs=1e-4)


# ---- how large ----


@pytest.mark.parametrize(
    ("size", "cell", "tile", "expected"),
    [
        ((128, 128), 8, 1024, (64, 64)),  # 1024 x 1024 pixels: half of it
        ((512, 256), 8, 1024, (64, 32)),  # 4096 x 2048: the most there is
        ((48, 64), 8, 1024, (24, 32)),  # 384 x 512: half of it
        ((32, 20), 8, 1024, (32, 20)),  # 256 x 160: whole
        ((64, 64), 16, 128, (8, 8)),  # 1024 x 1024 with small tiles: a tile
        ((256, 1), 16, 1024, (32, 1)),
    ],
)
def test_a_preview_is_small_and_of_the_pictures_shape(size, cell, tile, expected):
    assert preview_size(*size, cell, tile) == expected


@pytest.mark.parametrize(("many", "fewer"), [(8, 4), (9, 4), (7, 7), (5, 1), (100, 33)])
def test_each_cell_counts_as_much_as_any_other(many, fewer):
    weights = area_weights(many, fewer)

    assert weights.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert weights.sum(axis=0) == pytest.approx(fewer / many, abs=1e-5)
    assert weights == pytest.approx(weights[::-1, ::-1], abs=1e-6)
    assert (np.diff(weights @ np.arange(many)) > 0).all()


@pytest.mark.parametrize("folder", ["tiny_z_image", "tiny_klein"])
def test_a_small_picture_is_that_of_the_means_of_the_decoders_latents(request, folder):
    checked = read_folder(request.getfixturevalue(folder))
    family = make_family(checked)
    parts = Parts(checked, family, staged=False)
    parts.load(lambda _progress: None)
    autoencoder, facts = parts.autoencoder, family.facts
    latents = mx.random.normal((1, 12, 16, facts.channels), key=mx.random.key(3))
    cells = autoencoder.unnormed(latents)
    squares = cells.reshape(1, cells.shape[1] // 2, 2, cells.shape[2] // 2, 2, -1)

    small = finish(autoencoder.decode_small(latents, 6, 8))

    assert small.shape == (1, 6 * facts.cell, 8 * facts.cell, 3)
    assert mx.allclose(small, finish(autoencoder._pixels(squares.mean(axis=(2, 4)))), atol=1e-3)


def test_a_preview_takes_less_memory_than_the_picture(engine, monkeypatch):
    monkeypatch.setattr("paddock.runner.engines.image.previews.WHOLE_SIDE", 64)
    engine.submit(1, engine.prepare(ask(width=128, height=128, steps=2, previews=1)))
    peaks = {}
    while engine.has_work:
        level = mx.get_active_memory()
        mx.reset_peak_memory()
        for _, frame in engine.step():
            peaks[type(frame)] = mx.get_peak_memory() - level

    assert peaks[Preview] < 0.5 * peaks[Image]


# ---- beside others ----


def test_a_preview_is_a_step_of_its_own_between_which_others_go_on(engine):
    for request_id in (1, 2):
        engine.submit(request_id, engine.prepare(ask(seed=request_id, steps=2, previews=1)))
    order = []
    while engine.has_work:
        order += [(request_id, type(frame)) for request_id, frame in engine.step()]

    turns = [(kind, request_id) for kind in (Step, Step, Preview, Step, Image) for request_id in (1, 2)]
    assert [(kind, request_id) for request_id, kind in order if kind in (Step, Preview, Image)] == turns


def test_a_request_that_is_cancelled_before_its_preview_leaves_nothing(engine):
    run(engine, ask())
    level = mx.get_active_memory()
    engine.submit(1, engine.prepare(ask(width=128, height=128, previews=1)))
    frames = [engine.step() for _ in range(2)]
    engine.cancel(1)

    assert isinstance(frames[-1][0][1], Step)
    assert engine.step() == []
    assert mx.get_active_memory() <= level + 64 * 1024


def test_a_long_preview_is_made_in_slices(engine, monkeypatch):
    [expected] = run(engine, ask(previews=1))
    monkeypatch.setattr("paddock.runner.engines.image.job.SLICE_SECONDS", 0.0)
    [frames] = run(engine, ask(previews=1))

    assert previews(frames)[0].data == previews(expected)[0].data


def test_so_many_previews_are_refused(engine):
    for count in (-1, 4):
        with pytest.raises(Exception, match="previews must be 0 to 3"):
            engine.prepare(ask(previews=count))
