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


def uses_behavior(scheme: Scheme) -> bool:
    """Whether a scheme shows or scores traces of behaviour."""
    return SCHEMES[scheme].behavior != "hidden"


def applicable(
    schemes: Sequence[Scheme], regions: Sequence[RegionIndex], *, with_behavior: bool = True
) -> list[Scheme]:
    """The schemes that all of the sessions allow. A session of one region, for example, has no `inter_region`.

    Args:
        schemes: by their names.
        regions: those of each session's neurons.
        with_behavior: whether every session has a trace of behaviour that the model reads. Without one, `encoding` has
            nothing to show and `decoding` nothing to score.
    """
    return [
        scheme
        for scheme in schemes
        if (with_behavior or not uses_behavior(scheme)) and all(SCHEMES[scheme].allows(region) for region in regions)
    ]
