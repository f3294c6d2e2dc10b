"""Hide whole bins at random, and let a bin see only itself and the past (MtM, NeurIPS 2024, section 3)."""

from neuromtm.masking.masked import MaskingScheme
from neuromtm.masking.temporal import hide

SCHEME = MaskingScheme(hide=hide, ratio=0.6, causal=True)
