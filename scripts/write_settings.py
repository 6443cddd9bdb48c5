"""Writes the tables of settings in docs/settings.md and README.md from the one in `paddock.config`."""

from __future__ import annotations

import re
from pathlib import Path

from paddock.config import settings_table

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- settings: written by `make settings` -->\n", "<!-- end of settings -->"
FILES = (ROOT / "docs" / "settings.md", ROOT / "README.md")


def with_table(text: str) -> str:
    """A page with the table as it should be; ValueError for one that has no place for it."""
    written, places = re.subn(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n{settings_table()}\n{END}", text, flags=re.DOTALL
    )
    if places != 1:
        raise ValueError("the page has no place for the table of settings, or several")
    return written


if __name__ == "__main__":
    for path in FILES:
        path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
