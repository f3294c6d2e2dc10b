"""`neuromtm report`: a run as one HTML page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from neuromtm.files import keep_previous, require_file, write_whole


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Write a run's numbers and plots as one page.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory, tested or not")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="where to write the page (default: report.html in the run directory)"
    )
    parser.add_argument(
        "--baseline",
        metavar="DIR",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        help="folders that `neuromtm baseline` wrote, of the same sessions; each task shows the best of them",
    )
    parser.add_argument(
        "--ceiling", metavar="DIR", type=Path, help="folder that `neuromtm ceiling` wrote, of the same sessions"
    )
    options = parser.parse_args(arguments)
    require_file("--out", options.out, suffix=".html")
    from neuromtm.report.page import report_page  # matplotlib, which help does not need

    text = report_page(options.run, ceiling=options.ceiling, baselines=options.baseline)
    path = options.out or options.run / "report.html"
    keep_previous(path)
    write_whole(path, text)
    print(f"Report: {path}")
