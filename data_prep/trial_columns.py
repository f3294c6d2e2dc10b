"""Make a trial table of named columns: those of a known meaning become fields, all others are kept as they are."""

from collections.abc import Mapping

import numpy as np

from data_prep.recording import EVENTS, TrialTable
from neuromtm.errors import SourceError

FIELDS = {
    **EVENTS,
    "choice": "choice",
    "feedbackType": "feedback_type",
    "contrastLeft": "contrast_left",
    "contrastRight": "contrast_right",
    "probabilityLeft": "block",
    "reward": "feedback_type",
    **{name: name for name in (*EVENTS.values(), "feedback_type", "contrast_left", "contrast_right", "block")},
}
"""column of a source -> field of `TrialTable`; the first names are those of the International Brain Laboratory"""
SPECIAL = (*FIELDS, "contrast", "split")
"""every column that is not just kept"""


def trial_table(columns: Mapping[str, np.ndarray], *, table: str = "trials.csv") -> TrialTable:
    """Make a trial table.

    A column `split` gives the splits of the source. A signed `contrast` gives the contrasts of both sides.

    Args:
        columns: name -> (trial,) numbers or text.
        table: name of the file, for messages.

    Raises:
        SourceError: if columns of a known meaning have values that they cannot have.
    """
    fields, further = {}, {}
    for name, values in columns.items():
        field = FIELDS.get(name)
        if name == "split":
            fields["split"] = np.array([str(value).strip() for value in values])
        elif field is None:
            further[name] = values
        elif field in fields:
            raise SourceError(f"{table}: two columns give {field}, one of them is {name}. Rename or remove one.")
        elif values.dtype.kind != "f":
            raise SourceError(f"{table}: the column {name} is not of numbers, e.g. {str(values[0])!r}. Rename it.")
        else:
            fields[field] = values
    if "contrast" in further and not {"contrast_left", "contrast_right"} & {*fields}:
        signed = further.pop("contrast")
        if signed.dtype.kind != "f":
            raise SourceError(f"{table}: the column contrast is not of numbers. Rename it.")
        fields["contrast_left"] = np.where(signed < 0, -signed, np.nan)
        fields["contrast_right"] = np.where(signed >= 0, signed, np.nan)
    for field in ("choice", "feedback_type"):
        known = fields.get(field, np.zeros(1))
        if wrong := sorted({*known[np.isfinite(known)].tolist()} - {-1.0, 0.0, 1.0}):
            raise SourceError(
                f"{table}: {field} has the value {wrong[0]:g}. Write -1 and +1, and 0 where it is unknown, or rename "
                "the column to keep it as it is."
            )
    return TrialTable(**fields, columns=further)
