"""The file of API keys: what the command line writes into it, and the server reads from it.

A secret is shown once, when it is made, and kept only as the SHA-256 of its 256 random bits: such a hash needs no salt
and no slow function, since there is nothing to guess.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from paddock.errors import BadRequest, InvalidName, NotFound, StoreError
from paddock.store.durable import replace_file
from paddock.store.names import ModelName

SecretHash = bytes
FILE_NAME = "keys.json"
SECRET_PREFIX = "pk-"
PRIVATE_MODE = 0o600
_SECRET_BYTES = 32
_ID_BYTES = 8
_HINT_LETTERS = len(SECRET_PREFIX) + 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key: whom it is for, and what may be done with it."""

    name: str
    id: str
    """Random, and never that of another key: a later key of the same name is somebody else."""
    hash: str
    """Of its secret, in hex."""
    hint: str
    """How the secret begins, for people to tell keys apart."""
    created: datetime
    scope: Literal["infer", "manage"] = "infer"
    models: tuple[str, ...] = ()
    """The only models that are there for it; empty for all."""
    rate: float = 0.0
    """Most requests a minute; 0 for no limit."""
    concurrent: int = 0
    """Most requests at once; 0 for no limit."""
    expires: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether its time has passed."""
        return self.expires is not None and now >= self.expires

    def is_opened_by(self, hashed: SecretHash) -> bool:
        """Whether a secret with this hash is its own; takes as long for every answer."""
        return hmac.compare_digest(bytes.fromhex(self.hash), hashed)


class _Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds."""

    keys: tuple[Key, ...] = ()


def hash_of(secret: str) -> SecretHash:
    """What is kept of a secret; of any text at all."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True)
class Terms:
    """What a key is for, as in `Key`."""

    scope: Literal["infer", "manage"] = "infer"
    models: tuple[str, ...] = ()
    rate: float = 0.0
    concurrent: int = 0
    expires: datetime | None = None


def new_key(name: str, terms: Terms) -> tuple[Key, str]:
    """A key on these terms, and its secret, which nobody will be told again. BadRequest."""
    if not _NAME.fullmatch(name):
        raise BadRequest(f'"{name[:80]}" cannot name a key: use up to 64 letters, digits, ".", "_" and "-".')
    secret = SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    key = Key(
        name=name,
        id=secrets.token_hex(_ID_BYTES),
        hash=hash_of(secret).hex(),
        hint=secret[:_HINT_LETTERS],
        created=datetime.now(UTC).replace(microsecond=0),
        scope=terms.scope,
        models=tuple(map(_model_name, terms.models)),
        rate=terms.rate,
        concurrent=terms.concurrent,
        expires=terms.expires,
    )
    return key, secret


def _model_name(text: str) -> str:
    try:
        return ModelName.parse(text).display
    except InvalidName:
        raise InvalidName(f'"{text[:80]}" is not a model name: write it as model or model:tag.') from None


class KeyFile:
    """The keys of one home folder. Several processes may use it at once. All methods: StoreError."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._path = home / FILE_NAME

    def mark(self) -> tuple[int, ...]:
        """Changes whenever the file does; empty while there is none."""
        with _told_plainly():
            try:
                found = self._path.stat()
            except FileNotFoundError:
                return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> tuple[Key, ...]:
        """All keys, in the order in which they were made."""
        with _told_plainly():
            try:
                data = self._path.read_bytes()
            except FileNotFoundError:
                return ()
        try:
            return msgspec.json.decode(data, type=_Keys).keys
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise StoreError(
                f"The file of API keys is damaged: remove {FILE_NAME} from Paddock's home folder and make them anew."
            ) from None

    def add(self, key: Key) -> None:
        """Take in a key. BadRequest if there is one of its name."""
        with self._exclusive():
            keys = self.read()
            if any(other.name == key.name for other in keys):
                raise BadRequest(f'There is a key named "{key.name}" already: revoke it first, or choose another name.')
            self._write((*keys, key))

    def remove(self, name: str) -> None:
        """Forget a key, for running servers too. NotFound."""
        with self._exclusive():
            keys = self.read()
            left = tuple(key for key in keys if key.name != name)
            if len(left) == len(keys):
                raise NotFound(f'There is no key named "{name}": `paddock key list` shows those there are.')
            self._write(left)

    def _write(self, keys: tuple[Key, ...]) -> None:
        data = msgspec.json.format(msgspec.json.encode(_Keys(keys)), indent=2)
        with _told_plainly():
            replace_file(self._path, data + b"\n", mode=PRIVATE_MODE)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Nobody else writes meanwhile; a crash lets go."""
        with _told_plainly():
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._home / f".{FILE_NAME}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_MODE)
        try:
            with _told_plainly():
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else "input or output failed"
        raise StoreError(f"The file of API keys cannot be used: {reason}.") from error
