"""The plots of docs/gallery.md, of any run: single trials, averages by condition, embeddings and neurons.

    python examples/gallery.py RUN DATA OUT

RUN is the folder of a run, a checkpoint, or a saved model; DATA the folder of the sessions; OUT gets the PNGs. All that
is drawn is of test trials. What is drawn is chosen by the rules below, and printed.
"""

import argparse
import io
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import neuromtm
from neuromtm.api.hidden import predict_hidden
from neuromtm.api.sessions import Session
from neuromtm.evaluation.psth import task_conditions
from neuromtm.evaluation.tasks import TASKS
from neuromtm.metrics.spikes import bits_per_spike, poisson_nll
from neuromtm.plots.embedding import embedding_plot, principal_plane
from neuromtm.plots.neurons import Example, by_rank, examples_plot
from neuromtm.plots.ordering import neuron_order
from neuromtm.plots.psth import PsthPanel, psth_plot, selectivity
from neuromtm.plots.style import SMOOTHING_S
from neuromtm.plots.trials import TrialExample, trials_plot
from neuromtm.smoothing import smooth

FEWEST_HZ = 2.0
"""least firing rate in the train trials of a neuron that is drawn (spikes/s): of fewer spikes little is seen"""
N_TRIALS_NEURONS = 80
"""neurons of a session in the plots of trials"""
N_PSTH = 5
"""neurons of a session whose averages are drawn"""
UNKNOWN = ("root", "void")
CONDITIONS = {
    "stimulus": ("stimulus left", "stimulus right", "no side stronger"),
    "choice": ("choice +1", "choice -1"),
}
"""variable -> names of its conditions"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw everything.

    Args:
        arguments: the command line; by default the program's own.
    """
    parser = argparse.ArgumentParser(description="Plots of docs/gallery.md")
    parser.add_argument("run", help="folder of a run, checkpoint, or saved model", metavar="RUN")
    parser.add_argument("data", help="folder of the sessions", metavar="DATA")
    parser.add_argument("out", type=Path, help="folder for the PNGs", metavar="OUT")
    parser.add_argument("--role", default="heldout", choices=("heldout", "pretrain"), help="which sessions")
    parser.add_argument("--event", default="stimOn_times", help="what happens at 0 s, for the axes")
    given = parser.parse_args(arguments)
    try:
        model, sessions = neuromtm.load(given.run), neuromtm.Sessions(given.data, role=given.role)
        known = [eid for eid in sessions if eid in model.sessions]
        if not known:
            raise neuromtm.UserError(f"{given.run}: knows no session of {given.data} in the role {given.role}.")
        drawn = [Drawn(model, sessions[eid], align_event=given.event) for eid in known]
    except neuromtm.UserError as error:
        sys.exit(str(error))
    given.out.mkdir(parents=True, exist_ok=True)
    for name, plot in plots(model, drawn):
        path = given.out / f"{name}.png"
        save_small(plot, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


class Drawn:
    """A session with what the model predicts of its test trials while each neuron is hidden."""

    def __init__(self, model: neuromtm.Model, session: Session, *, align_event: str):
        """Predict and score.

        Args:
            model: knows the session.
            session: with all its trials.
            align_event: what happens at 0 s.
        """
        session = session.select(neurons=model.sessions[session.eid].neurons)
        self.align_event = align_event
        self.eid, self.bin_size_s, self.window_s = session.eid, session.bin_size_s, session.window_s
        self.train, self.test = (session.select(split=split) for split in ("train", "test"))
        self.number = session.splits["test"]
        self.region = session.neurons["region"]
        self.rate_hz = self.train.counts.mean(axis=(0, 1)) / session.bin_size_s
        self.expected = predict_hidden(model, self.test, task="co_smoothing")
        counts = torch.from_numpy(self.test.counts).double()
        nll = poisson_nll(torch.from_numpy(self.expected).double().log(), counts)
        spikes, entries = counts.sum(dim=(0, 1)), torch.full((counts.shape[2],), float(counts[..., 0].numel()))
        self.bps = bits_per_spike(nll.sum(dim=(0, 1)), spikes, entries).numpy()
        self.trial_bps = _bits_of_trials(nll, counts).numpy()
        known = self.bps[~np.isnan(self.bps)]
        below = 100 * (known < 0).mean()
        print(
            f"{self.eid}: co-smoothing {known.mean():.3f} bits per spike, {below:.0f} % of {len(known)} neurons below 0"
        )

    @property
    def fires(self) -> np.ndarray:
        """(neuron,) which neurons fire often enough to be drawn."""
        return self.rate_hz >= FEWEST_HZ

    @property
    def placed(self) -> np.ndarray:
        """(neuron,) which neurons fire often enough and are of a known region."""
        return self.fires & ~np.isin(self.region, UNKNOWN)


def _bits_of_trials(nll: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """(trial,) bits per spike of each trial, over all neurons: the cost of their mean rates less that of the model.

    Args:
        nll: (trial, bin, neuron) cost of each entry.
        counts: (trial, bin, neuron) spikes per bin.
    """
    mean = counts.mean(dim=(0, 1))
    null = (mean - torch.xlogy(counts, mean)).sum(dim=(1, 2))
    return (null - nll.sum(dim=(1, 2))) / (counts.sum(dim=(1, 2)) * np.log(2))


def plots(model: neuromtm.Model, drawn: list[Drawn]) -> Iterator[tuple[str, Figure]]:
    """Name and plot, one after the other."""
    for one in drawn:
        yield f"trials.{one.eid}", trials_of(model, one)
    for variable in ("stimulus", "choice"):
        yield f"psth.{variable}", psths_of(drawn, variable)
    for one in drawn:
        yield f"embedding.{one.eid}", embedding_of(model, one)
        yield f"contrast.{one.eid}", embedding_of(model, one, along="contrast")
    for one in drawn:
        yield f"neurons.{one.eid}", neurons_of(one)


def trials_of(model: neuromtm.Model, one: Drawn) -> Figure:
    """Trials at fixed ranks of the bits per spike; the neurons of known region that fire most in the train trials."""
    chosen = by_rank(one.trial_bps)
    rows = list(chosen.values())
    shown = replace(one.test, counts=one.test.counts[rows])
    predicted = {
        task: one.expected[rows] if task == "co_smoothing" else predict_hidden(model, shown, task=task)
        for task in TASKS
    }
    places = np.argsort(np.where(one.placed, -one.rate_hz, 0), kind="stable")[: min(N_TRIALS_NEURONS, one.placed.sum())]
    regions = one.region[places].tolist()
    examples = [
        TrialExample(
            title=f"{name} trial ({one.number[trial]})\n{one.trial_bps[trial]:.2f} bits per spike",
            counts=shown.counts[i][:, places],
            predicted={task: rates[i][:, places] for task, rates in predicted.items()},
        )
        for i, (name, trial) in enumerate(chosen.items())
    ]
    return trials_plot(
        title=f"{one.eid}: {len(chosen)} of {len(one.trial_bps)} test trials, {len(places)} neurons",
        examples=examples,
        mean_counts=one.rate_hz[places] * one.bin_size_s,
        regions=regions,
        order=neuron_order(one.train.counts[..., places], regions, bin_size_s=one.bin_size_s),
        bin_size_s=one.bin_size_s,
        window_s=one.window_s,
        align_event=one.align_event,
    )


def psths_of(drawn: list[Drawn], variable: str) -> Figure:
    """Averages of the test trials, of the neurons that differ most between conditions in the train trials."""
    names, rows = CONDITIONS[variable], {}
    for one in drawn:
        in_train = condition_of(one.train, variable)
        smoothed = smooth(one.train.counts.astype(np.float64), width_s=SMOOTHING_S, bin_size_s=one.bin_size_s)
        share = np.where(one.placed, selectivity(smoothed, in_train), 0)
        chosen: list[int] = []
        for place in np.argsort(-share, kind="stable"):
            if len(chosen) < N_PSTH and share[place] > 0 and one.region[place] not in one.region[chosen]:
                chosen.append(int(place))
        in_test = condition_of(one.test, variable)
        trials = ", ".join(str((in_test == i).sum()) for i in range(len(names)))
        rows[f"{textwrap.fill(one.eid, 18)}\n({trials} trials)"] = [
            PsthPanel(
                title=f"{one.region[place]}, {one.bps[place]:.2f} bits per spike",
                counts=one.test.counts[..., place],
                expected=one.expected[..., place],
                number=in_test,
            )
            for place in chosen
        ]
    return psth_plot(
        rows,
        conditions=names,
        title=f"Averages by {variable} over test trials: the neurons that differ most in the train trials",
        bin_size_s=drawn[0].bin_size_s,
        window_s=drawn[0].window_s,
        align_event=drawn[0].align_event,
    )


def condition_of(session: Session, variable: str) -> np.ndarray:
    """(trial,) place of each trial's condition in `CONDITIONS`, -1 where it is not known."""
    if variable == "choice":
        return np.select([session.trials["choice"] > 0, session.trials["choice"] < 0], [0, 1], -1)
    contrast = session.trials["contrast"]
    return np.select([contrast < 0, contrast > 0, contrast == 0], [0, 1, 2], -1)


def embedding_of(model: neuromtm.Model, one: Drawn, *, along: str | None = None) -> Figure:
    """The test trials by the mean of their states over the bins.

    Args:
        model: knows the session.
        one: the session.
        along: variable of the trials. The first axis is then its linear read-out, fitted to the train trials. By
            default the plane is that of largest variance.
    """
    states, choice = model.embed(one.test, mean_over_bins=True), one.test.trials["choice"]
    direction, title = None, f"{one.eid}: states of {len(choice)} test trials"
    if along is not None:
        known, wanted = np.isfinite(one.train.trials[along]), one.test.trials[along]
        seen = model.embed(one.train, mean_over_bins=True)[known]
        readout = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11))).fit(
            seen, one.train.trials[along][known]
        )
        direction = readout[-1].coef_ / readout[0].scale_
        told = np.isfinite(wanted)
        correlation = np.corrcoef(readout.predict(states[told]), wanted[told])[0, 1]
        title += f"; read-out and {along} correlate by {correlation:.2f}"
    variables = {
        "choice": np.select([choice > 0, choice < 0], ["+1", "-1"], "unknown"),
        "contrast, right minus left": one.test.trials["contrast"],
    }
    if along is None:
        variables["mean rate of all neurons (spikes/s)"] = one.test.counts.mean(axis=(1, 2)) / one.bin_size_s
        variables["number of the trial in the session"] = one.number
        places, _ = principal_plane(states)
        told = {name: multiple_correlation(places, values) for name, values in variables.items() if name != "choice"}
        print(f"{one.eid}: R on the plane:", ", ".join(f"{name} {r:.2f}" for name, r in told.items()))
    return embedding_plot(
        states,
        variables,
        title=title,
        direction=direction,
        direction_name=f"read-out of the {along}, from train trials",
    )


def multiple_correlation(places: np.ndarray, values: np.ndarray) -> float:
    """Correlation of values with their best linear read-out of the places, fitted to the same trials.

    Args:
        places: (trial, 2).
        values: (trial,), NaN where unknown.
    """
    known = np.isfinite(values)
    score = LinearRegression().fit(places[known], values[known]).score(places[known], values[known])
    return float(np.sqrt(max(score, 0)))


def neurons_of(one: Drawn) -> Figure:
    """Neurons at fixed ranks of co-smoothing, of those that fire often enough."""
    conditions = task_conditions(one.test.trials["choice"], one.test.trials["contrast"], np.arange(len(one.number)))
    return examples_plot(
        eid=one.eid,
        task="co_smoothing",
        examples=[
            Example(
                title=f"{name}: {one.region[place]}, {one.bps[place]:.2f} bits per spike at "
                f"{one.rate_hz[place]:.1f} spikes/s",
                counts=one.test.counts[..., place],
                expected=one.expected[..., place],
            )
            for name, place in by_rank(np.where(one.fires, one.bps, np.nan)).items()
        ],
        conditions=conditions.names,
        number=conditions.number,
        bin_size_s=one.bin_size_s,
        window_s=one.window_s,
        align_event=one.align_event,
    )


def save_small(plot: Figure, path: Path) -> None:
    """Save a plot as PNG of at most 256 colours, a third of the size of one of all."""
    buffer = io.BytesIO()
    plot.savefig(buffer, format="png")
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
