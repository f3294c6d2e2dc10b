"""The region of each neuron for BrainWideBench: a linear read-out of the weights that a model has for it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError, DataError
from neuromtm.export.bwb_files import Submission, entity_ids, write_predictions
from neuromtm.models.stitching import StitchedModel, module_key
from neuromtm.training.trained import Trained

REGIONS = ("CB", "CNU", "CTXsp", "HB", "HPF", "HY", "Isocortex", "MB", "OLF", "TH")
"""of the Cosmos atlas, in the benchmark's order"""
READ_REGIONS = ("intra_region", "inter_region")
"""masking schemes that are told where neurons lie"""
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""inverse penalties tried"""
MOST_FOLDS = 5


def embeddings(model: StitchedModel, eid: str) -> np.ndarray:
    """(neuron, feature) the weights by which a model reads each neuron of a session and predicts it.

    Raises:
        ConfigError: if the architecture has no such weights for each neuron.
    """
    stitcher = model.stitchers[module_key(eid)]
    neuron_weights = getattr(stitcher, "neuron_weights", None)
    if not callable(neuron_weights):
        raise ConfigError(
            f"{type(model.backbone).__name__}: its stitchers say no neuron_weights, the weights that a neuron has of "
            "its own. Train NDT1, as conf/bwb/region.yaml does."
        )
    weights = neuron_weights()
    assert isinstance(weights, Tensor)
    return weights.detach().cpu().double().numpy()


def fit_regions(features: np.ndarray, regions: np.ndarray, session: np.ndarray) -> Pipeline:
    """A logistic read-out of the region. Its strength is that of the best mean F1 in sessions that were left out.

    Args:
        features: (neuron, feature) embeddings.
        regions: (neuron,) known regions.
        session: (neuron,) the session of each.

    Raises:
        DataError: if there are fewer than two regions.
    """
    if len(np.unique(regions)) < 2:
        raise DataError(f"the sessions with labels have only the region {np.unique(regions)}: nothing to tell apart.")

    def readout(strength: float) -> Pipeline:
        # the metric weighs all regions alike, and so does the fit
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000))

    n_folds = min(MOST_FOLDS, len(np.unique(session)))
    if n_folds < 2:
        return readout(STRENGTHS[0]).fit(features, regions)
    scores = np.zeros(len(STRENGTHS))
    for train, left_out in GroupKFold(n_folds).split(features, regions, session):
        if len(np.unique(regions[train])) > 1:
            for place, strength in enumerate(STRENGTHS):
                found = readout(strength).fit(features[train], regions[train]).predict(features[left_out])
                scores[place] += f1_score(regions[left_out], found, average="macro", zero_division=0)
    return readout(STRENGTHS[int(scores.argmax())]).fit(features, regions)


def probabilities(readout: Pipeline, features: np.ndarray) -> np.ndarray:
    """(neuron, region) probability of each of `REGIONS`; 0 for one that no labelled neuron lies in."""
    found = np.zeros((len(features), len(REGIONS)))
    found[:, [REGIONS.index(one) for one in readout.classes_]] = readout.predict_proba(features)
    return found


def export_regions(
    trained: Trained, data: SessionDataModule, roles: Mapping[str, str], submission: Submission
) -> list[Path]:
    """Fit the read-out on the sessions for pretraining, predict the neurons of the others, and write them.

    Args:
        trained: a model of all these sessions.
        data: set up, prepared for `unit_cosmos`.
        roles: eid -> its role in the folder.
        submission: where to.

    Raises:
        ConfigError: if the model learned from the regions that it shall predict, or has no weights for each neuron.
        DataError: if there are no sessions with labels, or none without.
    """
    told = [scheme for scheme in trained.record.objective.schemes if scheme in READ_REGIONS]
    if told:
        raise ConfigError(
            f"{trained.name}: was trained with {' and '.join(told)}, which is told where neurons lie, so that it knows "
            "what it is asked. Train with schemes that are not, as conf/bwb/region.yaml does."
        )
    if getattr(trained.model.backbone, "region_embedding", False):
        raise ConfigError(
            f"{trained.name}: reads the regions of its neurons (region_embedding), so that it knows what it is asked. "
            "Train with region_embedding false."
        )
    labelled = [eid for eid in data.sessions if roles[eid] == "pretrain"]
    asked = [eid for eid in data.sessions if roles[eid] == "heldout"]
    if not labelled or not asked:
        raise DataError(
            f"{trained.name}: knows {len(labelled)} sessions for pretraining, whose regions are learned, and "
            f"{len(asked)} for evaluation. It needs both: train with --data.role all."
        )
    parts = [(embeddings(trained.model, eid), np.array(data.sessions[eid].regions), eid) for eid in labelled]
    known = [np.isin(regions, REGIONS) for _, regions, _ in parts]
    readout = fit_regions(
        np.concatenate([own[there] for (own, _, _), there in zip(parts, known, strict=True)]),
        np.concatenate([regions[there] for (_, regions, _), there in zip(parts, known, strict=True)]),
        np.concatenate([np.full(there.sum(), eid) for (_, _, eid), there in zip(parts, known, strict=True)]),
    )
    found = np.concatenate([probabilities(readout, embeddings(trained.model, eid)) for eid in asked])
    if not np.isfinite(found).all():
        raise DataError(f"{trained.name}: some probabilities are not finite. The training diverged.")
    ids = [f"{eid}/{unit}" for eid in asked for unit in data.sessions[eid].neurons]
    header = data.headers[asked[0]]
    tensors = {"pred_proba": torch.from_numpy(found).float(), "entity_ids": entity_ids(ids)}
    about = {name: header.attributes[name] for name in ("unit_filtering", "dataset_version")}
    further = {"label_names": ",".join(REGIONS), **about}
    return [write_predictions(submission, "ts3-unit_cosmos", tensors, further=further)]
