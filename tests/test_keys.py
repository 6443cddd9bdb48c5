"""The file of API keys: what it holds and what it does not, and that it survives whatever happens to it."""

from __future__ import annotations

import ast
import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import paddock.keys
from paddock.errors import BadRequest, InvalidName, NotFound, StoreError
from paddock.keys import FILE_NAME, KeyFile, Terms, hash_of, new_key


def test_a_secret_is_256_random_bits_and_is_not_kept(tmp_path: Path) -> None:
    key, secret = new_key("laptop", Terms())
    KeyFile(tmp_path).add(key)

    kept = (tmp_path / FILE_NAME).read_text()
    assert secret.startswith("pk-")
    assert len(secret) == 3 + 43
    assert secret[7:] not in kept
    assert json.loads(kept)["keys"][0]["hash"] == hash_of(secret).hex()
    assert new_key("laptop", Terms())[1] != secret


def test_only_its_own_secret_opens_a_key() -> None:
    key, secret = new_key("laptop", Terms())

    assert key.is_opened_by(hash_of(secret))
    for other in ("", "pk-", secret[:-1], secret + "x", secret.upper(), "\ud800", key.hash, key.hint):
        assert not key.is_opened_by(hash_of(other))


def test_hashes_are_compared_in_constant_time() -> None:
    """No operator touches what is derived from a secret: only `hmac.compare_digest` does."""
    tree = ast.parse(Path(paddock.keys.__file__).read_text(encoding="utf-8"))
    compared = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Compare)]

    assert [text for text in compared if "hash" in text or "secret" in text] == []


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        KeyFile(tmp_path / "home").add(new_key("laptop", Terms())[0])
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "home" / FILE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_what_is_added_is_read_and_what_is_removed_is_not(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    terms = Terms(scope="manage", models=("demo",), rate=60, concurrent=4, expires=expires)
    first, second = new_key("one", terms)[0], new_key("two", Terms())[0]
    marks = [file.mark()]
    for key in (first, second):
        file.add(key)
        marks.append(file.mark())

    assert file.read() == (first, second)
    assert first.models == ("demo:latest",)
    file.remove("one")
    assert file.read() == (second,)
    assert len({*marks, file.mark()}) == 4


def test_names_are_unique_and_plain(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.add(new_key("one", Terms())[0])

    with pytest.raises(BadRequest, match="already"):
        file.add(new_key("one", Terms())[0])
    with pytest.raises(NotFound, match='"two"'):
        file.remove("two")
    for name in ("", "a b", "-x", "x\n", "x" * 65, "\x1b[31m"):
        with pytest.raises(BadRequest, match="cannot name a key"):
            new_key(name, Terms())
    with pytest.raises(InvalidName, match="not a model name"):
        new_key("x", Terms(models=("../demo",)))


def test_a_key_of_a_revoked_ones_name_is_somebody_else(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    ids = []
    for _ in range(2):
        key = new_key("same", Terms())[0]
        file.add(key)
        file.remove("same")
        ids.append(key.id)

    assert ids[0] != ids[1]


def test_a_key_ends_at_its_time() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    key = new_key("x", Terms(expires=now))[0]

    assert not key.is_over(now - timedelta(seconds=1))
    assert key.is_over(now)
    assert not new_key("x", Terms())[0].is_over(now)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"keys": [{}]}', b'{"keys": 1}', b"\xff\xfe", b'{"keys": [], "x": 1}']
)
def test_a_damaged_file_lets_nobody_in(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    with pytest.raises(StoreError, match="damaged"):
        KeyFile(tmp_path).read()


def test_what_the_system_refuses_is_told_without_paths(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    (tmp_path / "file").touch()

    for broken in (lambda: KeyFile(tmp_path).read(), lambda: KeyFile(tmp_path / "file").add(new_key("x", Terms())[0])):
        with pytest.raises(StoreError) as told:
            broken()
        assert str(tmp_path) not in told.value.message


def test_makers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    makers = [
        threading.Thread(target=lambda number=number: KeyFile(tmp_path).add(new_key(f"k{number}", Terms())[0]))
        for number in range(8)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()

    assert sorted(key.name for key in KeyFile(tmp_path).read()) == [f"k{number}" for number in range(8)]
