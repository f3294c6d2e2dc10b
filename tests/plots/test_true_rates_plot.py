"""The plot of true rates shows every neuron, trial and variable there is."""

import numpy as np
import pytest

from neuromtm.plots.true_rates import Latents, true_rates_plot


@pytest.mark.parametrize("n_latents", [0, 1, 3])
@pytest.mark.parametrize(("n_trials", "n_neurons"), [(1, 1), (2, 3), (9, 9)])
def test_the_plot_shows_every_neuron_and_trial_there_is(n_trials, n_neurons, n_latents):
    generator = np.random.default_rng(0)
    true = generator.gamma(2.0, size=(n_trials, 10, n_neurons))
    values = generator.normal(size=(n_trials, 10, n_latents))
    latents = Latents([*"xyz"][:n_latents], values, values, np.full(n_latents, 0.75))
    figure = true_rates_plot(
        eid="a",
        true=true,
        predicted=2 * true,
        counts=generator.poisson(true),
        neuron_r2=np.where(np.arange(n_neurons) == 0, np.nan, np.linspace(0, 1, n_neurons)),
        r2=0.5,
        bin_size_s=0.01,
        latents=latents if n_latents else None,
    )
    figure.canvas.draw()
    n_columns = 1 if n_trials < 4 else 3
    assert len(figure.axes) == n_columns * (min(n_neurons, 4) + bool(n_latents))
    first, best = figure.axes[0], n_neurons - 1
    assert first.get_ylabel().startswith(f"neuron {best}\n")
    shown = true[1 if n_trials > 1 else 0, :, best] / 0.01
    np.testing.assert_allclose(first.lines[0].get_ydata(), shown)
    np.testing.assert_allclose(first.lines[1].get_ydata(), 2 * shown)
    assert figure.get_suptitle().startswith("a: R2 of the rates 0.500" + ", of the variables 0.750" * bool(n_latents))
