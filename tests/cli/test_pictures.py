"""paddock run with a model that makes pictures."""

import base64
import re
import signal
import subprocess
from contextlib import redirect_stderr, redirect_stdout

import pytest

from paddock.cli import picture_run
from paddock.cli.client import connect
from paddock.cli.inline import iterm
from paddock.cli.picture_files import Destination
from paddock.pictures import read_details


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder, which the user is in."""
    path = tmp_path / "here"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def seeds_of(*paths):
    return [read_details(path.read_bytes())["seed"] for path in paths]


def test_a_picture_is_saved_under_its_prompt_and_the_file_is_named(painter, paddock_command, folder):
    outcome = paddock_command("run", "painter", "A", "red fox")
    (path,) = folder.iterdir()
    assert re.fullmatch(r"a-red-fox-\d{8}-\d{6}\.png", path.name)
    assert (outcome.exit_code, outcome.out, outcome.err) == (0, f"Image saved to: {path.name}\n", "")
    assert painter.bodies("/api/generate") == [{"model": "painter", "prompt": "A red fox"}]


def test_the_flags_are_passed_on(painter, paddock_command, folder, make_png):
    (folder / "cat.png").write_bytes(make_png())
    flags = "--width 64 --height 32 --steps 3 --seed 0 --negative blur --guidance 2.5 --strength 0.5 --image cat.png"
    assert paddock_command("run", "painter", "a fox", *flags.split(), "--keepalive", "1h").exit_code == 0
    assert painter.bodies("/api/generate") == [
        {
            "model": "painter",
            "prompt": "a fox",
            "width": 64,
            "height": 32,
            "steps": 3,
            "negative_prompt": "blur",
            "images": [base64.b64encode(make_png()).decode()],
            "options": {"seed": 0, "guidance": 2.5, "strength": 0.5},
            "keep_alive": "1h",
        }
    ]


def test_zero_leaves_size_and_steps_to_the_model(painter, paddock_command):
    paddock_command("run", "painter", "a fox", "--width", "0", "--height", "0", "--steps", "0")
    assert painter.bodies("/api/generate") == [{"model": "painter", "prompt": "a fox"}]


def test_images_of_flags_come_before_those_that_the_prompt_names(painter, paddock_command, folder, make_png):
    for name, colour in (("a.png", (1, 1, 1)), ("b.png", (2, 2, 2)), ("c.png", (3, 3, 3))):
        (folder / name).write_bytes(make_png(colour))
    outcome = paddock_command("run", "painter", "mix ./c.png in", "--image", "a.png", "--image", "b.png")
    assert outcome.err == "Added image 'c.png'\n"
    (body,) = painter.bodies("/api/generate")
    assert body["prompt"] == "mix in"
    assert [base64.b64decode(image) for image in body["images"]] == [
        (folder / name).read_bytes() for name in ("a.png", "b.png", "c.png")
    ]


def test_several_pictures_are_numbered_and_their_seeds_count_up(painter, paddock_command, folder):
    outcome = paddock_command("run", "painter", "a fox", "--n", "3", "--seed", "7", "-o", "fox.png")
    paths = [folder / f"fox-{number}.png" for number in (1, 2, 3)]
    assert outcome.out == "".join(f"Image saved to: {path.name}\n" for path in paths)
    assert seeds_of(*paths) == [7, 8, 9]


def test_several_pictures_without_a_seed_have_one_drawn_for_all(painter, paddock_command, folder):
    paddock_command("run", "painter", "a fox", "--n", "2", "-o", "fox.png")
    first, second = seeds_of(folder / "fox-1.png", folder / "fox-2.png")
    assert first >= 0
    assert second == first + 1


def test_a_named_file_is_never_replaced(painter, paddock_command, folder):
    (folder / "fox.png").write_text("mine")
    outcome = paddock_command("run", "painter", "a fox", "-o", "fox.png")
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert outcome.err == "Error: fox.png exists already: remove it, or give another name with -o.\n"
    assert painter.bodies("/api/generate") == []
    assert (folder / "fox.png").read_text() == "mine"


def test_a_folder_takes_pictures_under_their_prompt(painter, paddock_command, folder):
    (folder / "foxes").mkdir()
    paddock_command("run", "painter", "a fox", "--output", "foxes")
    assert [path.name[:6] for path in (folder / "foxes").iterdir()] == ["a-fox-"]


def test_a_dash_writes_the_bytes_and_nothing_else(painter, start_process, make_png, folder):
    process = start_process(
        *("run", "painter", "a fox", "--seed", "7", "-o", "-"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.communicate(timeout=30) == (make_png(seed=7), b"")
    assert list(folder.iterdir()) == []


def test_a_dash_takes_only_one_picture(painter, paddock_command):
    outcome = paddock_command("run", "painter", "a fox", "-o", "-", "--n", "2")
    assert (outcome.exit_code, outcome.out) == (1, "")
    assert outcome.err == "Error: -o - takes one picture: leave out --n, or save to files.\n"


def test_what_is_piped_in_is_the_prompt(painter, paddock_command):
    assert paddock_command("run", "painter", stdin="a fox").exit_code == 0
    assert painter.bodies("/api/generate") == [{"model": "painter", "prompt": "a fox"}]


def test_without_any_prompt_the_model_is_only_loaded(painter, paddock_command, folder):
    outcome = paddock_command("run", "painter", "--keepalive", "1h")
    assert (outcome.exit_code, outcome.out, list(folder.iterdir())) == (0, "", [])
    assert painter.bodies("/api/generate") == [{"model": "painter", "prompt": "", "stream": False, "keep_alive": "1h"}]


@pytest.mark.parametrize("words", [["--width", "64"], ["--image", "cat.png"], ["./cat.png"]])
def test_flags_and_images_without_a_prompt_are_refused(painter, paddock_command, folder, make_png, words):
    (folder / "cat.png").write_bytes(make_png())
    outcome = paddock_command("run", "painter", *words)
    assert outcome.exit_code == 1
    assert outcome.err.endswith("Error: a picture needs a prompt: say what it is to show.\n")
    assert painter.bodies("/api/generate") == []


# ---- a picture made again ----


@pytest.fixture
def former(folder, make_png):
    """A picture that tells how it was made."""
    details = {
        "prompt": "a fox",
        "negative_prompt": "blur",
        "width": 64,
        "height": 32,
        "steps": 4,
        "guidance": 2.0,
        "seed": 7,
        "model": "painter",
        "model_digest": "0123456789abcdef",
    }
    path = folder / "former.png"
    path.write_bytes(make_png(**details))
    return path


AGAIN = {
    "model": "painter",
    "prompt": "a fox",
    "width": 64,
    "height": 32,
    "steps": 4,
    "negative_prompt": "blur",
    "options": {"seed": 7, "guidance": 2.0},
}


def test_a_picture_is_made_again_from_its_file(painter, paddock_command, former):
    painter.tags = [{"name": "painter:latest", "digest": "0123456789abcdef"}]
    outcome = paddock_command("run", "painter", "--from", "former.png", "-o", "again.png")
    assert (outcome.exit_code, outcome.out, outcome.err) == (0, "Image saved to: again.png\n", "")
    assert painter.bodies("/api/generate") == [AGAIN]


def test_other_flags_and_a_prompt_override_what_the_file_tells(painter, paddock_command, former):
    paddock_command("run", "painter", "a wolf", "--from", "former.png", "--seed", "9", "--steps", "8")
    assert painter.bodies("/api/generate") == [
        {**AGAIN, "prompt": "a wolf", "steps": 8, "options": {"seed": 9, "guidance": 2.0}}
    ]


def test_another_model_than_the_files_is_warned_of_in_one_line(painter, paddock_command, former):
    painter.tags = [{"name": "other", "digest": "0"}, {"name": "painter:latest", "digest": "fedcba9876543210"}]
    outcome = paddock_command("run", "painter", "--from", "former.png", "-o", "again.png")
    assert outcome.exit_code == 0
    assert outcome.err == (
        "Warning: former.png was made by painter (0123456789ab), not by painter as it is now (fedcba987654): "
        "the picture will differ.\n"
    )


def test_a_file_that_tells_nothing_cannot_be_made_again(painter, paddock_command, folder, make_png):
    (folder / "plain.png").write_bytes(make_png())
    outcome = paddock_command("run", "painter", "--from", "plain.png")
    assert outcome.exit_code == 1
    assert outcome.err == (
        "Error: plain.png does not tell how it was made: --from needs a picture that Paddock made.\n"
    )
    assert "no picture file" in paddock_command("run", "painter", "--from", "none.png").err


# ---- what goes wrong ----


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        (
            "painter",
            ["--format", "json", "--think", "--hidethinking", "--nowordwrap"],
            "painter makes pictures: leave out --format, --think, --hidethinking, --nowordwrap, which only models that "
            "write text know.",
        ),
        (
            "demo",
            ["--width", "64", "--image", "x.png", "--from", "y.png"],
            "demo writes text: leave out --width, --image, --from, which only models that make pictures know.",
        ),
    ],
)
def test_flags_of_the_other_kind_of_model_are_refused(painter, paddock_command, model, flags, message):
    outcome = paddock_command("run", model, "a fox", *flags)
    assert (outcome.exit_code, outcome.out, outcome.err) == (1, "", f"Error: {message}\n")
    assert painter.bodies("/api/generate") == []


@pytest.mark.parametrize("flags", [["--n", "0"], ["--seed", "-1"], ["--guidance", "nan"], ["--strength", "inf"]])
def test_numbers_that_make_no_sense_are_wrong_usage(painter, paddock_command, flags):
    outcome = paddock_command("run", "painter", "a fox", *flags)
    assert (outcome.exit_code, outcome.out, painter.asked) == (2, "", [])
    assert f"Invalid value for '{flags[0]}'" in outcome.err


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ([{"error": "the model ran out of memory."}], "the model ran out of memory."),
        ([], "the server ended the answer before the picture was complete."),
        ([{"done": True}], "the server sent no picture."),
        ([{"done": True, "image": "!"}], "the server sent no picture."),
    ],
)
def test_an_error_in_the_middle_is_one_sentence_and_exit_1(painter, paddock_command, updates, folder, last, message):
    painter.generated = [*updates["picture"]()[:-1], *last]
    outcome = paddock_command("run", "painter", "a fox")
    assert (outcome.exit_code, outcome.out, outcome.err) == (1, "", f"Error: {message}\n")
    assert list(folder.iterdir()) == []


def test_what_was_saved_before_an_error_stays(painter, paddock_command, updates, folder):
    painter.generated = lambda body: updates["picture"]() if body["options"]["seed"] == 7 else [{"error": "it died."}]
    outcome = paddock_command("run", "painter", "a fox", "--n", "3", "--seed", "7", "-o", "fox.png")
    assert (outcome.exit_code, outcome.out) == (1, "Image saved to: fox-1.png\n")
    assert [path.name for path in folder.iterdir()] == ["fox-1.png"]


def test_ctrl_c_hangs_up_and_exits_quietly_with_130(painter, start_process):
    painter.hangs = True
    process = start_process(
        "run", "painter", "a fox", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert painter.is_hanging.wait(30)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130
    assert painter.has_hung_up.wait(5)


# ---- at a terminal ----


def make_at(screen, *, prompt="a fox", is_verbose=False):
    order = picture_run.Order("painter", prompt)
    with redirect_stdout(screen), redirect_stderr(screen):
        picture_run.make(connect(), order, Destination(picture_run.Path()), is_verbose)
    return screen.getvalue()


def test_a_terminal_shows_the_picture_before_the_name_of_its_file(painter, screen, monkeypatch, make_png):
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    assert f"{iterm(make_png(seed=-1))}\nImage saved to: a-fox-" in make_at(screen)


def test_a_terminal_with_colours_shows_half_blocks(painter, screen, monkeypatch):
    monkeypatch.setenv("COLORTERM", "truecolor")
    line = "\x1b[38;2;200;30;30;48;2;200;30;30m▀▀▀▀▀▀▀▀\x1b[0m\n"
    assert f"{line}{line}Image saved to: a-fox-" in make_at(screen)


def test_a_terminal_that_cannot_write_half_blocks_shows_none(painter, screen, monkeypatch):
    monkeypatch.setenv("COLORTERM", "truecolor")
    screen.encoding = "ascii"
    assert "▀" not in make_at(screen)


def test_verbose_tells_what_the_file_tells_and_how_long_it_took(painter, screen, updates, make_png):
    data = make_png(width=64, height=32, seed=7, steps=4, guidance=0.0)
    painter.generated = updates["picture"](data, total_duration=2_000_000_000, load_duration=500_000_000)
    assert make_at(screen, is_verbose=True).endswith(
        "width:                64\n"
        "height:               32\n"
        "seed:                 7\n"
        "steps:                4\n"
        "guidance:             0.0\n"
        "total duration:       2s\n"
        "load duration:        500ms\n"
    )


def test_a_pipe_gets_no_picture(painter, paddock_command, monkeypatch):
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    assert paddock_command("run", "painter", "a fox").out.startswith("Image saved to: ")
