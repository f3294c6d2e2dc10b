"""The scorers of public benchmarks, which are installed apart from the environment."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCORERS = Path(sys.prefix) / "scorers"


@pytest.fixture(scope="session")
def nlb_tools() -> ModuleType:
    """The tools of the Neural Latents Benchmark, with `evaluation`, `make_tensors` and `nwb_interface`."""
    if not (SCORERS / "nlb_tools").is_dir():
        pytest.skip("needs nlb_tools, which `make install` puts into the folder scorers of the environment")
    if str(SCORERS) not in sys.path:
        sys.path.append(str(SCORERS))
    for name in ("evaluation", "make_tensors", "nwb_interface"):
        importlib.import_module(f"nlb_tools.{name}")
    return importlib.import_module("nlb_tools")
