"""`paddock key`: secrets are shown once, the table is read at a glance."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from paddock.cli.keys import table_of
from paddock.keys import KeyFile, Terms, hash_of, new_key


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PADDOCK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_secret_alone_goes_to_stdout(home: Path, paddock_command: Callable[..., object]) -> None:
    made = paddock_command("key", "create", "laptop")

    assert re.fullmatch(r"pk-[A-Za-z0-9_-]{43}\n", made.out)
    assert "not shown again" in made.err
    (key,) = KeyFile(home).read()
    assert key.is_opened_by(hash_of(made.out.strip()))
    assert (key.name, key.scope, key.models, key.rate, key.concurrent, key.expires) == (
        "laptop", "infer", (), 0.0, 0, None,
    )  # fmt: skip


def test_all_terms_are_kept(home: Path, paddock_command: Callable[..., object]) -> None:
    terms = ("--scope", "manage", "--model", "demo", "--model", "x/y:z", "--rate", "2/s", "--concurrent", "3")
    paddock_command("key", "create", "ci", *terms, "--expires", "30d")

    (key,) = KeyFile(home).read()
    assert (key.scope, key.models, key.rate, key.concurrent) == ("manage", ("demo:latest", "x/y:z"), 120.0, 3)
    assert key.expires is not None
    assert timedelta(days=29, hours=23) < key.expires - datetime.now(UTC) <= timedelta(days=30)


@pytest.mark.parametrize(("text", "rate"), [("60", 60), ("60/min", 60), ("1/s", 60), ("90/h", 1.5)])
def test_a_rate_has_a_unit(home: Path, paddock_command: Callable[..., object], text: str, rate: float) -> None:
    paddock_command("key", "create", "x", "--rate", text)

    assert KeyFile(home).read()[0].rate == rate


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a b",), "cannot name a key"),
        (("x", "--rate", "fast"), '"fast" is no rate'),
        (("x", "--rate", "0/min"), "is no rate"),
        (("x", "--rate", "-1/min"), "is no rate"),
        (("x", "--expires", "soon"), '"soon" is no time'),
        (("x", "--expires", "-5m"), "is no time"),
        (("x", "--expires", "0"), "longer"),
        (("x", "--model", ""), "is not a model name"),
    ],
)
def test_what_makes_no_sense_is_told(
    home: Path, paddock_command: Callable[..., object], arguments: tuple[str, ...], sentence: str
) -> None:
    refused = paddock_command("key", "create", *arguments)

    assert refused.exit_code == 1
    assert sentence in refused.err
    assert not KeyFile(home).read()


def test_a_revoked_key_is_gone(home: Path, paddock_command: Callable[..., object]) -> None:
    paddock_command("key", "create", "x")

    assert paddock_command("key", "revoke", "x").out == 'revoked "x"\n'
    assert KeyFile(home).read() == ()
    again = paddock_command("key", "revoke", "x")
    assert (again.exit_code, "no key named" in again.err) == (1, True)


def test_a_list_of_none_says_how_to_make_one(home: Path, paddock_command: Callable[..., object]) -> None:
    listed = paddock_command("key", "list")

    assert listed.out == ""
    assert "paddock key create" in listed.err


def test_the_list_has_everything_but_secrets(home: Path, paddock_command: Callable[..., object]) -> None:
    secret = paddock_command("key", "create", "laptop", "--model", "demo", "--rate", "60/min").out.strip()

    listed = paddock_command("key", "list").out
    assert secret not in listed
    assert secret[:7] in listed
    assert all(word in listed for word in ("laptop", "infer", "demo:latest", "60/min", "never"))


def test_the_table_is_narrow_and_has_no_frame() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    keys = [
        new_key("laptop", Terms())[0],
        new_key("ci", Terms(scope="manage", rate=60, concurrent=4, expires=now + timedelta(days=30)))[0],
        new_key("guest", Terms(models=("demo", "llama3:8b"), rate=1000 / 60, expires=now))[0],
    ]
    console = Console(width=80, file=io.StringIO())
    with console.capture() as captured:
        console.print(table_of(keys, now))
    lines = captured.get().splitlines()

    assert lines[0].split() == ["NAME", "KEY", "SCOPE", "MODELS", "LIMITS", "EXPIRES"]
    assert set(lines[1].strip()) == {"─"}
    assert lines[2].split()[2:] == ["infer", "all", "none", "never"]
    assert lines[3].split()[2:] == ["manage", "all", "60/min,", "4", "at", "once", "4", "weeks", "from", "now"]
    assert lines[4].split()[2:] == ["infer", "demo:latest", "1000/h", "expired"]
    assert lines[5].split() == ["llama3:8b"]
    assert len(lines) == 6
