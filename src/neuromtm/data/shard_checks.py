"""What can be wrong with a shard, one sentence a problem."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np

from neuromtm.data.shard_datasets import read_trials
from neuromtm.data.shard_layout import (
    ATTRIBUTES,
    CONTROL,
    COUNTS,
    HELDOUT,
    NEURON_STATISTICS,
    NEURON_TEXT,
    PRINCIPAL_AXES,
    SPLITS,
    TRUE_RATES,
    Contents,
    eid_problem,
    n_bins,
    required,
)
from neuromtm.data.shard_values import type_problems, value_problems
from neuromtm.data.statistics import are_principal_axes, mean_and_variance, smoothed_covariance
from neuromtm.data.windows import sharing_time
from neuromtm.errors import ShardError


def structure_problems(contents: Contents, name: Path) -> list[str]:
    """Whether everything is there and the sizes fit together.

    Args:
        contents: of the shard.
        name: of its file, for the sentences.
    """
    missing = [a for a in ATTRIBUTES if a not in contents.attributes]
    missing += [path for path in required(contents.version) if path not in contents.shapes]
    if missing:
        return [f"{name}: {', '.join(missing)} missing. Prepare it again."]
    shape = contents.shapes[COUNTS]
    if len(shape) != 3 or contents.counts_type not in (np.uint8, np.uint16):
        return [
            f"{name}: spikes/counts is {contents.counts_type} {shape}, not uint8 or uint16 (trial, bin, neuron). "
            "Prepare it again."
        ]
    if problems := type_problems(contents):
        return [f"{name}: {'; '.join(problems)}. Prepare it again."]
    n_trials, found, _ = shape
    problems = _name_problems(contents, name)
    expected = n_bins(contents.attributes["window_s"], contents.attributes["bin_size_s"])
    if found != expected:
        problems.append(
            f"{name}: spikes/counts has {found} bins, but window_s and bin_size_s give {expected}. Prepare it again."
        )
    problems += [
        f"{name}: {path} has shape {contents.shapes[path]}, but spikes/counts needs {wanted}. Prepare it again."
        for path, wanted in _sizes(contents)
        if contents.shapes[path] != wanted
    ]
    if PRINCIPAL_AXES in contents.shapes and contents.shapes[PRINCIPAL_AXES][1:] != shape[2:]:
        problems.append(
            f"{name}: {PRINCIPAL_AXES} has shape {contents.shapes[PRINCIPAL_AXES]}, but spikes/counts needs "
            f"(component, {shape[2]}). Prepare it again."
        )
    split = np.sort(np.concatenate([contents.values[f"splits/{n}"] for n in SPLITS]))
    if (split[1:] == split[:-1]).any():
        problems.append(f"{name}: a trial is in two splits. Prepare it again.")
    if len(split) and not 0 <= split[0] <= split[-1] < n_trials:
        problems.append(f"{name}: splits name trials outside 0 to {n_trials - 1}. Prepare it again.")
    return problems or [f"{name}: {problem}. Prepare it again." for problem in value_problems(contents)]


def _name_problems(contents: Contents, name: Path) -> list[str]:
    """Whether names are names: some become files, all are shown."""
    wrong = eid_problem(contents.attributes["eid"])
    problems = [] if wrong is None else [f"{name}: {wrong}"]
    texts = {attribute: str(contents.attributes[attribute]) for attribute in ("subject", "lab", "source", "created_by")}
    texts |= {f"neurons/{one}": "".join(contents.text(f"neurons/{one}").ravel()) for one in NEURON_TEXT}
    texts |= {f"the name {path!r}": path for path in contents.shapes}
    return problems + [
        f"{name}: {what} holds control characters. Prepare it again from a source without them."
        for what, text in texts.items()
        if CONTROL.search(text)
    ]


def _sizes(contents: Contents) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Path -> the shape that it must have."""
    n_trials, n_bins_, n_neurons = contents.shapes[COUNTS]
    for path in required(contents.version):
        if path.startswith("neurons/") and path != PRINCIPAL_AXES:
            yield path, (n_neurons,)
        elif path.startswith("trials/"):
            yield path, (n_trials,)
    for name in contents.further_columns():
        yield f"trials/{name}", (n_trials,)
    if HELDOUT in contents.shapes:
        yield HELDOUT, (n_neurons,)
    for name in contents.names("behavior"):
        yield f"behavior/{name}", (n_trials, n_bins_)
    if TRUE_RATES in contents.shapes:
        yield TRUE_RATES, contents.shapes[COUNTS]


def content_problems(file: h5py.File, contents: Contents, name: Path, *, statistics: bool) -> list[str]:
    """Whether every byte is good and the values can be what they say. The structure must be good.

    Args:
        file: the open shard.
        contents: of the shard.
        name: of its file, for the sentences.
        statistics: also compute the statistics of the training trials anew and compare them.
    """
    problems, counts = [], np.zeros(contents.shapes[COUNTS], contents.counts_type)
    for path in (COUNTS, *(f"behavior/{n}" for n in contents.names("behavior")), TRUE_RATES):
        if path not in contents.shapes:
            continue
        dataset = file[path]
        try:
            for trial in range(dataset.shape[0]):
                values = read_trials(dataset, [trial])
                if path == COUNTS:
                    counts[trial] = values[0]
                elif np.isinf(values).any() or (path == TRUE_RATES and not (values >= 0).all()):
                    problems.append(f"{name}: {path} has values that cannot be in trial {trial}. Prepare it again.")
                    break
        except ShardError as error:
            problems.append(str(error).replace(dataset.file.filename, str(name)))
    if problems or not statistics or contents.version == 1:
        return problems
    problems = _shared_time(contents, name)
    return problems + _statistics_problems(counts, contents, file[PRINCIPAL_AXES][()], name)


def _shared_time(contents: Contents, name: Path) -> list[str]:
    """Whether windows of two splits share an instant: a test trial would be known from training."""
    if json.loads(contents.attributes.get("preparation", "{}")).get("keep_source_overlap"):
        return []
    starts_s = contents.values["trials/start_s"]
    start_s, end_s = contents.attributes["window_s"]
    problems = []
    for one, other in combinations(SPLITS, 2):
        windows = (starts_s[contents.values[f"splits/{split}"]] for split in (other, one))
        if shared := int(sharing_time(*windows, duration_s=end_s - start_s).sum()):
            problems.append(
                f"{name}: {shared} {other} trials share time with {one} trials, so they are no independent test. "
                "Prepare it again with this version, which keeps them apart."
            )
    return problems


def _statistics_problems(counts: np.ndarray, contents: Contents, axes: np.ndarray, name: Path) -> list[str]:
    train = contents.values["splits/train"]
    mean, variance = mean_and_variance(counts, train)
    wrong = [
        path
        for path, expected in zip((f"neurons/{n}" for n in NEURON_STATISTICS), (mean, variance), strict=True)
        if not np.allclose(contents.values[path], expected, rtol=1e-9, atol=1e-12, equal_nan=True)
    ]
    if not wrong and not are_principal_axes(axes, smoothed_covariance(counts, train, mean=mean, variance=variance)):
        wrong = [PRINCIPAL_AXES]
    return [f"{name}: {path} is not that of the training trials. Prepare it again." for path in wrong]
