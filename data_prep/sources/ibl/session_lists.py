"""Lists of sessions that are part of the program.

`brain_wide_map.csv` is the freeze 2023_12 of the Brain-Wide Map: 699 insertions of 459 sessions. Its rows are those of
2023_12_bwm_release.csv, as int-brain-lab/paper-brain-wide-map and colehurwitz/IBL_foundation_model publish it.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Literal

from data_prep.sources.ibl.repeated_site import HELDOUT_EIDS, PRETRAIN_EIDS

ListName = Literal["repeated-site", "brain-wide-map"]

FREEZE = "2023_12"
"""the freeze of the Brain-Wide Map; it also says which probes of a session belong to it"""


def listed_sessions(name: ListName) -> Mapping[str, tuple[str, ...] | None]:
    """The sessions of a list: eid -> the probes that belong to it; None means all that have spikes.

    Args:
        name: of the list.
    """
    if name == "repeated-site":
        return dict.fromkeys((*PRETRAIN_EIDS, *HELDOUT_EIDS))
    text = files("data_prep.sources.ibl").joinpath("brain_wide_map.csv").read_text(encoding="utf-8")
    rows = (line.split(",") for line in text.splitlines()[1:])
    return {eid: tuple(probes.split()) for eid, probes in rows}
