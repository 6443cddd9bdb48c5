"""Writes docs/fields.md, which tells what becomes of each field of a request."""

from __future__ import annotations

from pathlib import Path

from paddock.api.openapi.fields import fields_page

PAGE = Path(__file__).parent.parent / "docs" / "fields.md"

if __name__ == "__main__":
    PAGE.write_text(fields_page(), encoding="utf-8")
