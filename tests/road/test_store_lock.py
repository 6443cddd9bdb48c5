"""A store has one server: the second is told who the first is, and one that was killed is in nobody's way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.road.conftest import road_from, start_road


def test_a_second_server_of_the_same_store_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "manifests").mkdir(parents=True)  # no new store, so no demo comes
    first = start_road(tmp_path / "first", PADDOCK_MODELS=str(models))
    try:
        environment = {
            **os.environ,
            "PADDOCK_HOME": str(tmp_path / "second"),
            "PADDOCK_MODELS": str(models),
            "PADDOCK_HOST": "127.0.0.1:0",
        }
        command = [sys.executable, "-m", "paddock", "serve"]
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        who = f"process {first.process.pid} at {first.url}"
        assert second.stderr.splitlines()[-1] == (
            f"Error: The models in {models} are served by {who} already: stop that server, or set PADDOCK_MODELS to "
            "another folder."
        )
        checked = subprocess.run(
            [sys.executable, "-m", "paddock", "store", "check"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert checked.stdout == "0 models of 0 files, 0 B: nothing is wrong\n"
    finally:
        first.process.kill()
        first.process.wait()
        first.client.close()
    with road_from(tmp_path / "third", PADDOCK_MODELS=str(models)) as third:
        assert third.client.list().models == []
