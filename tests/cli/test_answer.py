"""Answers at a terminal, which a test replaces by a text buffer that says it is one."""

import io
from contextlib import redirect_stdout

import pytest

from paddock.cli.answer import Answer, AnswerPrinter, print_answer


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("shutil.get_terminal_size", lambda: type("Size", (), {"columns": 10}))
    return Terminal()


def stream_of(*texts):
    yield from ({"response": text, "done": False} for text in texts)
    yield {"response": "", "done": True, "eval_count": 3}


def printed(terminal, *texts, wraps):
    with redirect_stdout(terminal):
        answer = Answer()
        print_answer(stream_of(*texts), AnswerPrinter(wraps=wraps, hides_thinking=False), answer)
    return answer


def test_a_terminal_gets_wrapped_lines_and_an_empty_one_after_them(terminal):
    answer = printed(terminal, "the quick", " brown", " fox", wraps=True)
    assert terminal.getvalue() == "the quick\nbrown fox\n\n"
    assert (answer.text, answer.last["eval_count"]) == ("the quick brown fox", 3)


def test_nowordwrap_leaves_lines_to_the_terminal(terminal):
    printed(terminal, "the quick brown fox", wraps=False)
    assert terminal.getvalue() == "the quick brown fox\n\n"


def test_an_answer_cannot_move_the_cursor(terminal):
    printed(terminal, "a\x1b[2Jb", wraps=False)
    assert terminal.getvalue() == "a[2Jb\n\n"


def test_thinking_that_never_ends_gives_the_terminal_its_colour_back(terminal):
    with redirect_stdout(terminal):
        printer = AnswerPrinter(wraps=True, hides_thinking=False)
        printer.thinking("hm")
        printer.finish()
    assert terminal.getvalue() == "\x1b[90mThinking...\nhm\n...done thinking.\x1b[0m\n\n\n\n"


def test_hidden_thinking_shows_nothing_and_the_answer_begins_on_the_first_line(terminal):
    updates = (
        {"message": {"thinking": "Hm"}},
        {"message": {"content": "Yes"}},
        {"message": {"content": ""}, "done": True},
    )
    with redirect_stdout(terminal):
        answer = Answer()
        print_answer((update for update in updates), AnswerPrinter(wraps=False, hides_thinking=True), answer)
    assert terminal.getvalue() == "Yes\n\n"
    assert (answer.text, answer.last["done"]) == ("Yes", True)


def test_an_answer_that_is_nothing_but_hidden_thinking_is_complete(terminal):
    updates = ({"thinking": "Hm", "response": ""}, {"response": "", "done": True})
    with redirect_stdout(terminal):
        answer = Answer()
        print_answer((update for update in updates), AnswerPrinter(wraps=False, hides_thinking=True), answer)
    assert answer.last["done"]
