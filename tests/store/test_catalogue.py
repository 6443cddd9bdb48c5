"""What a listing keeps of the last one, and when it reads again."""

from __future__ import annotations

import os
import time

import pytest

from paddock.store.catalogue import SETTLED_NS, Catalogue, Listed
from paddock.store.library import Library
from tests.store.making import make, named, write_model

OLD_NS = time.time_ns() - 10 * SETTLED_NS


class Reading:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, listed):
        self.calls += 1
        return (listed.parts[-1], frozenset({"sha256:x"}))


@pytest.fixture
def reading():
    return Reading()


def listed(stamp=(1, OLD_NS, 10), name="latest"):
    return Listed(("host", "space", "model", name), stamp)


def test_what_has_not_changed_is_read_once(reading):
    catalogue = Catalogue(reading)
    for _ in range(3):
        assert catalogue.models([listed()], {"sha256:x"}) == ["latest"]
    assert reading.calls == 1


@pytest.mark.parametrize("stamp", [(2, OLD_NS, 10), (1, OLD_NS + 1, 10), (1, OLD_NS, 11)])
def test_another_file_is_read_again(reading, stamp):
    catalogue = Catalogue(reading)
    catalogue.models([listed()], {"sha256:x"})
    catalogue.models([listed(stamp)], {"sha256:x"})
    assert reading.calls == 2


def test_a_file_that_is_young_may_change_without_showing_it(reading):
    catalogue = Catalogue(reading)
    for _ in range(2):
        catalogue.models([listed((1, time.time_ns(), 10))], {"sha256:x"})
    assert reading.calls == 2


def test_what_has_lost_a_blob_is_read_again(reading):
    catalogue = Catalogue(reading)
    catalogue.models([listed()], {"sha256:x"})
    catalogue.models([listed()], set())
    assert reading.calls == 2


def test_what_cannot_be_read_is_left_out_and_tried_again():
    catalogue = Catalogue(lambda _listed: None)
    assert catalogue.models([listed()]) == []


def test_models_that_are_gone_are_not_kept_for_ever(reading):
    catalogue = Catalogue(reading)
    for start in range(0, 5000, 100):
        catalogue.models([listed(name=str(number)) for number in range(start, start + 100)])
    assert len(catalogue._entries) <= 1200


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "models")


def age(library, name):
    """Make a manifest old enough to be kept."""
    path = library.root / "manifests" / named(name).relative_path
    os.utime(path, ns=(OLD_NS, OLD_NS))


def test_a_replaced_model_shows_at_once(library, tmp_path):
    make(library, tmp_path / "demo")
    age(library, "demo")
    (before,) = library.list()
    make(library, write_model(tmp_path / "new", fill=1.0), "demo")
    (after,) = library.list()
    assert after.digest != before.digest
    assert library.list() == [after]


def test_a_list_for_somebody_shows_no_others_and_spoils_none(library, tmp_path):
    for name in ("mine", "yours"):
        make(library, tmp_path / "demo", name)
        age(library, name)
    for _ in range(2):
        partial = library.showing_only([named("mine")])
        assert [model.name.display for model in partial.list()] == ["mine:latest"]
        assert {model.name.display for model in library.list()} == {"mine:latest", "yours:latest"}


def test_hundreds_of_models_are_listed_much_faster_than_they_are_read(library, tmp_path):
    make(library, tmp_path / "demo", "first")
    source = library.root / "manifests" / named("first").relative_path
    for number in range(300):
        path = library.root / "manifests" / named(f"model-{number}").relative_path
        path.parent.mkdir(parents=True)
        path.write_bytes(source.read_bytes())
        os.utime(path, ns=(OLD_NS, OLD_NS))
    times = []
    for _ in range(4):
        begin = time.process_time()
        assert len(library.list()) == 301
        times.append(time.process_time() - begin)
    assert min(times[1:]) < times[0] / 4
