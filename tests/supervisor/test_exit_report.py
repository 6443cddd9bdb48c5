import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import DamagedModel, LoadFailed, OutOfMemory, RunnerDied, UnsupportedModel
from paddock.supervisor.exit_report import Cause, ExitReport, classify, describe_exit, last_words, one_line

TRACEBACK = b"""loading
Traceback (most recent call last):
  File "/usr/lib/python3/mlx_lm/utils.py", line 90, in load
    raise ValueError(text)
ValueError: Model type telegram not supported.
/usr/lib/python3.11/resource_tracker.py:224: UserWarning: There appear to be 1 leaked semaphores
"""


def test_the_last_error_is_the_last_words_even_if_chatter_follows():
    assert last_words(TRACEBACK) == "ValueError: Model type telegram not supported."


def test_without_an_error_the_last_line_is():
    assert last_words(b"one\ntwo\n\n \n") == "two"
    assert last_words(b"") == ""


def test_colours_control_characters_and_folders_are_not_shown():
    shown = last_words(b"\x1b[31merror:\x1b[0m no\x00 file \x07 /home/me/.secret/model.safetensors\r\n")
    assert shown == "error: no file model.safetensors"


def test_a_line_of_50_mb_of_broken_utf8_is_cut():
    assert len(last_words(b"\xff\xfe" * 25_000_000)) == 300


@given(st.binary(max_size=2000))
def test_last_words_are_one_short_printable_line_whatever_was_written(tail):
    words = last_words(tail)
    assert len(words) <= 300
    assert all(character.isprintable() or not character.isascii() for character in words)


@given(st.text(max_size=600))
def test_shown_text_has_no_line_ends(text):
    assert len(one_line(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("return_code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-9, "killed by signal 9 (SIGKILL), most likely by the system because memory ran out"),
        (-11, "killed by signal 11 (SIGSEGV)"),
        (-63, "killed by signal 63 (unknown)"),
    ],
)
def test_exits_are_named(return_code, words):
    assert describe_exit(return_code) == words


@pytest.mark.parametrize(
    ("return_code", "tail", "kind"),
    [
        (-signal.SIGKILL, b"", OutOfMemory),
        (
            -signal.SIGABRT,
            b"libc++abi: [METAL] Command buffer execution failed: Insufficient Memory (00000008)",
            OutOfMemory,
        ),
        (1, b"RuntimeError: [malloc] Unable to allocate 4096 bytes.", OutOfMemory),
        (1, b"cudaMallocAsync failed: out of memory", OutOfMemory),
        (1, TRACEBACK, UnsupportedModel),
        (1, b"safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge", DamagedModel),
        (1, b"ValueError: Missing 12 parameters: \nlayers.0.weight", DamagedModel),
        (1, b"something else", LoadFailed),
        (-signal.SIGSEGV, b"", LoadFailed),
        (0, b"", LoadFailed),
    ],
)
def test_an_exit_while_loading_is_classified(return_code, tail, kind):
    error = classify(ExitReport("tiny", return_code, tail), is_loading=True)
    assert type(error) is kind
    assert "tiny" in error.message
    assert error.message.endswith(".")


def test_an_exit_while_serving_is_a_death_unless_memory_ran_out():
    assert type(classify(ExitReport("tiny", 1, TRACEBACK), is_loading=False)) is RunnerDied
    assert type(classify(ExitReport("tiny", 1, b"RuntimeError: out of memory"), is_loading=False)) is OutOfMemory
    assert type(classify(ExitReport("tiny", -9), is_loading=False)) is RunnerDied


def test_a_stop_that_was_asked_for_is_no_lack_of_memory():
    report = ExitReport("tiny", -9, is_requested=True)
    assert report.sentence == "The runner of 'tiny' ended: it was stopped."
    assert type(classify(report, is_loading=True)) is LoadFailed
    assert type(classify(report, is_loading=False)) is RunnerDied


def test_the_reason_has_the_status_and_the_last_words():
    assert ExitReport("tiny", 1, b"fatal: no weights.\n").reason == "exit code 1: fatal: no weights"


@pytest.mark.parametrize(
    ("report", "cause"),
    [
        (ExitReport("tiny", -9), Cause.KILLED_BY_SYSTEM),
        (ExitReport("tiny", -9, is_requested=True), Cause.STOPPED),
        (ExitReport("tiny", -9, verdict="hang, no progress for 9 seconds"), Cause.HANG),
        (ExitReport("tiny", -9, verdict="it has closed its socket"), Cause.UNFIT),
        (ExitReport("tiny", 134, b"what(): [metal::malloc] Unable to allocate 9 bytes"), Cause.OUT_OF_MEMORY),
        (ExitReport("tiny", 1, b"ValueError: Model type mystery not supported."), Cause.UNSUPPORTED),
        (ExitReport("tiny", 1, b"ValueError: Missing 3 parameters"), Cause.DAMAGED),
        (ExitReport("tiny", 1, b"jinja2.exceptions.TemplateSyntaxError: unexpected end"), Cause.TEMPLATE),
        (ExitReport("tiny", 1, b"error: this file is refused by policy"), Cause.REFUSED),
        (ExitReport("tiny", 1, b"IndexError: list index out of range"), Cause.CRASHED),
    ],
)
def test_every_end_has_a_cause(report, cause):
    assert report.cause is cause


def test_a_hang_is_told_to_whoever_waited():
    error = classify(ExitReport("tiny", -9, verdict="hang, no progress for 9 seconds"), is_loading=False)
    assert type(error) is RunnerDied
    expected = "The runner of 'tiny' ended while it was answering: hang, no progress for 9 seconds."
    assert error.message == expected
