"""The commands of the session that makes pictures."""

import pytest

from paddock.cli.commands import Entry
from paddock.cli.picture_commands import HELP, PictureEffect, PictureSettings, interpret
from paddock.cli.picture_wish import Look

SETTINGS = PictureSettings("painter")


def replies(*lines):
    """What is said to each line, and the look in the end."""
    settings, said = SETTINGS, []
    for line in lines:
        step = interpret(settings, Entry(line))
        settings = step.settings
        said.append(step.reply)
    return said, settings.look


@pytest.mark.parametrize(
    ("line", "look", "reply"),
    [
        ("/set width 512", Look(width=512), "Set width to 512.\n"),
        ("/set w 512", Look(width=512), "Set width to 512.\n"),
        ("/set h 512", Look(height=512), "Set height to 512.\n"),
        ("/set s 9", Look(steps=9), "Set steps to 9.\n"),
        ("/set seed 0", Look(seed=0), "Set seed to 0.\n"),
        ("/set neg blur, text", Look(negative="blur, text"), "Set negative to blur, text.\n"),
        ('/set n "blur"', Look(negative="blur"), "Set negative to blur.\n"),
        ("/set guidance 3.5", Look(guidance=3.5), "Set guidance to 3.5.\n"),
        ("/set g 0", Look(guidance=0.0), "Set guidance to 0.0.\n"),
        ("/set strength 0.4", Look(strength=0.4), "Set strength to 0.4.\n"),
    ],
)
def test_set_takes_names_and_their_short_forms(line, look, reply):
    assert replies(line) == ([reply], look)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("/set width -1", "width must be a positive integer\n"),
        ("/set height 0", "height must be a positive integer\n"),
        ("/set steps two", "steps must be a positive integer\n"),
        ("/set steps ²", "steps must be a positive integer\n"),
        ("/set width 1" + "0" * 5000, "width must be a positive integer\n"),
        ("/set seed -1", "seed must be a whole number from 0 on\n"),
        ("/set guidance nan", "guidance must be a number from 0 on\n"),
        ("/set guidance much", "guidance must be a number from 0 on\n"),
        ("/set colour red", "unknown option: colour (try /help)\n"),
        (
            "/set",
            "Usage: /set <name> <value>, with width, height, steps, seed, negative, guidance, strength for a name\n",
        ),
        ("/frob", "Unknown command '/frob'. Type /? for help\n"),
    ],
)
def test_what_makes_no_sense_changes_nothing(line, reply):
    assert replies(line) == ([reply], Look())


def test_a_name_alone_leaves_it_to_the_model_again():
    said, look = replies("/set width 512", "/set seed 3", "/set n blur", "/set width", "/set seed", "/set negative")
    assert said[3:] == [
        "Set width to the model's own.\n",
        "Set seed to drawn for each picture.\n",
        "Set negative to none.\n",
    ]
    assert look == Look()


def test_show_lists_all_settings():
    assert replies("/set width 512", "/show")[0][1] == (
        "  width     512\n"
        "  height    the model's own\n"
        "  steps     the model's own\n"
        "  seed      drawn for each picture\n"
        "  negative  none\n"
        "  guidance  the model's own\n"
        "  strength  the model's own\n"
    )


@pytest.mark.parametrize("line", ["/?", "/help", "/help me"])
def test_help_tells_the_commands(line):
    assert replies(line) == ([HELP], Look())


@pytest.mark.parametrize("line", ["/bye", "/exit"])
def test_bye_leaves(line):
    assert interpret(SETTINGS, Entry(line)).effect is PictureEffect.EXIT


@pytest.mark.parametrize("text", ["a red fox", "/home/me/cat.png in oil", "/tmp/x.png"])
def test_anything_else_is_a_description(text):
    step = interpret(SETTINGS, Entry(text))
    assert (step.effect, step.prompt, step.reply) == (PictureEffect.MAKE, text, "")


def test_a_literal_text_is_never_a_command():
    assert interpret(SETTINGS, Entry("/bye", is_literal=True)).effect is PictureEffect.MAKE


def test_an_empty_line_does_nothing():
    assert interpret(SETTINGS, Entry("")).effect is PictureEffect.NONE
