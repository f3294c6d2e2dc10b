"""What each number of a test means, in a sentence or two; docs/evaluation.md has the formulas and sources."""

METRICS = {
    "co_smoothing_bps": "Co-smoothing, in bits per spike: one neuron at a time is hidden and predicted from all "
    "others. 0 is the prediction of the neuron's own mean rate, below 0 is worse than that. At b bits per spike the "
    "counts are more likely than under the mean rate by a factor of 2 to the power of b for each spike.",
    "forward_prediction_bps": "Forward prediction, in bits per spike: the last tenth of every trial is hidden for all "
    "neurons and predicted from the rest. The mean rate it is held against is that of these very bins.",
    "intra_region_bps": "Intra-region, in bits per spike: one neuron at a time is predicted from the other neurons of "
    "its region alone.",
    "inter_region_bps": "Inter-region, in bits per spike: a whole region at a time is predicted from all others.",
}
"""key of metrics.json -> what it means"""

_LOW_RANK = (
    "of a read-out of raw counts of low rank, of the session alone or with the time courses that all sessions share, "
    "whichever is better on validation. Where the model is no better, its read-out gives nothing that counts do not."
)
BEHAVIOR = {
    "accuracy": "Share of the test trials whose class (choice, block, ...) is decoded right. A linear read-out reads "
    "predicted rates or hidden states, under the prompt that is best on validation.",
    "balanced_accuracy": "The same, as the mean over the classes of the share that is right among the trials of each. "
    "Always naming one class gives 1 / (number of classes), however frequent it is.",
    "r2": "Share of the variance of a trace that is decoded likewise, over all test trials and bins.",
    "chance": "What needs no neurons: for classes, the accuracy of always naming the class that is most frequent in "
    "the training trials; for a trace, the R2 of the training trials' average, the usual course of a trial.",
    "accuracy_counts": "Accuracy of the same linear read-out of raw spike counts, smoothed as is best on validation.",
    "accuracy_rrr": f"Accuracy {_LOW_RANK}",
    "r2_counts": "R2 of the same linear read-out of raw spike counts, smoothed as is best on validation.",
    "r2_rrr": f"R2 {_LOW_RANK}",
}
"""metric of a behaviour in metrics.json, `<behaviour>_<metric>` -> what it means"""

DECODER = {
    "what": "A decoder predicts one behaviour from the spikes of a trial. It sees the whole trial, and nothing is "
    "hidden from it. It is a model with a linear head on its hidden states, trained to give the behaviour itself: "
    "classes by cross-entropy, numbers and traces by squared error.",
    "tuned": "This one decodes {target}. Training started from {pretrained} and changed the model beneath the head "
    "too.",
    "frozen": "This one decodes {target}. It trained the head alone; the model of {pretrained} beneath it is held "
    "fixed.",
    "scratch": "This one decodes {target}. Its model was trained from scratch, together with the head.",
    "one_head": "All sessions share one head.",
    "own_heads": "Each session has a head of its own.",
    "accuracy": "Share of the test trials whose class is decoded right.",
    "balanced_accuracy": BEHAVIOR["balanced_accuracy"],
    "r2": "Share of the variance of the trace that is decoded, over all test trials and bins.",
    "chance": BEHAVIOR["chance"],
    "plot": "The decoder beside chance, which needs no neurons.",
    "scores": "Trials and bins without a known value of the behaviour are left out, and counted in the last column.",
    "loss_accuracy": "cross-entropy (nats per trial)",
    "loss_r2": "squared error (in variances of the behaviour)",
    "curves": "Loss on the training and validation trials, and the score of the validation trials beside chance.",
}
"""part of a decoder's page -> what to know of it"""

STATISTICS = {
    "r2": "Single-trial R2 of the co-smoothing rates: share of the variance of the counts, bin by bin. It is small "
    "even for the true rates, since most of the variance of single bins is chance.",
    "deviance_explained": "Share of the Poisson deviance that the co-smoothing rates explain: 0 the mean rate, 1 the "
    "counts themselves. Like R2 it stays far below 1 even for the true rates.",
    "psth_r2": "R2 of the co-smoothing rates' averages by condition (choice and side of the stimulus). It asks for "
    "the average course of a condition only, not for what differs between its trials.",
    "firing_rate_hz": "Spikes per second in the test trials.",
}
"""column of neurons.csv that is not in metrics.json -> what it means"""

PAGE = {
    "summary": "Bits per spike of the spikes that were hidden and predicted. 0 is a prediction that knows only how "
    "often each neuron fires; to the right is better.",
    "no_baseline": "Only chance is shown. To see a simple baseline beside it:",
    "baseline": "Of the simple baselines given, the one with the highest mean is shown in each task. The difference is "
    "this run minus the baseline, over the neurons that both score.",
    "ceiling": "These sessions are simulated, so the best prediction there can be is known. The ceiling is what the "
    "true rates score on the same trials. The share of the ceiling is the mean over sessions of this run divided by "
    "that of the ceiling, over the neurons that both score.",
    "glance": "Better and worse mean that the 95 % interval of the difference does not hold 0; level means that it "
    "does.",
    "share": "For those who are new to bits per spike. Share of the spikes explained: 0 % is a model that knows only "
    "how often each neuron fires, 100 % one that names every spike in advance. It is each neuron's bits per spike "
    "divided by those of its counts themselves, averaged over neurons. It stays low for the best model there can be, "
    "since most single spikes are chance.",
    "behaviour": "Test scores of linear read-outs, of what was chosen on validation; behavior.csv has all that were "
    "tried. The columns of counts are read-outs of the raw spikes without any model.",
    "behavior.png": "Behaviour decoded from the model, from raw counts, and by chance.",
    "no_behaviour": "No behaviour was decoded: the data has none, or none that could be learned.",
    "no_pictures": "There is no figures/ in this folder. A test of a model draws the pictures.",
    "scores": "A session's bits per spike are the mean over its neurons that have a spike in the scored bins; chance "
    "levels are in brackets. The interval is a bootstrap over sessions, given for five sessions or more; of few it "
    "is too narrow.",
    "absent": "Not scored, because the data has no such label or no neuron that the task could score: ",
    "neurons": "The spread over all neurons of all sessions that have the metric.",
    "regions": "Mean over neurons in bits per spike, with its 95 % interval by bootstrap over neurons where there are "
    "five or more. It says how much depends on which neurons were recorded, and nothing of other animals.",
    "curves": "Loss of the masked entries and bits per spike of the validation trials while training. Validation "
    "leaves out a few neurons only, so its bits per spike are not those of the test.",
    "regions.png": "Mean bits per spike of each region's neurons, with its 95 % interval.",
    "scores.png": "The spread over neurons in each task, and by region.",
    "rates.png": "Bits per spike against firing rate: a score of few spikes is a noisy one.",
    "session.png": "One test trial: counts beside the rates that each task predicts.",
    "session.task.png": "A good, a typical and a bad neuron, taken by their rank in {task}: every test trial, what was "
    "predicted of it while it was hidden, and the averages by condition.",
    "connectivity.png": "Functional connectivity, mean over sessions: each pair over those that have both regions.",
    "session.connectivity.png": "Functional connectivity: bits per spike of each region (column) when one other (row) "
    "is all that the model sees, and what that is more than when it sees nothing. Prediction is no proof of a "
    "connection, and of two regions that share activity each predicts the other, whoever drives.",
}
"""part of the page -> what to know of it"""
