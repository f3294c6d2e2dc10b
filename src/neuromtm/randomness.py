"""Random generators made from names and numbers. The same names and numbers give the same draws in every run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def seed_from(*parts: int | str) -> int:
    """A 63-bit seed from any mixture of numbers and names, equal on every machine and in every process."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator_for(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on a device, seeded from e.g. (seed, "masking", epoch, rank, batch).

    Equal seeds give other draws on a GPU than on the CPU.
    """
    import torch

    return torch.Generator(device).manual_seed(seed_from(*parts))


def numpy_generator_for(*parts: int | str) -> np.random.Generator:
    """A NumPy generator, seeded in the same way as that of `generator_for`."""
    return np.random.default_rng(seed_from(*parts))
