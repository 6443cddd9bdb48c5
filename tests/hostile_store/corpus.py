"""Names, digests and file names that try to leave the store, each as data."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

_Entry = TypeVar("_Entry")
SHARES = 1 if os.environ.get("HOSTILE_ALL") else 5


def share(entries: Sequence[_Entry], number: int = 0) -> Sequence[_Entry]:
    """Every fifth entry, another fifth for each number, so that five of them have all; all where `HOSTILE_ALL` is set,
    as `make hostile` does."""
    return entries[number % SHARES :: SHARES]


PARTS_UP = (
    "../../../../etc/passwd", "../../x", "..", ".", "../..", "a/../../b", "a/..", "../a", "./a", "a/.", "..a/..b",
    "..%2f..%2fetc%2fpasswd", "%2e%2e%2fx", "%2e%2e/%2e%2e/x", "..%252f..%252fx", "..%c0%afx", "..%5c..%5cx",
    "..\\..\\x", "a\\..\\b", "\\\\host\\share\\x", "..;/..;/x", "....//....//x", ".../...//x", "..\u2215..\u2215x",
    "..\uff0f..\uff0fetc\uff0fpasswd", "\uff0e\uff0e/\uff0e\uff0e/x", "\u2025/x", "\u202e/x", "a\u0000/../b",
    "../x\u0000.json", "x\n../y", "x\r\ny", "..\t/x", " ../x", "../x ", "~", "~root/x", "~/.ssh/id_rsa",
)  # fmt: skip
ABSOLUTE = (
    "/etc/passwd", "//etc/passwd", "/", "//", "///", "C:\\Windows\\win.ini", "c:/x", "file:///etc/passwd",
    "file:/etc/passwd", "h:/n/m", "h:80:80/n/m", "h:x/n/m",
    "gopher://127.0.0.1/a/b", "ftp://h/n/m", "http://R/..;/",
    "https://h/../../x", "unix:///x/y",
    "\\\\?\\C:\\x", "/dev/random", "/dev/zero", "/proc/self/environ", "/dev/fd/0", "|id", "$(id)", "`id`", "${HOME}/x",
)  # fmt: skip
MISSHAPEN = (
    "", " ", "a//b", "/a", "a/", "a:", ":a", "a::b", "a:b:c/", "host/ns/../m", "host/../ns/m", "../host/ns/m",
    "hf.co@evil/x", "hf.co/org/..", "hf.co/../repo", "hf.co/org/repo:..", "hf.co/org/repo:../../x", "hf.co//repo",
    "user:pw@h/n/m", "h/n/m@sha256:" + "0" * 64, "[::1]:80/n/m", "a b", "-a", ".a", "a" * 300, "a/" + "b" * 300,
    "n/m:" + "t" * 300, "h" * 400 + "/n/m", "con", "nul.txt", "com1", "a/lpt9", "aux:latest", "m:prn", "a.", "m:t.",
    "\ud800", "\ufeffa", "é", "ＣＯＮ", "a\u0301", "m:t\u0000", "\u0000", "\x1b[2J", "a?b=c", "a#b", "a&b", "a*", "a;b",
)  # fmt: skip
NAMES = PARTS_UP + ABSOLUTE + MISSHAPEN
"""None of them is the name of a model, and none may become a path."""

HEX = "0" * 64
DIGESTS = (
    "sha256:../../../../tmp/pwn", "sha256:a/../../b", "sha256-..", "sha256:" + "0" * 62 + "..", "sha256:" + HEX[:-1],
    "sha256:" + HEX + "0", "sha256:\u0000" + HEX[1:], "sha256:%2e%2e%2f" + HEX[9:], "sha512:" + HEX, "sha1:" + HEX[:40],
    "", "x", "abc", "sha256", "sha256:", "sha256-", ":" + HEX, HEX, "/etc/passwd", "../" + HEX, "..\\" + HEX,
    "sha256:..\\..\\x", "sha256:\uff0f" + HEX[1:], "sha256:" + "\uff10" * 64, "sha256:" + "g" * 64, "sha256::" + HEX,
    "sha256/" + HEX, " sha256:" + HEX, "sha256:" + HEX + " ", "sha256:" + HEX + "\n", "SHA256:" + HEX,
    "md5:" + HEX[:32],
    "sha256:" + HEX + "/../../x", "sha256:" + "-1" * 32, "sha256:" + "0x" + HEX[2:],
)  # fmt: skip
"""What stands where a digest should: the forms of CVE-2024-37032, CVE-2026-7020 and CVE-2025-1975, and more."""

NO_DIGESTS = (None, 7, 1.5, True, [], ["sha256:" + HEX], {}, {"sha256": HEX})
"""The same of other types."""

FILES = (
    "../../evil.json", "../config.json", "/abs.json", "/etc/passwd", "a\\..\\b.json", "..\\evil.json", "CON",
    "con.json", "nul", "com1.json", "x" * 300 + ".json", "a/../../b.json", "a/./b.json", "a//b.json", "", ".", "..",
    "./config.json", "a\u0000.json", "a\n.json", "\x1b[2J.json", "..%2fevil.json", "%2e%2e/evil.json",
    "\uff0e\uff0e/evil.json", "a/b/../../../evil.json", "~/.ssh/id_rsa", "C:\\x.json", "\\\\host\\x.json",
    "....//evil.json", "a/\u202egnp.json",
    "model.safetensors/../../x", "\u2028.json",
)  # fmt: skip
"""What a repository or a client may call a file, so that it would lie elsewhere."""


def random_names(count: int, seed: int = 20_241_122) -> Iterator[str]:
    """Names that nobody thought of: pieces of paths, of the grammar and of Unicode, put together by chance."""
    chance = random.Random(seed)
    pieces = (*"/\\:@~ .-_a\u0000\uff0f\u2215é", "..", "%2e", "%2f", "model", "library", "registry.ollama.ai", "hf.co",
              "etc", "passwd", "latest", "sha256", HEX, "http://")  # fmt: skip
    for _ in range(count):
        yield "".join(chance.choice(pieces) for _ in range(chance.randint(1, 9)))
