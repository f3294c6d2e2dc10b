"""`ridge`: ridge regression on the visible neurons, in closed form."""

from collections.abc import Iterator, Sequence

import numpy as np

from neuromtm.baselines.regression import GAIN_VARIANCES, Regression, Weights, penalties, solve, spectrum
from neuromtm.baselines.search import from_regression
from neuromtm.baselines.views import Design, Problem


def ridge(design: Design, problems: Sequence[Problem]) -> Iterator[Regression]:
    """Ridge regression, exact for every neuron that is left out (Hoerl and Kennard 1970).

    The noise of a count is taken to be its mean, and a weight is taken as a share of the mean. A neuron that fires
    little is therefore drawn to its trial average more than a neuron that fires much.
    """
    grams = [spectrum(design.gram[np.ix_(p.visible, p.visible)]) for p in problems]
    for gain_variance in GAIN_VARIANCES:
        weights = []
        for problem, gram in zip(problems, grams, strict=True):
            mean = design.mean[problem.hidden]
            right = design.cross[np.ix_(problem.visible, problem.hidden)]
            penalty = penalties(problem, gain_variance=gain_variance)
            # divided by the noise and multiplied by the unit of the shares, which is also the mean
            slope = solve(gram, mean * right, curvature=mean, penalty=penalty, left_out=problem.left_out)
            weights.append(Weights(slope.astype(np.float32)))
        yield Regression({"gain_variance": gain_variance}, weights)


RIDGE = from_regression(ridge)
