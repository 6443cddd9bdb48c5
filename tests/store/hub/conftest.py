"""A fake Hub with one small model, a library, and pulls between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paddock.store.hub.settings import HubSettings
from paddock.store.library import Library
from tests.fakes.fake_hub import FakeHub
from tests.store.hub.pulling import REPOSITORY, Puller, model_bytes


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub.running() as running:
        yield running


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "models")


@pytest.fixture
def puller(hub: FakeHub, library: Library, tmp_path: Path) -> Puller:
    """Pulls what the fixture's Hub has in `REPOSITORY`."""
    hub.repository(REPOSITORY, model_bytes(tmp_path))
    return Puller(library, HubSettings(endpoint=hub.endpoint, backoff_seconds=0.001, stall_seconds=5.0))
