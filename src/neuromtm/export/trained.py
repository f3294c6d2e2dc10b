"""The sessions that a run is asked about: what every kind of export begins with."""

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import DataError
from neuromtm.training.trained import Trained


def require_same_sessions(trained: Trained, data: SessionDataModule) -> None:
    """Refuse data that the model was not trained on: other sessions, neurons in another order, other bins.

    Args:
        trained: the model.
        data: set up.

    Raises:
        DataError: if a session or its neurons are not the model's.
        CheckpointError: if the bins have another width.
    """
    trained.record.require_bin_size(data.bin_size_s, name=trained.name)
    known = trained.model.sessions
    for eid, session in data.sessions.items():
        if eid not in known:
            raise DataError(f"{trained.name}: does not know the session {eid}; it knows {', '.join(known)}.")
        if known[eid].neurons != session.neurons:
            raise DataError(
                f"{data.path(eid)}: its neurons, or their order, are not those of {trained.name}. Take the data that "
                "the model was trained on."
            )
