"""Write a recording as files of the International Brain Laboratory, so that the reader can be tested on known data."""

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.folder import Job, Outcome, require_no_file
from data_prep.recording import WHISKER, Recording
from neuromtm.errors import ConfigError
from neuromtm.files import locked, write_whole
from neuromtm.regular_files import regular_text

N_CHANNELS = 384
CHANNEL_SPACING_UM = 10.0
OPTIONS_FILE = "simulation.json"


def write_tree(jobs: list[Job], *, out: Path, options: dict[str, Any]) -> Iterator[Outcome]:
    """Write every session that is not there yet, and the tables in which ONE-api finds the sessions.

    Args:
        jobs: the sessions.
        out: folder of the tree.
        options: every option that decides the content.

    Raises:
        ConfigError: if the folder holds a tree that was simulated with other options, `out` is a file, or one of
            ONE-api, iblatlas and pandas is not installed.
    """
    if missing := [name for name in ("one", "iblatlas", "pandas") if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"--format alf needs {', '.join(missing)}: pip install 'neuromtm[ibl]'")
    _check_tree(out, options)
    for job in jobs:
        recording = job.load()
        yield Outcome(job.eid, "prepared" if _write_session(out, recording) else "already done", recording.subject)
    _index_tree(out)


def _check_tree(out: Path, options: dict[str, Any]) -> None:
    text, path = json.dumps(options, sort_keys=True) + "\n", out / OPTIONS_FILE
    require_no_file(out)
    with locked(out):
        if not path.exists():
            write_whole(path, text)
        elif regular_text(path) != text:
            raise ConfigError(f"{path}: this tree was simulated with other options. Choose another --out.")


def _write_session(out: Path, recording: Recording) -> bool:
    """Write the files of a session; they all appear at the same time. Returns False if they are there already."""
    from iblatlas.regions import BrainRegions

    # every animal has only one session, so all sessions can have the same date
    folder = out / recording.lab / "Subjects" / recording.subject / "2020-01-01" / "001"
    if folder.exists():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out, prefix=".session."))
    try:
        alf = temporary / "alf"
        alf.mkdir()
        _trials_table(recording).to_parquet(alf / "_ibl_trials.table.pqt")
        camera = recording.traces[WHISKER]
        np.save(alf / "_ibl_leftCamera.times.npy", camera.times_s)
        np.save(alf / "leftCamera.ROIMotionEnergy.npy", camera.values)
        for probe in np.unique(recording.neurons.probe):
            _write_probe(alf / str(probe) / "pykilosort", recording, str(probe), BrainRegions())
        temporary.chmod(0o755)
        with locked(out):
            if not folder.exists():  # another process may have written the same bytes first
                os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _index_tree(out: Path) -> None:
    from one.alf.cache import make_parquet_db

    with locked(out):
        make_parquet_db(out, hash_files=False)


def _write_probe(folder: Path, recording: Recording, probe: str, regions: Any) -> None:
    import pandas as pd

    folder.mkdir(parents=True)
    neurons = recording.neurons
    here = np.flatnonzero(neurons.probe == probe)
    cluster = np.full(recording.n_neurons, -1)
    cluster[here] = np.arange(len(here))
    (spikes,) = recording.merged().parts()
    of_spike = cluster[spikes.neuron]
    on_probe = of_spike >= 0
    channel = np.round(neurons.depth_um[here] / CHANNEL_SPACING_UM).astype(np.int64)
    location = np.full(N_CHANNELS, regions.acronym2id("root")[0], np.int64)
    location[channel] = regions.acronym2id(neurons.region[here])
    arrays = {
        "spikes.times": spikes.times_s[on_probe],
        "spikes.clusters": of_spike[on_probe].astype(np.uint32),
        "clusters.channels": channel,
        "clusters.depths": neurons.depth_um[here],
        "channels.brainLocationIds_ccf_2017": location,
        "channels.localCoordinates": np.stack([np.zeros(N_CHANNELS), np.arange(N_CHANNELS) * CHANNEL_SPACING_UM], 1),
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    pd.DataFrame({"uuids": neurons.uuid[here]}).to_csv(folder / "clusters.uuids.csv", index=False)
    metrics = {"cluster_id": np.arange(len(here)), "label": neurons.label[here]}
    pd.DataFrame(metrics).to_parquet(folder / "clusters.metrics.pqt")


def _trials_table(recording: Recording) -> Any:
    import pandas as pd

    trials = recording.trials
    # a simulated session has them
    assert trials is not None
    assert trials.stimulus_onset_s is not None
    assert trials.feedback_s is not None
    assert trials.feedback_type is not None
    return pd.DataFrame(
        {
            "stimOn_times": trials.stimulus_onset_s,
            "goCue_times": trials.go_cue_s,
            "firstMovement_times": trials.first_movement_s,
            "feedback_times": trials.feedback_s,
            "response_times": trials.feedback_s,
            "choice": trials.choice,
            "feedbackType": trials.feedback_type,
            "contrastLeft": trials.contrast_left,
            "contrastRight": trials.contrast_right,
            "probabilityLeft": trials.block,
            "rewardVolume": np.where(trials.feedback_type > 0, 1.5, 0.0),
            "intervals_0": trials.stimulus_onset_s - 0.5,
            "intervals_1": trials.feedback_s + 1.0,
        }
    )
