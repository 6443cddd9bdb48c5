import gc
import tempfile
from pathlib import Path

import pytest

from paddock.api.pictures.files import LIFE_SECONDS, PictureFiles
from paddock.errors import NotFound


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files' own folder is made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def folders_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.*") if path.is_file())


async def test_a_file_can_be_read_under_its_name_alone(folder: Path) -> None:
    files = PictureFiles()
    first, second = await files.keep(b"one", "png"), await files.keep(b"two", "webp")

    assert (await files.read(first), await files.read(second)) == (b"one", b"two")
    assert second.endswith(".webp")
    assert len(first) > 30
    for name in ("", "other.png", f"../{first}", first.upper()):
        with pytest.raises(NotFound):
            await files.read(name)


async def test_nobody_else_on_the_machine_can_look_into_the_folder(folder: Path) -> None:
    files = PictureFiles()
    await files.keep(b"one", "png")

    [own] = folders_in(folder)
    assert own.stat().st_mode & 0o077 == 0


async def test_a_file_lives_an_hour(folder: Path) -> None:
    clock = Clock()
    files = PictureFiles(clock)
    name = await files.keep(b"one", "png")
    clock.now += LIFE_SECONDS - 1
    assert await files.read(name) == b"one"

    clock.now += 1
    with pytest.raises(NotFound):
        await files.read(name)

    assert files_in(folder) == []


async def test_old_files_go_without_anyone_asking(folder: Path) -> None:
    clock = Clock()
    files = PictureFiles(clock)
    await files.keep(b"one", "png")
    clock.now += LIFE_SECONDS

    files._expire()

    assert files_in(folder) == []


async def test_the_oldest_make_room(folder: Path) -> None:
    files = PictureFiles(most_files=2, most_bytes=10)
    names = [await files.keep(data, "png") for data in (b"1", b"2", b"3")]
    assert len(files_in(folder)) == 2
    with pytest.raises(NotFound):
        await files.read(names[0])

    newest = await files.keep(b"much larger", "png")

    assert files_in(folder) == [newest]
    assert await files.read(newest) == b"much larger"


async def test_the_folder_goes_with_its_owner(folder: Path) -> None:
    files = PictureFiles()
    await files.keep(b"one", "png")
    files._timer.cancel()

    del files
    gc.collect()

    assert folders_in(folder) == []
