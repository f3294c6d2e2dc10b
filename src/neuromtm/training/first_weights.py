"""The first weights of sessions that a model does not know yet."""

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.traces import trace_statistics
from neuromtm.models.stitching import StitchedModel


def add_new_sessions(model: StitchedModel, data: SessionDataModule) -> None:
    """Give each session that the model does not know weights of its own, by what its training trials say.

    Args:
        model: it keeps the weights of the sessions that it knows.
        data: the sessions.
    """
    new = [eid for eid in data.sessions if eid not in model.sessions]
    for eid in new:
        model.add_session(data.sessions[eid], data.mean_counts(eid))
    if model.backbone.wants_statistics:
        model.start_from_statistics({eid: data.statistics(eid) for eid in new})
    if model.backbone.behaviors:
        for eid in new:
            model.traces_of(eid).measure(trace_statistics(data, eid, model.backbone.behaviors))
    if new and model.backbone.wants_averages:
        model.start_from_averages({eid: data.trial_average(eid) for eid in new})
