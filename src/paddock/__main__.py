"""The command `paddock`: the command line, or (hidden) a runner. Each is imported only when it is the one asked for."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command."""
    if sys.argv[1:2] == ["runner"]:
        from paddock.runner.main import main as run

        sys.exit(run(sys.argv[2:]))
    from paddock.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
