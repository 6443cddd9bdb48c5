"""`paddock store`: what is wrong is named, what nobody needs goes, and exit codes say which it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paddock.store.library import Library
from tests.store.making import make, named

Command = Callable[..., Any]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setenv("PADDOCK_MODELS", str(tmp_path / "models"))
    library = Library(tmp_path / "models")
    make(library, tmp_path / "demo")
    return library


def weights_of(library: Library) -> Path:
    return library.files(library.get(named("demo")))["model.safetensors"]


def test_a_whole_store_is_told_in_a_line(library: Library, paddock_command: Command) -> None:
    files = len(library.get(named("demo")).manifest.blobs)
    told = paddock_command("store", "check")
    assert (told.exit_code, told.out) == (0, f"1 model of {files} files, 1.4 KB: nothing is wrong\n")
    assert paddock_command("store", "verify").exit_code == 0


def test_a_missing_file_is_named_with_its_model(library: Library, paddock_command: Command) -> None:
    digest = weights_of(library).name.replace("-", ":")
    weights_of(library).unlink()
    told = paddock_command("store", "check")
    assert told.exit_code == 1
    assert f"{digest}   is missing   demo:latest" in told.out
    assert told.out.endswith("1 problem\n")


def test_a_damaged_file_is_found_by_verify_and_removed_where_that_is_asked_for(
    library: Library, paddock_command: Command
) -> None:
    path = weights_of(library)
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))
    assert paddock_command("store", "check").exit_code == 0
    told = paddock_command("store", "verify")
    assert told.exit_code == 1
    assert "does not hold what its name says" in told.out
    assert "`paddock store verify --repair` removes damaged files" in told.out
    assert path.exists()
    told = paddock_command("store", "verify", "--repair")
    assert told.exit_code == 1
    assert told.out.endswith("removed 1 damaged file\nPull or create again: demo:latest\n")
    assert not path.exists()


def test_a_collection_tells_what_it_would_free_and_then_frees_it(library: Library, paddock_command: Command) -> None:
    (library.root / "views" / ("0" * 64)).mkdir()
    (library.root / "stamps" / ("sha256-" + "0" * 64)).write_bytes(b"{}")
    told = paddock_command("store", "gc", "--dry-run")
    assert (told.exit_code, told.out.splitlines()[-1]) == (0, "would free 0 B")
    assert "folders for runners of models that are gone" in told.out
    assert (library.root / "views" / ("0" * 64)).exists()
    told = paddock_command("store", "gc")
    assert (told.exit_code, told.out.splitlines()[-1]) == (0, "freed 0 B")
    assert not (library.root / "views" / ("0" * 64)).exists()


def test_a_damaged_manifest_is_put_aside_and_named(library: Library, paddock_command: Command) -> None:
    (library.root / "manifests" / named("demo").relative_path).write_bytes(b"")
    assert "its manifest is damaged" in paddock_command("store", "check").out
    assert "Damaged manifests are put aside: demo:latest" in paddock_command("store", "gc").out
    assert "is put aside" in paddock_command("store", "check").out


@pytest.mark.parametrize("command", ["check", "verify", "gc"])
def test_where_there_is_no_store_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paddock_command: Command, command: str
) -> None:
    monkeypatch.setenv("PADDOCK_MODELS", str(tmp_path / "none"))
    told = paddock_command("store", command)
    assert told.exit_code == 1
    assert told.err.startswith(f"Error: there is no store of models in {tmp_path / 'none'}")
    assert not (tmp_path / "none").exists()
