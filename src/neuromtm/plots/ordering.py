"""The order of neurons in a raster: region by region, and within a region similar neurons side by side.

Neurons are similar if their smoothed counts are correlated over many trials. An order taken from the shown trial alone
would follow the chance in that trial. `Rastermap` (Stringer et al. 2025) makes the order if it is asked for and its
package is installed. Otherwise the order is that of the leaves of a hierarchical clustering, whose branches are turned
so that neighbours are as similar as the tree allows (Bar-Joseph et al. 2001).
"""

import logging
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from einops import rearrange
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from neuromtm.plots.style import SMOOTHING_S
from neuromtm.smoothing import smooth

MOST_TO_TURN = 500
"""neurons of a region; if there are more, branches are not turned: the time grows with the cube of their number"""

FEWEST_FOR_RASTERMAP = 10
"""neurons that vary; fewer have too few principal components, to which Rastermap reduces them"""

MOST_CLUSTERS = 40
"""clusters of Rastermap: so many take seconds, and 74 took minutes"""


class NeuronOrder(NamedTuple):
    """The order of a session's neurons in a raster."""

    places: np.ndarray
    """(neuron,) their places in the session, from top to bottom"""
    how: str
    """how the order was made, for a caption"""


def neuron_order(
    counts: np.ndarray, regions: Sequence[str], *, bin_size_s: float, rastermap: bool = False
) -> NeuronOrder:
    """Order neurons by region, in alphabetical order; within a region similar ones side by side, constant ones last.

    Args:
        counts: (trial, bin, neuron) spikes per bin of the trials in which similarity is measured.
        regions: acronym of each neuron.
        bin_size_s: width of a bin.
        rastermap: whether to use Rastermap if it is installed. It takes seconds, and its very first import takes a
            minute.
    """
    smoothed = smooth(np.asarray(counts, np.float64), width_s=SMOOTHING_S, bin_size_s=bin_size_s)
    activity = rearrange(smoothed, "trial bin neuron -> (trial bin) neuron")
    varies = activity.std(axis=0) > 1e-9
    standard = (activity - activity.mean(axis=0)) / np.where(varies, activity.std(axis=0), 1)
    names, trials = np.asarray(regions), f"{len(counts)} trial{'s' * (len(counts) != 1)}"
    rank, how = None, f"ordered by a clustering of their correlations over {trials}"
    if rastermap and varies.sum() >= FEWEST_FOR_RASTERMAP and find_spec("rastermap") is not None:
        # one map is made of the session; each region keeps its part of the order
        rank, how = np.zeros(len(names), np.int64), f"ordered by Rastermap over {trials}"
        rank[varies] = np.argsort(rastermap_order(standard[:, varies]))
    places = []
    for name in sorted(set(regions)):
        own, silent = np.flatnonzero((names == name) & varies), np.flatnonzero((names == name) & ~varies)
        order = leaf_order(standard[:, own]) if rank is None else np.argsort(rank[own])
        places += [own[order], silent]
    return NeuronOrder(np.concatenate(places), how)


def leaf_order(standard: np.ndarray) -> np.ndarray:
    """(neuron,) the neurons in the order of the leaves of their average-linkage tree.

    Args:
        standard: (sample, neuron) activity of mean 0 and variance 1.
    """
    n_neurons = standard.shape[1]
    if n_neurons < 3:
        return np.arange(n_neurons)
    distance = np.clip(1 - standard.T @ standard / len(standard), 0, 2)
    np.fill_diagonal(distance, 0)
    pairs = squareform(distance, checks=False)
    tree = linkage(pairs, "average")
    return leaves_list(optimal_leaf_ordering(tree, pairs) if n_neurons <= MOST_TO_TURN else tree)


def rastermap_order(standard: np.ndarray) -> np.ndarray:
    """(neuron,) places of the neurons along their one-dimensional map.

    Args:
        standard: (sample, neuron) activity of mean 0 and variance 1.
    """
    from rastermap import Rastermap

    n_neurons = standard.shape[1]
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    model = Rastermap(
        n_clusters=min(MOST_CLUSTERS, n_neurons - 1), n_PCs=min(64, n_neurons - 1), normalize=False, verbose=False
    )
    root.handlers, root.level = handlers, level  # the constructor changes the logging of the whole process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for few neurons it warns that it sorts without clusters
        return np.asarray(model.fit(standard.T.astype(np.float32)).isort)
