"""A small recording with everything that a source can hold, made without any file."""

from dataclasses import replace

import numpy as np

from data_prep.recording import WHISKER, Recording, SortedNeurons, Trace, TrialTable

LAB, SUBJECT, SESSION = "mylab", "mouse1", "2020-01-01_001"
N_NEURONS, N_TRIALS, END_S = 12, 40, 200.0
HOLE_S = (101.0, 115.0)
"""the recording was off; some trials lie in it, one reaches into it"""
OVERLAPPING = (8, 9)
"""rows of two trials that share time"""


def make_brain(*, with_splits: bool = False) -> Recording:
    """Two probes in two regions, 40 trials of which two overlap, two traces, a hole in the recording.

    Args:
        with_splits: whether the source gives splits.
    """
    rng = np.random.default_rng(0)
    onset_s = 5 + 4.75 * np.arange(N_TRIALS)
    onset_s[OVERLAPPING[1]] = onset_s[OVERLAPPING[0]] + 0.5
    rate_hz = rng.uniform(8, 20, N_NEURONS)
    n_spikes = rng.poisson(rate_hz * END_S)
    times_s = np.round(rng.uniform(0, END_S, n_spikes.sum()), 6)
    neuron = np.arange(N_NEURONS).repeat(n_spikes)
    on = (times_s < HOLE_S[0]) | (times_s > HOLE_S[1])
    times_s, neuron = times_s[on], neuron[on]
    order = np.argsort(times_s, kind="stable")
    second = np.arange(N_NEURONS) >= N_NEURONS // 2
    clock_s = np.arange(0, END_S, 0.02)
    side = rng.choice([-1.0, 1.0], N_TRIALS)
    return Recording(
        eid=f"{LAB}_{SUBJECT}_{SESSION}",
        subject=SUBJECT,
        lab=LAB,
        source="test",
        spike_times_s=times_s[order],
        spike_neuron=neuron[order],
        neurons=SortedNeurons(
            uuid=np.array([f"neuron-{n}" for n in range(N_NEURONS)]),
            region=np.where(second, "VISp", "CA1"),
            probe=np.where(second, "probe01", "probe00"),
            label=rng.choice([1 / 3, 2 / 3, 1.0], N_NEURONS),
            depth_um=100.0 * np.arange(1, N_NEURONS + 1),
            heldout=np.arange(N_NEURONS) == 5,
        ),
        trials=TrialTable(
            stimulus_onset_s=onset_s,
            go_cue_s=onset_s + 0.01,
            first_movement_s=onset_s + np.where(np.arange(N_TRIALS) == 3, 5.0, 0.25),  # one is too slow
            feedback_s=onset_s + 0.5,
            choice=rng.choice([-1.0, 1.0], N_TRIALS),
            feedback_type=rng.choice([-1.0, 1.0], N_TRIALS),
            contrast_left=np.where(side < 0, 0.5, np.nan),
            contrast_right=np.where(side > 0, 1.0, np.nan),
            block=np.full(N_TRIALS, 0.5),
            columns={"tone_time": np.where(np.arange(N_TRIALS) == 6, np.nan, onset_s + 0.1)},
            split=np.resize(["train", "train", "val", "train", "test", ""], N_TRIALS) if with_splits else None,
        ),
        traces={
            WHISKER: Trace(times_s=clock_s, values=np.sin(clock_s)),
            "wheel_speed": Trace(times_s=clock_s, values=np.cos(clock_s)),
        },
        observed_s=np.array([[0.0, HOLE_S[0]], [HOLE_S[1], END_S]]),
    )


def with_times_times(recording: Recording, factor: float) -> Recording:
    """The same recording with its spike times in another unit, and nothing else."""
    return replace(recording, spike_times_s=recording.spike_times_s * factor, observed_s=None)
