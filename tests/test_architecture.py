"""The rules of ARCHITECTURE.md that a machine can check: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "paddock"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# What each room may import of ours. A room is a folder, or a file beside the folders.
SHARED = {"errors", "protocol"}
MAY_IMPORT = {
    "errors": set(),
    "protocol": set(),
    "options": SHARED,
    "values": {"errors"},
    "config": SHARED | {"values"},
    "demo": set(),
    "keys": {"errors", "store"},
    "pictures": set(),
    "logs": set(),
    "vetting": {"errors"},
    "store": SHARED | {"config", "options", "demo", "vetting"},
    "memory": SHARED | {"config", "options", "store"},
    "supervisor": SHARED | {"config", "options", "store", "memory"},
    "scheduler": SHARED | {"config", "options", "store", "memory", "supervisor"},
    "api": SHARED | {"config", "keys", "options", "store", "memory", "supervisor", "scheduler"},
    "app": SHARED | {"config", "keys", "options", "store", "memory", "supervisor", "scheduler", "api", "logs"},
    "cli": SHARED | {"config", "keys", "pictures"},
    "runner": SHARED | {"vetting"},
    "__main__": {"cli", "runner"},
}
ENGINE_LIBRARIES = {"mlx", "mlx_lm", "transformers", "tokenizers", "llguidance"}
PURE = [
    "scheduler/events.py",
    "scheduler/history.py",
    "scheduler/actions.py",
    "scheduler/order.py",
    "scheduler/defaults.py",
    "scheduler/pictures.py",
    "scheduler/preview.py",
    "scheduler/recycle.py",
    "scheduler/state.py",
    "scheduler/transitions.py",
    "scheduler/turns.py",
    "scheduler/settle.py",
    "scheduler/core.py",
    "scheduler/limit.py",
    "scheduler/relief.py",
    "scheduler/retry.py",
    "memory/encoders.py",
    "memory/estimate.py",
    "memory/correction.py",
    "memory/fit.py",
    "memory/image.py",
    "memory/shape.py",
]
IMPURE_LIBRARIES = {"asyncio", "logging", "os", "random", "socket", "subprocess", "threading", "time", "psutil"}

# Loops that must survive whatever a request or a library throws at them; each says why beside its except.
MAY_CATCH_EVERYTHING = {
    "scheduler/service.py",
    "runner/loop.py",
    "runner/http.py",
    "runner/hygiene.py",
    "runner/engines/embedding/engine.py",
    "runner/engines/image/engine.py",
    "runner/engines/text/engine.py",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def our_rooms(path: Path) -> set[str]:
    parts = (name.split(".") for name in imported(path))
    rooms = {part[1] for part in parts if part[0] == "paddock" and len(part) > 1}
    return {room for room in rooms if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file()}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_floor_may(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        allowed: set[str] = set()
    else:
        allowed = MAY_IMPORT[room] | {room}
    if path == PACKAGE / "cli" / "serve.py":
        allowed = allowed | {"app"}
    if path == PACKAGE / "cli" / "store.py":
        allowed = allowed | {"store"}

    assert our_rooms(path) <= allowed


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_runner_imports_mlx_and_model_libraries(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}

    assert room_of(path) == "runner" or not roots & ENGINE_LIBRARIES


@pytest.mark.parametrize("name", PURE)
def test_deciders_know_no_clock_no_input_and_no_output(name: str) -> None:
    roots = {imported_name.split(".")[0] for imported_name in imported(PACKAGE / name)}

    assert not roots & IMPURE_LIBRARIES


def test_the_server_and_the_command_line_start_without_mlx() -> None:
    code = (
        "import sys, paddock.app, paddock.cli.main;"
        f"found = sorted({ENGINE_LIBRARIES!r} & set(sys.modules));"
        "sys.exit(f'imported: {found}' if found else 0)"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_fit_in_the_head(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name for node in functions if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES}

    assert lines <= MAX_FILE_LINES
    assert not long


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_state_has_an_owner_and_errors_have_names(path: Path) -> None:
    tree = tree_of(path)
    blanket = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
    ]

    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)]
    assert not blanket or str(path.relative_to(PACKAGE)) in MAY_CATCH_EVERYTHING


def test_every_module_says_what_it_is() -> None:
    silent = [str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(tree_of(path))]

    assert not silent
