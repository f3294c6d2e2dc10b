"""The masking schemes there are, by their names."""

from collections.abc import Sequence
from importlib import import_module
from typing import get_args

from neuromtm.batch import RegionIndex, Scheme
from neuromtm.masking.masked import MaskingScheme

SCHEMES: dict[Scheme, MaskingScheme] = {
    name: import_module(f"neuromtm.masking.{name}").SCHEME for name in get_args(Scheme)
}
"""a scheme's name in `batch.Scheme` is that of its file"""
MTM: tuple[Scheme, ...] = ("neuron", "causal", "intra_region", "inter_region")
"""multi-task masking: MtM, NeurIPS 2024, section 3"""


def attends_causally(scheme: Scheme) -> bool:
    """Whether a bin sees only itself and earlier bins under this scheme."""
    return SCHEMES[scheme].causal


def applicable(schemes: Sequence[Scheme], regions: Sequence[RegionIndex]) -> list[Scheme]:
    """The schemes that all of the sessions allow. A session of one region, for example, has no `inter_region`.

    Args:
        schemes: by their names.
        regions: those of each session's neurons.
    """
    return [scheme for scheme in schemes if all(SCHEMES[scheme].allows(region) for region in regions)]
