"""A fake registry with one small model, a library, and a client between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paddock.store.library import Library
from paddock.store.registry.settings import RegistrySettings
from tests.fakes.fake_registry import FakeRegistry
from tests.store.making import write_model
from tests.store.registry.pulling import Client, serve_model


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry.running() as running:
        yield running


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "models")


@pytest.fixture
def client(registry: FakeRegistry, library: Library) -> Client:
    return Client(library, registry, RegistrySettings(backoff_seconds=0.001, stall_seconds=5.0))


@pytest.fixture
def served(registry: FakeRegistry, tmp_path: Path) -> bytes:
    """The manifest of the model that the registry has."""
    return serve_model(registry, write_model(tmp_path / "served"), parameters={"temperature": 0.5}, system="Be brief.")
