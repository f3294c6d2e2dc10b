"""What all tests share."""

import os
from pathlib import Path

# Before torch is imported, and for the programs that tests start: threads that spin while they wait made a tiny
# training four times slower on two cores that something else used too, and gained nothing on idle ones.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# configurations of the tests name callbacks of their own
os.environ.setdefault("NEUROMTM_ALLOW", "tests")

import pytest
from hypothesis import settings

from tests.running import pretrained, sessions_dir  # noqa: F401 (fixtures of several folders)

ROOT = Path(__file__).resolve().parents[1]

# A busy machine must not fail a property test for being slow; and what fails for one person must fail for the next.
settings.register_profile("neuromtm", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "neuromtm"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def steinmetz2019() -> Path:
    """Folder of real recordings (Steinmetz et al. 2019), which the repository does not carry."""
    folder = ROOT.parent / "shared" / "data" / "steinmetz2019"
    if not folder.is_dir():
        pytest.skip(f"needs the recordings of Steinmetz et al. 2019 in {os.path.relpath(folder, ROOT)}")
    return folder
