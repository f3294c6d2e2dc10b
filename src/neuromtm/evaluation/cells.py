"""Numbers in the tables of a test."""

import csv
import math


def cell_number(text: str) -> float:
    """The number of a cell of a table.

    Raises:
        csv.Error: if it is none, or not finite: `table_text` writes an empty cell then.
    """
    try:
        # Python takes 1_000 for a number, and digits of any script
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise csv.Error(f"{text[:40]!r} stands where a number belongs")
    return number


def cell_count(text: str) -> int:
    """The whole number from 0 of a cell of a table.

    Raises:
        csv.Error: if it is none.
    """
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        raise csv.Error(f"{text[:40]!r} stands where a whole number from 0 belongs")
    return int(text)


MOST_DIGITS = 18
"""of a count"""
