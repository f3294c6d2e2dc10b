"""The model card: README.md of a saved model, as Hugging Face reads it."""

import textwrap
from collections.abc import Sequence

import yaml

from neuromtm import __version__
from neuromtm.api.given import is_text
from neuromtm.errors import ConfigError
from neuromtm.evaluation.results import Metrics
from neuromtm.models.stitching import StitchedModel, module_key
from neuromtm.training.checkpoint import CheckpointRecord

USE = """\
```python
import neuromtm

model = neuromtm.load("THIS_FOLDER")
eid = list(model.sessions)[0]
rates = model.predict(counts, eid=eid)   # counts (trial, bin, neuron) -> expected spikes per bin
states = model.embed(counts, eid=eid)    # (trial, bin, state)
```

To use it on an animal that it does not know, adapt it: `model.adapt(neuromtm.Sessions(DIR))`.
"""


def model_card(
    model: StitchedModel, record: CheckpointRecord, metrics: Metrics | None, *, license: str, description: str
) -> str:
    """Write the card.

    Args:
        model: with its weights.
        record: what it was trained on.
        metrics: metrics of its test; None if it was not tested.
        license: license of the weights.
        description: a paragraph of the user's own.

    Raises:
        ConfigError: if the license or the description is no text.
    """
    if not is_text(license):
        raise ConfigError(f"license is {license!r}, not a text. If it is not known, give 'unknown'.")
    if not isinstance(description, str):
        raise ConfigError(f"description is {description!r}, not a text.")
    header = {
        "license": license,
        "library_name": "neuromtm",
        "tags": ["neuroscience", "spikes", "masked-modeling"],
    }
    kind = record.class_path.rpartition(".")[2]
    known = {session.eid for session in record.sessions}
    subjects = {subject for eid, subject in record.subjects.items() if eid in known}
    before = {eid: subject for eid, subject in record.subjects.items() if eid not in known}
    parts = [
        "---\n" + yaml.safe_dump(header, sort_keys=False) + "---",
        f"# {kind} of {_number(len(known), 'session')}",
        description.strip(),
        f"A masked model of spike counts. Saved by neuromtm {__version__}.",
        "## How to load",
        USE.strip(),
        "## Data",
        f"{_number(len(known), 'session')} of {_number(len(subjects), 'subject')}, trials of {record.n_bins} bins of "
        f"{record.bin_size_s:g} s. The weights hold no counts.",
        _table(
            ("session", "subject", "neurons", "regions"),
            [
                (s.eid, record.subjects.get(s.eid, "unknown"), str(s.n_neurons), ", ".join(s.region_names) or "unknown")
                for s in record.sessions
            ],
        ),
        _learned_before(before),
        "## Objective",
        _objective(record),
        "## Sizes",
        _sizes(model, record),
        "## Metrics",
        _metrics(metrics),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _number(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _learned_before(before: dict[str, str]) -> str:
    if not before:
        return ""
    text = (
        f"The shared weights were pretrained on {_number(len(before), 'further session')} of "
        f"{_number(len(set(before.values())), 'subject')}: {', '.join(map(_cell, before))}."
    )
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _objective(record: CheckpointRecord) -> str:
    objective = record.objective
    ratios = {scheme: objective.ratio_of(scheme) for scheme in objective.schemes}
    return "Masking schemes, one drawn per batch: " + "; ".join(
        scheme if ratio == 1 else f"{scheme} (ratio {ratio:g})" for scheme, ratio in ratios.items()
    )


def _sizes(model: StitchedModel, record: CheckpointRecord) -> str:
    shared = sum(weights.numel() for weights in model.backbone.parameters())
    own = [sum(w.numel() for w in model.stitchers[module_key(s.eid)].parameters()) for s in record.sessions]
    options = ", ".join(f"{name}={value!r}" for name, value in record.options.items())
    lines = [f"{shared:,} shared weights, and {sum(own):,} of the sessions' own.", f"`{record.class_path}({options})`"]
    return "\n\n".join(lines)


def _metrics(metrics: Metrics | None) -> str:
    if metrics is None:
        return "This model was not tested."
    values = metrics["mean"].items()
    said = f"Means over the {_number(len(metrics['sessions']), 'tested session')}, on test trials."
    units = "Keys that end in `bps` are bits per spike; docs/evaluation.md of neuromtm defines all keys."
    return f"{said} {units}\n\n" + _table(("metric", "value"), [(key, f"{value:.4g}") for key, value in values])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *(map(_cell, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text that can end no cell and no line, and can begin no HTML."""
    flat = " ".join(text.split())
    for character in "\\|<>`*[]":
        flat = flat.replace(character, f"\\{character}")
    return flat
