"""The session that makes pictures: scripted, and once at a real pseudo-terminal."""

import os
import pty
import signal
from pathlib import Path

import pytest

from paddock.cli.client import connect
from paddock.cli.picture_commands import PictureSettings
from paddock.cli.picture_files import Destination
from paddock.cli.picture_run import Order
from paddock.cli.picture_session import PictureSession, talk_pictures
from paddock.cli.picture_wish import Look, PictureFlags
from paddock.config import Config
from paddock.errors import BadRequest, NotFound
from tests.cli.conftest import scripted


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder, which the user is in."""
    path = tmp_path / "here"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def talk(*lines, settings=None):
    """Run a session over scripted lines; an exception class among them is raised instead."""
    PictureSession(connect(), settings or PictureSettings("painter"), Destination(Path()), scripted(lines)).run()


def asked(painter):
    """What pictures were asked for, after the model was loaded."""
    return painter.bodies("/api/generate")[1:]


def test_the_model_is_loaded_before_the_first_description(painter):
    talk(settings=PictureSettings("painter", keep_alive="1h"))
    assert painter.bodies("/api/generate") == [{"model": "painter", "prompt": "", "stream": False, "keep_alive": "1h"}]


def test_a_model_that_does_not_exist_ends_the_session(server):
    with pytest.raises(NotFound):
        talk()


def test_each_picture_is_saved_and_the_settings_are_passed_on(painter, folder, capsys):
    talk(
        "/set width 64", "/set height 32", "a fox", "/set seed 7", "/set n blur", "/set g 2", "a wolf", "/bye", "never"
    )
    assert asked(painter) == [
        {"model": "painter", "prompt": "a fox", "width": 64, "height": 32},
        {
            "model": "painter",
            "prompt": "a wolf",
            "width": 64,
            "height": 32,
            "negative_prompt": "blur",
            "options": {"seed": 7, "guidance": 2.0},
        },
    ]
    assert sorted(path.name[:7] for path in folder.iterdir()) == ["a-fox-2", "a-wolf-"]
    assert capsys.readouterr().out.count("Image saved to: ") == 2


def test_images_are_named_in_the_description(painter, folder, make_png, capsys):
    (folder / "cat.png").write_bytes(make_png())
    talk(f"{folder}/cat.png in watercolours")
    (body,) = asked(painter)
    assert (body["prompt"], len(body["images"])) == ("in watercolours", 1)
    assert capsys.readouterr().err == f"Added image '{folder}/cat.png'\n"


def test_a_description_may_have_several_lines(painter):
    talk('"""a fox', 'in the snow"""')
    assert asked(painter) == [{"model": "painter", "prompt": "a fox\nin the snow"}]


def test_an_error_is_told_and_the_session_goes_on(painter, capsys, updates):
    answers = iter([[{"error": "the model ran out of memory."}], updates["picture"]()])
    painter.generated = lambda body: next(answers)
    talk("a fox", "a wolf")
    captured = capsys.readouterr()
    assert captured.err == "Error: the model ran out of memory.\n"
    assert captured.out.startswith("Image saved to: a-wolf-")


def test_verbose_tells_more_of_each_picture(painter, capsys):
    talk("a fox", settings=PictureSettings("painter", look=Look(seed=3), is_verbose=True))
    assert capsys.readouterr().err == "seed:                 3\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (PictureFlags(images=("cat.png",)), "--image needs a prompt beside it"),
        (PictureFlags(output="cat.png"), "-o needs a prompt beside it"),
        (PictureFlags(output="-"), "-o needs a prompt beside it"),
    ],
)
def test_flags_for_one_picture_open_no_session(painter, flags, message):
    with pytest.raises(BadRequest, match=message):
        talk_pictures(connect(), Config(), Order("painter"), flags, is_verbose=False)
    assert painter.bodies("/api/generate") == []


def test_a_whole_session_at_a_terminal(painter, start_process, read_until, folder):
    painter.hangs = True
    ours, theirs = pty.openpty()
    # This terminal does not answer requests for the cursor's position.
    environment = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "COLORTERM": "truecolor", "COLUMNS": "100"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for name in ("TERM_PROGRAM", "TMUX", "KITTY_WINDOW_ID", "NO_COLOR"):
            patch.delenv(name, raising=False)
        flags = ("--width", "64", "--height", "64")
        process = start_process(
            "run", "painter", *flags, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
    os.close(theirs)
    try:
        read_until(ours, ">>> .*Describe a picture")
        os.write(ours, b"a fox\r")
        read_until(ours, "Generating.*2/2")
        process.send_signal(signal.SIGINT)
        assert painter.has_hung_up.wait(30)
        painter.hangs = False
        read_until(ours, r"Stopped\.[\s\S]*>>> .*Describe a picture")
        os.write(ours, b"/set seed 7\r")
        read_until(ours, r"Set seed to 7\.[\s\S]*>>> .*Describe a picture")
        os.write(ours, b"a wolf\r")
        read_until(ours, r"\x1b\[38;2;200;30;30;48;2;200;30;30m▀{8}\x1b\[0m\r\n[\s\S]*Image saved to: a-wolf-")
        os.write(ours, b"/bye\r")
        assert process.wait(30) == 0
    finally:
        os.close(ours)
    assert [path.name[:7] for path in folder.iterdir()] == ["a-wolf-"]
    size = {"model": "painter", "width": 64, "height": 64}
    assert asked(painter) == [{**size, "prompt": "a fox"}, {**size, "prompt": "a wolf", "options": {"seed": 7}}]
