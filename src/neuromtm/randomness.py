"""Every draw has an owner: a generator made from names and numbers, the same in every run."""

import hashlib

import numpy as np
import torch


def seed_from(*parts: int | str) -> int:
    """A 63-bit seed from any mixture of numbers and names, equal on every machine and in every process."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator_for(*parts: int | str) -> torch.Generator:
    """A torch generator on the CPU, seeded from e.g. (seed, "masking", epoch, rank, batch)."""
    return torch.Generator().manual_seed(seed_from(*parts))


def numpy_generator_for(*parts: int | str) -> np.random.Generator:
    """A NumPy generator seeded likewise."""
    return np.random.default_rng(seed_from(*parts))
