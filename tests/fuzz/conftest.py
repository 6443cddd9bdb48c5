"""The server of the fuzzing, and how Hypothesis goes about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.subject import Subject, subject_in


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """One server for all tests of a file; it is well afterwards, and still the same process."""
    with subject_in(tmp_path_factory.mktemp("fuzz")) as subject:
        yield subject
        subject.is_well()
