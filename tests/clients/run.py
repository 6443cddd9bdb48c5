"""Runs the scripts of real clients against a real server, and tells what each of them can do.

`python -m tests.clients.run [--only NAME] [--write]`: the status is 1 if anything failed; `--write` writes the table
into docs/clients.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.clients.environments import CLIENTS, Client
from tests.clients.serving import serving

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
BEGIN, END = "<!-- clients: written by `make clients` -->\n", "<!-- end of clients -->"
SCRIPT_SECONDS = 300
# Some would otherwise ask their makers' servers for prices, versions or news.
_QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1", "LANGCHAIN_TRACING_V2": "false"}


@dataclass(frozen=True)
class Shown:
    """What came of one ability."""

    client: str
    version: str
    ability: str
    ok: bool
    detail: str


def shown_by(client: Client, url: str) -> Iterator[Shown]:
    """Everything that a client's script tells, and its failure if it ends badly or tells nothing."""
    variables = {**os.environ, **_QUIET, "PADDOCK_URL": url, "OLLAMA_HOST": url}
    script = subprocess.run(
        client.command,
        cwd=client.environment,
        env=variables,
        capture_output=True,
        text=True,
        timeout=SCRIPT_SECONDS,
        check=False,
    )
    lines = [line for line in script.stdout.splitlines() if line.startswith("{")]
    yield from (Shown(**json.loads(line)) for line in lines)
    if script.returncode or not lines:
        last_words = (script.stderr.strip().splitlines() or ["it told nothing"])[-1]
        yield Shown(client.name, "?", "its script runs to its end", False, last_words)


def table_of(shown: Sequence[Shown]) -> Table:
    """For the terminal: a row for each ability."""
    table = Table("Client", "Version", "Ability", "", "Detail")
    for row in shown:
        mark = "[green]✓[/]" if row.ok else "[red]✗[/]"
        table.add_row(row.client, row.version, row.ability, mark, row.detail[: None if not row.ok else 60])
    return table


def markdown_of(shown: Sequence[Shown]) -> str:
    """For the page: a row for each client."""
    lines = ["| Client | Version | What was exercised |", "|---|---|---|"]
    for name in dict.fromkeys(row.client for row in shown):
        rows = [row for row in shown if row.client == name]
        abilities = "; ".join(row.ability if row.ok else f"**fails: {row.ability}**" for row in rows)
        lines.append(f"| {name} | {rows[0].version} | {abilities} |")
    return "\n".join(lines) + "\n"


def write(shown: Sequence[Shown]) -> None:
    """Put the table where the page has its place for it."""
    text = PAGE.read_text(encoding="utf-8")
    place = f"{re.escape(BEGIN)}.*?{re.escape(END)}"
    written, places = re.subn(place, lambda _: f"{BEGIN}\n{markdown_of(shown)}\n{END}", text, flags=re.DOTALL)
    if places != 1:
        raise ValueError("the page has no place for the table of clients, or several")
    PAGE.write_text(written, encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="clients whose names contain this")
    parser.add_argument("--write", action="store_true", help="write the table into docs/clients.md")
    parser.add_argument("--url", default="", help="a server that runs already and has the models")
    chosen = parser.parse_args(arguments)
    clients = [client for client in CLIENTS if chosen.only in client.name]
    console = Console()
    for client in clients:
        console.print(f"{client.name}: {client.environment}", highlight=False)
        client.install()
    shown = _shown(clients, chosen.url)
    console.print(table_of(shown))
    failed = sum(not row.ok for row in shown)
    console.print(f"{len(shown)} abilities of {len(clients)} clients, {failed} failed")
    if chosen.write:
        write(shown)
    return 1 if failed or not shown else 0


def _shown(clients: Sequence[Client], url: str) -> list[Shown]:
    if url:
        return [row for client in clients for row in shown_by(client, url)]
    with serving() as road:
        return [row for client in clients for row in shown_by(client, road.url)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
