"""The tree of errors and its words on the wire."""

from __future__ import annotations

import inspect

from paddock import errors
from paddock.errors import PaddockError, RunnerDied, RunnerError, from_code


def all_errors() -> list[type[PaddockError]]:
    return [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, PaddockError)]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in all_errors()]

    assert len(codes) == len(set(codes))


def test_an_error_crosses_the_wire_as_itself() -> None:
    for error in all_errors():
        assert type(from_code(error.code, "What happened.")) is error


def test_an_unknown_code_is_the_runners_fault() -> None:
    error = from_code("invented", "What happened.")

    assert type(error) is RunnerError
    assert error.message == "What happened."


def test_the_docstring_draws_the_whole_tree() -> None:
    assert not [error.__name__ for error in all_errors() if error.__name__ not in str(errors.__doc__)]


def test_narrower_errors_are_caught_as_wider_ones() -> None:
    assert issubclass(RunnerDied, RunnerError)
