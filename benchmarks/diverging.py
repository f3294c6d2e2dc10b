"""Time what it costs to keep steps that diverge from the weights: the same steps with and without, in turn.

    python benchmarks/diverging.py

A step with it remembers its loss and tells the optimiser whether the norm of all gradients is finite. Where gradients
are clipped by their norm, the norm is there anyway. The model is that of conf/model/small.yaml, with four sessions of
200 neurons in a batch of 16 trials. A ratio is the median over the rounds, each of which times both sides.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from measuring import FixedBatches, arguments, head, quiet, sessions_in, step_s, table, time_of

from neuromtm.models.ndt1 import NDT1
from neuromtm.training.diverging import DivergenceWatch
from neuromtm.training.masked_modeling import MaskedModeling


@contextmanager
def unwatched() -> Generator[None]:
    """Train without looking for steps that diverge."""
    with (
        patch.object(DivergenceWatch, "add", lambda *_, **__: None),
        patch.object(DivergenceWatch, "guard", lambda *_, **__: None),
    ):
        yield


def main() -> None:
    """Measure and print a table."""
    parser = arguments(__doc__)
    parser.set_defaults(rounds=7)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    quiet()
    print(head(given.device) + f"\n- Time: {time_of(given.device)}\n", flush=True)
    rows = []
    with sessions_in(None, [200] * 4, n_train=32) as folder:
        data = FixedBatches(
            device=given.device, root=str(Path(folder)), role="all", batch_size=16, sessions_per_batch=4
        )
        data.load()
        torch.manual_seed(0)
        module = MaskedModeling(NDT1(width=128, n_layers=4, n_heads=4, mlp_width=256), on_nan="skip")
        for clip in (1.0, None):
            options = {"precision": "32-true", "n_steps": given.steps, "clip": clip}
            pairs = []
            for _ in range(given.rounds):
                with unwatched():
                    without_s = step_s(module, data, **options)
                pairs.append((step_s(module, data, **options), without_s))
            with_s, without_s = np.array(pairs).T
            clipped = "clipped by their norm" if clip else "not clipped"
            times_ms = [f"{1e3 * np.median(one):.2f}" for one in (with_s, without_s)]
            rows.append([clipped, *times_ms, f"{np.median(with_s / without_s):.3f}"])
    print(table(("gradients", "watched, ms", "not watched, ms", "ratio"), rows))


if __name__ == "__main__":
    main()
