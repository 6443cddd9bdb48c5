"""The demo model finds its way into a newcomer's store, and never back into one that was emptied on purpose."""

from __future__ import annotations

from pathlib import Path

from paddock.store.library import Library
from paddock.store.packaged import DEMO_IMAGE_NAME, DEMO_NAME, PACKAGED_NAMES, install_demo, install_demo_into_new_store


def test_a_new_store_gets_the_demos(tmp_path: Path) -> None:
    library = Library(tmp_path / "models")

    install_demo_into_new_store(library)

    assert {model.name for model in library.list()} == {DEMO_NAME, DEMO_IMAGE_NAME}
    assert library.get(DEMO_NAME).size_bytes <= 5_000_000
    assert library.get(DEMO_IMAGE_NAME).size_bytes <= 6_000_000
    assert "image" in library.get(DEMO_IMAGE_NAME).facts.capabilities


def test_a_store_that_was_emptied_stays_empty(tmp_path: Path) -> None:
    install_demo_into_new_store(Library(tmp_path / "models"))
    for name in PACKAGED_NAMES:
        Library(tmp_path / "models").delete(name)

    install_demo_into_new_store(Library(tmp_path / "models"))

    assert Library(tmp_path / "models").list() == []


def test_installing_tells_its_steps_and_may_be_repeated(tmp_path: Path) -> None:
    library, steps = Library(tmp_path / "models"), []

    first = install_demo(library, steps.append)
    again = install_demo(library, steps.append)

    assert steps[-1] == "success"
    assert first.digest == again.digest
