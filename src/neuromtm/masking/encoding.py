"""Hide all neurons and show behaviour: encoding, as in NEDS (Zhang et al. 2025)."""

import torch
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.masking.masked import Masked, MaskingScheme, Options, mask


def hide(counts: Tensor, region: RegionIndex, options: Options, generator: torch.Generator) -> Masked:
    """Hide and score every neuron; nothing is drawn. See `MaskingScheme.hide`."""
    return mask(counts, torch.ones(1, 1, 1, dtype=torch.bool, device=counts.device))


SCHEME = MaskingScheme(hide=hide, ratio=1.0, behavior="shown")
