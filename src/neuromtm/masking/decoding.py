"""Show all neurons, and hide and score behaviour: decoding, as in NEDS (Zhang et al. 2025)."""

import torch
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.masking.masked import Masked, MaskingScheme, Options, mask


def hide(counts: Tensor, region: RegionIndex, options: Options, generator: torch.Generator) -> Masked:
    """Hide no neuron; nothing is drawn. See `MaskingScheme.hide`."""
    return mask(counts, torch.zeros(1, 1, 1, dtype=torch.bool, device=counts.device))


SCHEME = MaskingScheme(hide=hide, ratio=0.0, behavior="target")
