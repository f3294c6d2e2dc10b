"""The curves of a training are drawn as they were logged."""

import numpy as np

from neuromtm.plots.curves import curves_plot

LABELS = {"loss": "loss (nats)", "score": "bits per spike", "scores": {"val/inter_region_bps": "inter"}}


def test_curves_of_a_test_alone_are_no_curves_of_a_training():
    assert curves_plot({"test/co_smoothing_bps": np.array([[3.0, 0.2]])}, **LABELS) is None


def test_losses_stand_on_the_left_and_bits_per_spike_on_the_right():
    scalars = {
        "train/loss": np.stack([np.arange(60.0), np.linspace(2, 1, 60)], axis=1),
        "val/loss": np.array([[3.0, 0.2], [4.0, 0.1]]),
        "val/inter_region_bps": np.array([[4.0, 0.3]]),
        "throughput/trials_per_s": np.array([[4.0, 9.0]]),
    }
    losses, bps = curves_plot(scalars, **LABELS).axes
    assert [line.get_label() for line in losses.lines] == ["training", "validation"]
    assert losses.lines[1].get_xdata().tolist() == [3, 4]
    assert losses.lines[1].get_ydata().tolist() == [0.2, 0.1]
    assert [(line.get_label(), line.get_ydata().tolist()) for line in bps.lines] == [("inter", [0.3])]
    assert (losses.get_ylabel(), bps.get_ylabel()) == ("loss (nats)", "bits per spike")


def test_there_is_no_empty_panel_and_chance_stands_behind():
    scores = {"val/choice_accuracy": "decoder", "val/choice_chance": "chance"}
    points = np.array([[3.0, 0.2], [4.0, 0.1]])
    (axes,) = curves_plot({"val/loss": points}, loss="cross-entropy", score="accuracy", scores=scores).axes
    assert axes.get_ylabel() == "cross-entropy"
    scalars = dict.fromkeys(scores, points)
    (axes,) = curves_plot(scalars, loss="cross-entropy", score="accuracy", scores=scores).axes
    assert [(line.get_label(), line.get_linestyle()) for line in axes.lines] == [("decoder", "-"), ("chance", "--")]
