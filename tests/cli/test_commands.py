"""The commands of the interactive session, without a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.cli.commands import (
    HELP,
    PARAMETER_HELP,
    SET_HELP,
    SHORTCUTS_HELP,
    SHOW_HELP,
    Effect,
    Entry,
    Lines,
    Settings,
    interpret,
)

START = Settings(model="demo")


def said(line, settings=START):
    return interpret(settings, Entry(line))


def test_what_has_no_slash_is_a_message():
    step = said("Why is the sky blue?")
    assert (step.effect, step.argument, step.settings) == (Effect.ASK, "Why is the sky blue?", START)


def test_an_empty_line_does_nothing():
    assert said("") == said("   ")
    assert said("").effect is Effect.NONE


def test_a_quoted_message_is_never_a_command():
    step = interpret(START, Entry("/bye is how you leave", is_literal=True))
    assert (step.effect, step.argument) == (Effect.ASK, "/bye is how you leave")


@pytest.mark.parametrize("line", ["/bye", "/exit"])
def test_leaving(line):
    assert said(line).effect is Effect.EXIT


def test_an_unknown_command_is_named():
    assert said("/frobnicate now").reply == "Unknown command '/frobnicate'. Type /? for help\n"
    assert said("/set colour red").reply == "Unknown command '/set colour red'. Type /? for help\n"
    assert said("/show me").reply == "Unknown command '/show me'. Type /? for help\n"
    assert said("/").reply == "Unknown command '/'. Type /? for help\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("/?", HELP),
        ("/help", HELP),
        ("/? set", SET_HELP),
        ("/help /set", SET_HELP),
        ("/? show", SHOW_HELP),
        ("/? shortcuts", SHORTCUTS_HELP),
        ("/set", SET_HELP),
        ("/show", SHOW_HELP),
        ("/set parameter", PARAMETER_HELP),
        ("/set parameter seed", PARAMETER_HELP),
    ],
)
def test_help_is_there_where_it_is_asked_for(line, text):
    assert said(line).reply == text


@pytest.mark.parametrize(
    ("line", "field", "value", "reply"),
    [
        ("/set parameter num_ctx 4096", "parameters", {"num_ctx": 4096}, "Set parameter 'num_ctx' to '4096'\n"),
        ("/set parameter stop a b", "parameters", {"stop": ["a", "b"]}, "Set parameter 'stop' to 'a, b'\n"),
        ("/set system Be brief.", "system", "Be brief.", "Set system message.\n"),
        ('/set system """Be\nbrief."""', "system", "Be\nbrief.", "Set system message.\n"),
        ('/set system "Be brief."', "system", "Be brief.", "Set system message.\n"),
        ("/set nohistory", "keeps_history", False, "Set 'nohistory' mode.\n"),
        ("/set nowordwrap", "wraps", False, "Set 'nowordwrap' mode.\n"),
        ("/set verbose", "is_verbose", True, "Set 'verbose' mode.\n"),
        ("/set format json", "format", "json", "Set format to 'json' mode.\n"),
        ("/set think", "think", True, "Set 'think' mode.\n"),
        ("/set think high", "think", "high", "Set 'think' mode to 'high'.\n"),
        ("/set nothink", "think", False, "Set 'nothink' mode.\n"),
    ],
)
def test_set_changes_one_setting_and_says_so(line, field, value, reply):
    step = said(line)
    assert getattr(step.settings, field) == value
    assert step.reply == reply
    assert getattr(START, field) != value


@pytest.mark.parametrize(
    ("there", "back"),
    [
        ("/set nohistory", "/set history"),
        ("/set nowordwrap", "/set wordwrap"),
        ("/set verbose", "/set quiet"),
        ("/set format json", "/set noformat"),
    ],
)
def test_a_switch_can_be_switched_back(there, back):
    assert said(back, said(there).settings).settings == START


def test_parameters_add_up():
    settings = said("/set parameter seed 1", said("/set parameter temperature 0").settings).settings
    assert settings.parameters == {"temperature": 0.0, "seed": 1}


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("/set parameter seed many", 'seed must be a whole number, not "many".\n'),
        ("/set parameter seed 1 2", 'seed must be a whole number, not "1 2".\n'),
        ("/set parameter warmth 1", 'unknown parameter "warmth".\n'),
        ("/set format yaml", "The only format is 'json': /set format json\n"),
        ("/set think hard", "The level must be one of high, medium, low, max: /set think high\n"),
        ("/set system", "Usage: /set system <text>\n"),
        ("/load", "Usage: /load <model>\n"),
        ("/save two names", "Usage: /save <model>\n"),
    ],
)
def test_what_makes_no_sense_changes_nothing(line, reply):
    step = said(line)
    assert (step.settings, step.reply, step.effect) == (START, reply, Effect.NONE)


@pytest.mark.parametrize(
    ("line", "effect", "argument"),
    [
        ("/show info", Effect.SHOW, "info"),
        ("/show modelfile", Effect.SHOW, "modelfile"),
        ("/load other:7b", Effect.LOAD, "other:7b"),
        ("/save mine", Effect.SAVE, "mine"),
        ("/list", Effect.LIST, ""),
    ],
)
def test_what_needs_the_server_is_an_effect(line, effect, argument):
    step = said(line)
    assert (step.effect, step.argument, step.reply) == (effect, argument, "")


def test_clear_forgets_the_conversation():
    settings = Settings(model="demo", messages=({"role": "user", "content": "hi"},))
    step = said("/clear", settings)
    assert (step.settings.messages, step.reply) == ((), "Cleared session context\n")


def entries(*texts):
    lines = Lines()
    return [entry for text in texts if (entry := lines.feed(text)) is not None], lines.is_open


def test_a_line_is_an_entry():
    assert entries("  hi  ", "/bye") == ([Entry("hi"), Entry("/bye")], False)


def test_triple_quotes_gather_lines():
    assert entries('"""one', "  two", '"""') == ([Entry("one\n  two\n", is_literal=True)], False)


def test_triple_quotes_on_one_line_are_an_entry():
    assert entries('"""/not a command"""') == ([Entry("/not a command", is_literal=True)], False)


def test_open_quotes_wait_for_more():
    assert entries('"""one', "two") == ([], True)
    assert entries('"""') == ([], True)


def test_a_system_message_may_have_several_lines():
    assert entries('/set system """one', 'two"""') == ([Entry('/set system """one\ntwo"""')], False)


def test_clearing_forgets_what_was_begun():
    lines = Lines()
    lines.feed('"""one')
    lines.clear()
    assert lines.feed("two") == Entry("two")


@given(st.text(max_size=60) | st.text(st.sampled_from('/"set paramesytm01 \n'), max_size=60))
def test_any_line_has_an_outcome(text):
    entry = Lines().feed(text)
    if entry is not None:
        step = interpret(START, entry)
        assert isinstance(step.settings, Settings)
        assert step.effect is not Effect.ASK or step.argument.strip()
