"""`glm`: Poisson regression of many neurons at once. It adds weights times features to the trial average's log-rates.

The solver is our own, because scikit-learn's `PoissonRegressor` takes one target at a time: it would read the trials
again for each of hundreds of neurons. A test compares the two.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from einops import rearrange

from neuromtm.baselines.regression import GAIN_VARIANCES, Regression, Weights, penalties, solve, spectrum
from neuromtm.baselines.ridge import ridge
from neuromtm.baselines.search import from_regression
from neuromtm.baselines.views import Design, Problem

MAX_STEPS = 50
TOLERANCE = 1e-4
"""nats per spike; the fit ends after a step that gains less for every neuron"""
HALVINGS = 8
"""how often a step that does not gain is halved before it is given up"""


def poisson(design: Design, problems: Sequence[Problem]) -> Iterator[Regression]:
    """Poisson regression with an L2 penalty. Each candidate has a weaker penalty, and starts from the one before."""
    fits = [_Fit(design, problem) for problem in problems]
    for gain_variance in GAIN_VARIANCES:
        weights = [fit(penalties(fit.problem, gain_variance=gain_variance)) for fit in fits]
        yield Regression({"gain_variance": gain_variance}, weights)


class _Fit:
    """The penalised likelihood of a problem, and its last maximum.

    The cost of a neuron is spikes log(sum of e exp(z w)) - w sum of z x + penalty |w|^2 / 2, up to a constant (e:
    expected by the trial average, z: features, x: counts). The log-rate also has a constant; it always has the value
    that is best for these weights.
    """

    def __init__(self, design: Design, problem: Problem):
        self.problem = problem
        self.features = rearrange(
            design.features[..., problem.visible], "trial position visible -> (trial position) visible"
        )
        counts, expected = design.counts[..., problem.hidden], design.expected[:, problem.hidden]
        self.n_trials, self.expected = len(counts), expected
        visible, hidden = problem.visible, problem.hidden
        # features add up to 0 at every position, so sums with residuals are sums with counts
        self.right = design.cross[np.ix_(visible, hidden)]
        # a neuron without a spike in training gets half a spike, as in the trial average
        self.spikes = np.maximum(counts.sum(axis=(0, 1), dtype=np.float64), 0.5)
        # the likelihood's own curvature if every sample had the mean rate
        self.curvature = self.spikes / (counts.shape[0] * counts.shape[1])
        self.gram = spectrum(design.gram[np.ix_(visible, visible)])
        self.slope = np.zeros((len(visible), len(hidden)))
        self.log_rates = np.zeros((len(self.features), len(hidden)), dtype=np.float32)
        """(sample, hidden) without the constant"""

    def __call__(self, penalty: float) -> Weights:
        """Weights at the maximum under a penalty."""
        active = np.arange(self.slope.shape[1])
        cost = self._cost(self.slope, self.log_rates, penalty, active)
        for _ in range(MAX_STEPS):
            step = self._direction(penalty, active)
            along, moved = self.features @ step.astype(np.float32), np.zeros(len(active))
            size, trying = 1.0, np.arange(len(active))
            for _ in range(HALVINGS):
                tried = active[trying]
                slope = self.slope[:, tried] + size * step[:, trying]
                log_rates = self.log_rates[:, tried] + np.float32(size) * along[:, trying]
                found = self._cost(slope, log_rates, penalty, tried)
                better = found < cost[tried]
                places = tried[better]
                moved[trying[better]] = (cost[tried] - found)[better]
                cost[places] = found[better]
                self.slope[:, places], self.log_rates[:, places] = slope[:, better], log_rates[:, better]
                trying, size = trying[~better], size / 2
                if len(trying) == 0:
                    break
            active = active[moved > TOLERANCE * self.spikes[active]]
            if len(active) == 0:
                break
        constant = np.log(self.spikes / self._totals(self.log_rates, np.arange(self.slope.shape[1])))
        return Weights(self.slope.astype(np.float32), constant.astype(np.float32))

    def _totals(self, log_rates: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """(neuron',) sum over samples of the expected counts, before the constant."""
        with np.errstate(over="ignore"):  # a step that is too long costs infinitely much, and is halved
            gains = self._by_trial(np.exp(log_rates)).sum(axis=0, dtype=np.float64)
        return (gains * self.expected[:, neurons]).sum(axis=0)

    def _by_trial(self, values: np.ndarray) -> np.ndarray:
        return rearrange(values, "(trial position) neuron -> trial position neuron", trial=self.n_trials)

    def _cost(self, slope: np.ndarray, log_rates: np.ndarray, penalty: float, neurons: np.ndarray) -> np.ndarray:
        cost = self.spikes[neurons] * np.log(self._totals(log_rates, neurons))
        return cost - (slope * self.right[:, neurons]).sum(axis=0) + penalty / 2 * np.square(slope).sum(axis=0)

    def _direction(self, penalty: float, neurons: np.ndarray) -> np.ndarray:
        """(visible, neuron') Newton's step if every sample had the mean rate."""
        rates = self._by_trial(np.exp(self.log_rates[:, neurons])) * self.expected[:, neurons]
        rates *= (self.spikes[neurons] / rates.sum(axis=(0, 1), dtype=np.float64)).astype(np.float32)
        rates = rearrange(rates, "trial position neuron -> (trial position) neuron")
        downhill = np.zeros_like(self.slope)
        downhill[:, neurons] = self.right[:, neurons] - self.features.T @ rates - penalty * self.slope[:, neurons]
        step = solve(self.gram, downhill, curvature=self.curvature, penalty=penalty, left_out=self.problem.left_out)
        return step[:, neurons]


POISSON = from_regression(poisson, widths_of=ridge)  # ridge chooses the smoothing: this fit takes far longer
