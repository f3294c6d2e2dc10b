"""The curves of a training: the TensorBoard scalars that a run wrote."""

from pathlib import Path

import numpy as np


def read_scalars(run_dir: Path) -> dict[str, np.ndarray]:
    """TensorBoard tag -> (point, 2) step and value, of all event files in the run's folder.

    If a resumed training logged a step again, the later value counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[float, int, float]]] = {}
    for path in filter(Path.is_file, run_dir.glob("events.out.tfevents.*")):  # a pipe would be waited for
        # all scalars, and as few pictures as possible
        events = EventAccumulator(str(path), size_guidance={"scalars": 0, "images": 1, "tensors": 1})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((e.wall_time, e.step, e.value) for e in events.Scalars(tag))
    last = {tag: {step: value for _, step, value in sorted(points)} for tag, points in found.items()}
    return {tag: np.array(sorted(points.items()), dtype=np.float64) for tag, points in last.items()}
