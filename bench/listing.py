"""How long `GET /api/tags` takes with a thousand models in the store, through a real server: cold, and warm.

python bench/listing.py [--models 1000] [--rounds 30]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from paddock.store.library import Library  # noqa: E402
from tests.road.conftest import road_from  # noqa: E402
from tests.store.making import make, named  # noqa: E402

LONG_AGO = (1_700_000_000, 1_700_000_000)


def fill(root: Path, folder: Path, count: int) -> None:
    """A store of so many models, each with a manifest of its own."""
    library = Library(root)
    make(library, folder, "model-0", system="Be brief.")
    source = root / "manifests" / named("model-0").relative_path
    for number in range(1, count):
        path = root / "manifests" / named(f"model-{number}").relative_path
        path.parent.mkdir(parents=True)
        path.write_bytes(source.read_bytes())
        os.utime(path, LONG_AGO)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        fill(Path(scratch, "models"), Path(scratch, "model"), given.models)
        with road_from(Path(scratch, "home"), PADDOCK_MODELS=str(Path(scratch, "models"))) as road:
            times_ms = [_listing_ms(road.url, given.models) for _ in range(given.rounds + 1)]
    warm = sorted(times_ms[1:])
    print(
        f"{given.models} models: first listing {times_ms[0]:.0f} ms, then p50 {statistics.median(warm):.1f} ms, "
        f"least {warm[0]:.1f} ms, most {warm[-1]:.1f} ms"
    )


def _listing_ms(url: str, count: int) -> float:
    begin = time.perf_counter()
    models = httpx.get(f"{url}/api/tags", timeout=60).json()["models"]
    taken_ms = (time.perf_counter() - begin) * 1000
    assert len(models) == count
    return taken_ms


if __name__ == "__main__":
    main()
