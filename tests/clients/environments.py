"""The clients that Paddock is tried with, each as its authors publish it, in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HOME = Path(os.environ.get("CLIENTS", HERE.parents[1] / ".clients")).absolute()
INSTALL_SECONDS = 1800


@dataclass(frozen=True)
class Client:
    """A client, and the script that shows what it can do."""

    name: str
    script: str
    packages: tuple[str, ...]

    @property
    def is_node(self) -> bool:
        return self.script.endswith(".mjs")

    @property
    def environment(self) -> Path:
        """Its folder: a virtual environment, or a project of npm's."""
        return HOME / Path(self.script).stem.replace("_", "-")

    @property
    def command(self) -> list[str]:
        """What runs its script, in its folder."""
        if self.is_node:
            return ["node", self.script]
        return [str(self.environment / "bin" / "python"), str(HERE / self.script)]

    def install(self) -> None:
        """Make the environment, unless it is there with these packages."""
        stamp = self.environment / "installed"
        if not stamp.exists() or stamp.read_text() != " ".join(self.packages):
            shutil.rmtree(self.environment, ignore_errors=True)
            self.environment.mkdir(parents=True)
            self._install_with_npm() if self.is_node else self._install_with_pip()
            stamp.write_text(" ".join(self.packages))
        if self.is_node:
            # Node looks for packages beside the script, wherever it is run.
            for path in (HERE / self.script, HERE / "telling.mjs"):
                shutil.copy(path, self.environment)

    def _install_with_pip(self) -> None:
        _run([sys.executable, "-m", "venv", str(self.environment)])
        _run([self.command[0], "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.packages])
        if any(self.environment.glob("lib/*/site-packages/torch")):
            raise RuntimeError(f"{self.name} brings PyTorch along, which no client of a server needs")

    def _install_with_npm(self) -> None:
        (self.environment / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
        _run(["npm", "install", "--silent", "--no-audit", "--no-fund", *self.packages], self.environment)


CLIENTS = (
    Client("ollama (Python)", "ollama_python.py", ("ollama",)),
    Client("ollama (npm)", "ollama_node.mjs", ("ollama",)),
    Client("openai (Python)", "openai_python.py", ("openai",)),
    Client("openai (npm)", "openai_node.mjs", ("openai", "zod")),
    Client("anthropic (Python)", "anthropic_python.py", ("anthropic",)),
    Client("@anthropic-ai/sdk (npm)", "anthropic_node.mjs", ("@anthropic-ai/sdk",)),
    Client("langchain-ollama", "langchain_ollama_python.py", ("langchain-ollama",)),
    Client("langchain-openai", "langchain_openai_python.py", ("langchain-openai",)),
    Client("llama-index-llms-ollama", "llama_index_python.py", ("llama-index-llms-ollama",)),
    Client("litellm", "litellm_python.py", ("litellm", "mcp")),
    Client("instructor", "instructor_python.py", ("instructor", "anthropic")),
    Client("llm with llm-ollama", "llm_python.py", ("llm", "llm-ollama")),
)
"""In the order of the table."""


def _run(command: list[str], folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=INSTALL_SECONDS)
