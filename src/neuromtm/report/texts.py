"""What each number of a test means, in a few sentences. docs/evaluation.md has the formulas and sources."""

from neuromtm.metrics.behavior import FURTHER_METRICS
from neuromtm.metrics.neurons import NEURON_METRICS

METRICS = {
    "co_smoothing_bps": "Co-smoothing, in bits per spike: one neuron at a time is hidden and predicted from all "
    "others. The neuron's own mean rate scores 0, and a score below 0 is worse than the mean rate. At b bits per spike "
    "the counts are more likely than under the mean rate, by a factor of 2 to the power of b for each spike.",
    "forward_prediction_bps": "Forward prediction, in bits per spike: the last tenth of every trial is hidden for all "
    "neurons and predicted from the rest. The prediction is compared with the mean rate in the same bins.",
    "intra_region_bps": "Intra-region, in bits per spike: one neuron at a time is predicted from the other neurons of "
    "its region alone.",
    "inter_region_bps": "Inter-region, in bits per spike: a whole region at a time is predicted from all others.",
}
"""key of metrics.json -> what it means"""
ENCODING = (
    "Encoding, in bits per spike: all neurons are hidden, and predicted from behaviour alone. Only a model that reads "
    "behaviour as further channels has this metric."
)
"""what `encoding_bps` means"""

_LOW_RANK = (
    "of a read-out of low rank from raw counts, fitted to the session alone or with time courses that all sessions "
    "share. The better of the two on validation is taken. If the model is no better than this, its read-out tells "
    "nothing that the raw counts do not tell."
)
_FURTHER = {name: metric.meaning for name, metric in FURTHER_METRICS.items()}
BEHAVIOR = {
    "accuracy": "Share of the test trials whose class (choice, block, ...) is decoded right. A linear read-out reads "
    "predicted rates or hidden states, under the prompt that is best on validation.",
    **_FURTHER,
    "r2": "Share of the variance of a trace that the linear read-out decodes, over all test trials and bins.",
    "chance": "Score of a guess without neurons. For classes it is the accuracy if the most frequent class of the "
    "training trials is always named. For a trace it is the R2 of the training trials' average.",
    "accuracy_counts": "Accuracy of the same linear read-out of raw spike counts, with the smoothing that is best on "
    "validation.",
    "accuracy_rrr": f"Accuracy {_LOW_RANK}",
    "r2_counts": "R2 of the same linear read-out of raw spike counts, with the smoothing that is best on validation.",
    "r2_rrr": f"R2 {_LOW_RANK}",
    "r2_own": "R2 of the model's own prediction of the trace. The model reads behaviour as further channels and was "
    "trained to predict it from the neurons; here behaviour is hidden from it. No read-out is fitted.",
}
"""metric of a behaviour in metrics.json, `<behaviour>_<metric>` -> what it means"""

DECODER = {
    "what": "A decoder predicts one behaviour from the spikes of a trial. It sees the whole trial, and nothing is "
    "hidden from it. It is a model with a linear head on its hidden states, trained to give the behaviour itself: "
    "classes by cross-entropy, numbers and traces by squared error.",
    "tuned": "This one decodes {target}. Training started from {pretrained} and changed the model beneath the head "
    "too.",
    "frozen": "This one decodes {target}. Only the head was trained; the model of {pretrained} beneath it stayed "
    "fixed.",
    "scratch": "This one decodes {target}. Its model was trained from scratch, together with the head.",
    "one_head": "All sessions share one head.",
    "own_heads": "Each session has a head of its own.",
    "accuracy": "Share of the test trials whose class is decoded right.",
    **_FURTHER,
    "r2": "Share of the variance of the trace that is decoded, over all test trials and bins.",
    "chance": BEHAVIOR["chance"],
    "plot": "The decoder beside chance, which needs no neurons.",
    "scores": "Trials and bins without a known value of the behaviour are left out, and counted in the last column.",
    "loss_accuracy": "cross-entropy (nats per trial)",
    "loss_r2": "squared error (in variances of the behaviour)",
    "curves": "Loss on the training and validation trials, and the score of the validation trials beside chance.",
}
"""part of a decoder's page -> its text"""

STATISTICS = {
    **{name: metric.meaning for name, metric in NEURON_METRICS.items()},
    "psth_r2": "R2 of the co-smoothing rates' averages by condition (choice and side of the stimulus). It measures "
    "the average course of a condition only, not the differences between its trials.",
    "firing_rate_hz": "Spikes per second in the test trials.",
}
"""column of neurons.csv that is not in metrics.json -> what it means"""

PAGE = {
    "nothing_stands_out": "no windows of two splits share time, no neuron is silent or likely there twice, rates stay "
    "as they are, and every session has trials of each kind.",
    "summary": "Bits per spike of the spikes that were hidden and predicted. A prediction that knows only how often "
    "each neuron fires scores 0; further to the right is better.",
    "no_baseline": "Only chance is shown. To see a simple baseline beside it:",
    "baseline": "Of the simple baselines given, the one with the highest mean is shown in each task. The difference is "
    "this run minus the baseline, over the neurons that both score.",
    "ceiling": "These sessions are simulated, so the best possible prediction is known. The ceiling is the score of "
    "the true rates on the same trials. The share of the ceiling is this run's mean over sessions divided by the "
    "ceiling's, over the neurons that both score.",
    "glance": "Better and worse mean that 0 is outside the 95 % interval of the difference; level means that 0 is "
    "inside.",
    "share": "For readers who are new to bits per spike. A model that knows only how often each neuron fires explains "
    "0 % of the spikes. A model that names every spike in advance explains 100 %. The share is each neuron's bits per "
    "spike divided by the bits per spike of its counts themselves, averaged over neurons. It stays low even for the "
    "best possible model, because most single spikes are chance.",
    "behaviour": "Test scores of the linear read-outs that were chosen on validation; behavior.csv has all read-outs "
    "that were tried. The columns of counts are read-outs of the raw spikes without any model.",
    "behavior.png": "Behaviour decoded from the model and from raw counts, beside chance.",
    "no_behaviour": "No behaviour was decoded: the data has none, or none that could be learned.",
    "no_pictures": "There is no figures/ in this folder. A test of a model draws the pictures.",
    "scores": "A session's bits per spike are the mean over its neurons that have a spike in the scored bins. Chance "
    "levels are in brackets. The interval is over animals if there are five or more, else over sessions, if there are "
    "five or more.",
    "absent": "Not scored, because the data has no such label or no neuron that the task could score: ",
    "neurons": "The spread of each metric over the neurons of all sessions that have it.",
    "regions": "Mean over neurons in bits per spike, with its 95 % interval by bootstrap over neurons if there are "
    "five or more. The interval says how much depends on which neurons were recorded, and nothing about other animals.",
    "curves": "Loss of the masked entries and bits per spike of the validation trials, during training. Validation "
    "leaves out a few neurons only, so its bits per spike differ from those of the test.",
    "regions.png": "Mean bits per spike of each region's neurons, with its 95 % interval.",
    "scores.png": "The spread over neurons in each task, and by region.",
    "rates.png": "Bits per spike against firing rate. A score from few spikes is noisy.",
    "session.png": "One test trial: counts beside the rates that each task predicts.",
    "session.task.png": "A good, a typical and a bad neuron, chosen by their rank in {task}: the spikes of every "
    "test trial, the rates predicted while the neuron was hidden, and the averages by condition.",
    "connectivity.png": "Functional connectivity: each pair is a mean over the sessions that have both regions.",
    "session.connectivity.png": "Functional connectivity: bits per spike of each region (column) if the model sees "
    "only one other region (row), and the gain over seeing nothing. Prediction is no proof of a connection. Two "
    "regions that share activity predict each other, whichever region drives the other.",
}
"""part of the page -> its text"""
