"""The table of clients in the documentation is that of the clients that are run."""

from __future__ import annotations

from tests.clients.environments import CLIENTS, HERE
from tests.clients.run import PAGE


def test_every_client_has_its_script_and_its_row() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert {client.script for client in CLIENTS if not (HERE / client.script).is_file()} == set()
    assert [client.name for client in CLIENTS if f"| {client.name} | " not in page] == []


def test_nothing_in_the_table_fails() -> None:
    assert "fails:" not in PAGE.read_text(encoding="utf-8")
