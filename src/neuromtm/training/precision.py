"""Which precision suits the machine: `--trainer.precision auto`."""

from typing import Any, Literal, NamedTuple

import torch
from lightning.fabric.connector import _PRECISION_INPUT
from lightning.pytorch.accelerators import Accelerator, CUDAAccelerator
from lightning.pytorch.trainer import Trainer
from lightning.pytorch.utilities import rank_zero_info


class Precision(NamedTuple):
    """A precision that Lightning knows, and why it was chosen."""

    name: Literal["bf16-mixed", "32-true"]
    reason: str


def precision_for(accelerator: str | Accelerator) -> Precision:
    """Choose bf16 matrix products with fp32 weights where the machine multiplies bf16 itself, else fp32.

    Where it is not native, bf16 is many times slower than fp32 on a CPU.

    Args:
        accelerator: as the Trainer takes it.
    """
    on_gpu = accelerator in ("cuda", "gpu", "auto") or isinstance(accelerator, CUDAAccelerator)
    if on_gpu and CUDAAccelerator.is_available():
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bf16-mixed", f"{name} multiplies bf16 natively")
        return Precision("32-true", f"{name} does not multiply bf16 natively")
    if accelerator in ("cpu", "auto") or not isinstance(accelerator, str):
        if extension := _bf16_extension():
            return Precision("bf16-mixed", f"this processor multiplies bf16 natively ({extension})")
        return Precision("32-true", "this processor does not multiply bf16 natively")
    return Precision("32-true", f"bf16 is not tried on the accelerator {accelerator}")


def _bf16_extension() -> str | None:
    """The processor's instructions that multiply bf16, if it has any."""
    # functions of torch without a promise that they stay
    for name, question in (("AMX", "_is_amx_tile_supported"), ("AVX512-BF16", "_is_avx512_bf16_supported")):
        if getattr(torch.cpu, question, lambda: False)():
            return name
    return None


class AutoTrainer(Trainer):
    """Lightning's Trainer, which also takes `precision="auto"`.

    Args:
        accelerator: as Lightning's Trainer takes it.
        precision: as Lightning's Trainer takes it; or `auto` for bf16-mixed where the GPU or processor multiplies bf16
            natively, else 32-true. It is chosen anew on each machine.
        options: all others.
    """

    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        precision: Literal["auto"] | _PRECISION_INPUT | None = None,
        **options: Any,
    ):
        if precision == "auto":
            precision, reason = precision_for(accelerator)
            rank_zero_info(f"trainer.precision auto: {precision}, because {reason}.")
        super().__init__(accelerator=accelerator, precision=precision, **options)
