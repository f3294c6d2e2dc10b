"""Time the training step: the former way, the product's, and the product's compiled, side by side.

    python benchmarks/step.py                                                          # NDT1 at the paper's size
    python benchmarks/step.py --device cuda --batches 64x4 544x34
    python benchmarks/step.py --models conf/model/ndt2.yaml conf/model/lfads.yaml      # other architectures
    python benchmarks/step.py --data data/sim --models conf/model/tiny.yaml conf/model/ndt2_tiny.yaml --batches 32x2

The former way is that of `former.py`. The sides run in turn; the median of the rounds is given. A step is masking, both
passes, clipping, optimiser and schedule; its batches lie on the device. The share is that of the rate of matrix
products which the device reached in the same run (`neuromtm.training.flops`). On one thread of a CPU the time is that
of the processor, which other programs change little; else it is that of the clock on the wall.
"""

import importlib
import inspect
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from former import Former, Trials
from measuring import (
    FixedBatches,
    arguments,
    clock_of,
    has_native_bf16,
    quiet,
    session_sizes,
    sessions_in,
    step_s,
    table,
    time_of,
    wait,
)

from neuromtm.models.interface import Backbone
from neuromtm.models.ndt1 import NDT1
from neuromtm.training.flops import TrialFlops, matrix_rate, precision_of
from neuromtm.training.masked_modeling import MaskedModeling

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
ROUND_S = 1.0
"""each side runs for about so long in a round, but for at least two steps"""
MOST_STEPS = 20
CAN_COMPILE = "compile" in inspect.signature(MaskedModeling).parameters
COLUMNS = ("batch x sessions", "precision", "model", "shared weights", "former, ms", "now, ms", "compiled, ms")
RATIOS = ("trials/s", "former / now", "former / compiled", "share of matrix rate", "share, compiled")


def backbone_of(overlay: Path, changes: list[str]) -> Backbone:
    """The architecture that an overlay names, with some options changed."""
    given = yaml.safe_load(overlay.read_text(encoding="utf-8"))["model"]["backbone"]
    module, _, name = given["class_path"].rpartition(".")
    options = given["init_args"] | {name: yaml.safe_load(value) for name, value in (c.split("=") for c in changes)}
    return getattr(importlib.import_module(module), name)(**options)


def former_step_s(former: Former, batches: list[list[Trials]], *, n_steps: int) -> float:
    """Seconds of one step of the former way, mean of `n_steps` after one more."""
    clock, started_s = clock_of(former.device), 0.0
    for step in range(n_steps + 1):
        if step == 1:
            wait(former.device)
            started_s = clock()
        former.step(batches[step % len(batches)], seed=step)
    wait(former.device)
    return (clock() - started_s) / n_steps


def sides_of(
    name: str, backbone: Callable[[], Backbone], data: FixedBatches, precision: str, *, compiled: bool
) -> dict[str, Callable[[int], float]]:
    """Name of a side -> seconds of one of its steps, given the number of steps."""
    dtype, sides = precision_of(precision), {}
    if name == "NDT1":
        means = {eid: data.mean_counts(eid) for eid in data.sessions}
        former = Former(means, device=data.device, dtype=dtype)
        batches = [
            [Trials(g.eid, g.counts, data.sessions[g.eid].region_index().number.to(data.device)) for g in batch.groups]
            for batch in data.batches
        ]
        sides["former"] = lambda n_steps: former_step_s(former, batches, n_steps=n_steps)
    module = MaskedModeling(backbone())
    sides["now"] = lambda n_steps: step_s(module, data, precision=precision, n_steps=n_steps)
    if compiled and CAN_COMPILE:
        torch.compiler.reset()  # it keeps only so many versions, and those of earlier rows count
        other = MaskedModeling(backbone(), compile=True)
        sides["compiled"] = lambda n_steps: step_s(other, data, precision=precision, n_steps=n_steps)
    return sides


def measured(sides: dict[str, Callable[[int], float]], rounds: int) -> dict[str, float]:
    """Name of a side -> median seconds of a step."""
    # the first run of each side, which may compile, does not count
    first_s = [side(2) for side in sides.values()]
    n_steps = max(2, min(MOST_STEPS, int(ROUND_S / min(first_s))))
    if n_steps > 2:
        for side in sides.values():
            side(n_steps)  # every scheme of the rounds
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(side(n_steps))
    return {name: statistics.median(of_rounds) for name, of_rounds in times.items()}


def main() -> None:
    """Print a table."""
    parser = arguments(__doc__)
    parser.add_argument("--batches", nargs="+", default=["16x1", "16x4", "64x4"], metavar="TRIALSxSESSIONS")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--models", nargs="+", type=Path, help="overlays (default: NDT1 at the paper's size)")
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE", help="options of the models")
    parser.add_argument("--data", type=Path, help="folder of shards (default: synthetic ones at the paper's size)")
    parser.add_argument("--min-firing-rate-hz", type=float, default=0.0)
    parser.add_argument("--no-compile", action="store_true")
    given = parser.parse_args()
    quiet()
    models: dict[str, Callable[[], Backbone]] = {"NDT1": NDT1}
    if given.models:
        models = {path.stem: lambda path=path: backbone_of(path, given.set) for path in given.models}
    shapes = [tuple(map(int, batch.split("x"))) for batch in given.batches]
    n_sessions = max(n for _, n in shapes)
    n_train = max(16, *(n_trials // n for n_trials, n in shapes))
    rates = {}
    for name in given.precisions:
        if name == "bf16" and given.device.type == "cpu" and not has_native_bf16():
            print("This processor does not multiply bf16 itself, so bf16 is left out.\n")
            continue
        dtype = precision_of(PRECISIONS[name])
        rates[name] = matrix_rate(given.device, dtype, clock=clock_of(given.device))
    print(f"Rate of matrix products: {', '.join(f'{n} {r / 1e12:,.3g} TFLOP/s' for n, r in rates.items())}.")
    print(f"Times: {time_of(given.device)}, median of {given.rounds} rounds.\n")
    rows = []
    with sessions_in(given.data, session_sizes(n_sessions), n_train=n_train) as folder:
        for n_trials, n in shapes:
            data = FixedBatches(
                device=given.device,
                root=str(folder),
                role="all",
                batch_size=n_trials,
                sessions_per_batch=n,
                min_firing_rate_hz=given.min_firing_rate_hz,
            )
            data.load()
            for precision, rate in rates.items():
                for name, backbone in models.items():
                    sides = sides_of(name, backbone, data, PRECISIONS[precision], compiled=not given.no_compile)
                    rows.append(
                        row(f"{n_trials} x {n}", precision, name, backbone(), data, measured(sides, given.rounds), rate)
                    )
                    if given.device.type == "cuda":
                        torch.cuda.empty_cache()
    print(table([*COLUMNS, *RATIOS], rows))


def row(
    size: str, precision: str, name: str, backbone: Backbone, data: FixedBatches, took_s: dict[str, float], rate: float
) -> list[str | None]:
    """One line of the table."""
    flops = TrialFlops(backbone, data.sessions.values(), n_bins=data.n_bins, scheme="neuron")
    share = {}
    if flops.known:
        of_batches = [flops.of({g.eid: len(g.trial) for g in batch.groups}) for batch in data.batches]
        share = {side: f"{statistics.mean(of_batches) / s / rate:.1%}" for side, s in took_s.items()}
    former_s = took_s.get("former")
    ratio = {side: f"{former_s / s:.2f}" for side, s in took_s.items() if former_s is not None}
    ms = {side: f"{1e3 * s:,.1f}" for side, s in took_s.items()}
    n_weights = sum(p.numel() for p in backbone.parameters())
    speed = f"{data.batch_size / min(took_s['now'], took_s.get('compiled', took_s['now'])):,.0f}"
    return [
        *(size, precision, name, f"{n_weights:,}", ms.get("former"), ms["now"], ms.get("compiled"), speed),
        *(ratio.get("now"), ratio.get("compiled"), share.get("now"), share.get("compiled")),
    ]


if __name__ == "__main__":
    main()
