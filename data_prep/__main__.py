"""Starts the command line. What it needs is imported inside, so that an interruption meanwhile is one line, too."""

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 all well, 1 sessions skipped or files bad, 2 the user's error, 130 interrupted.
    """
    try:
        from data_prep.cli import run

        return run(args)
    except KeyboardInterrupt:
        print("neuromtm-prep: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
