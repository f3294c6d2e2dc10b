"""Start the command line.

Its modules are imported inside `main`, so that an interruption during the imports prints one line, too.
"""

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 if all went well, 1 if sessions were skipped or files are bad, 2 if an option or a file of the
        user is wrong, 130 if the user interrupted the command.
    """
    try:
        from data_prep.cli import run

        return run(args)
    except KeyboardInterrupt:
        print("neuromtm-prep: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
