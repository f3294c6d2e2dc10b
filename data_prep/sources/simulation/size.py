"""How much a simulation takes, known before anything is made."""

from data_prep.options import PrepareOptions
from neuromtm.data.host_memory import free_host_memory, size_text
from neuromtm.errors import ConfigError

BYTES_PER_ENTRY = 40
"""of a session's rates and counts, while they are made"""
BYTES_PER_SESSION = 500
"""of the list of sessions"""
SIGNALS_PER_REGION = 20
"""of the regions, each as large as a neuron's rates"""


def require_room(
    options: PrepareOptions, *, n_sessions: int, n_trials: int, n_neurons: int, n_regions: int = 0
) -> None:
    """Refuse a simulation of which a session does not fit into memory.

    Args:
        options: window and bins.
        n_sessions: sessions; they are made one after the other.
        n_trials: trials in one.
        n_neurons: neurons in one.
        n_regions: regions whose signals are made first.

    Raises:
        ConfigError: saying what it would take.
    """
    entries = n_trials * options.n_bins * (n_neurons + SIGNALS_PER_REGION * n_regions)
    needed, free = BYTES_PER_ENTRY * entries + BYTES_PER_SESSION * n_sessions, free_host_memory()
    if needed > free:
        raise ConfigError(
            f"Sessions (of which there are {n_sessions}) of {n_trials} trials, {options.n_bins} bins and {n_neurons} "
            f"neurons take {size_text(needed)} of memory while they are simulated, but {size_text(free)} are free. "
            "Choose fewer of them, wider bins or a narrower window."
        )
