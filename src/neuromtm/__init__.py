"""Multi-task masked pretraining of foundation models of spiking neural activity.

The Python interface: `load` opens a trained model, `Model` predicts, embeds, scores, adapts and saves, `Sessions` are
the sessions of a folder as arrays. Each is imported when it is first used, so that `import neuromtm` costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuromtm.api.loading import load as load
    from neuromtm.api.model import Model as Model
    from neuromtm.api.sessions import Session as Session
    from neuromtm.api.sessions import Sessions as Sessions
    from neuromtm.errors import UserError as UserError

__version__ = "0.1.0"

_PLACES = {
    "Model": "neuromtm.api.model",
    "Session": "neuromtm.api.sessions",
    "Sessions": "neuromtm.api.sessions",
    "UserError": "neuromtm.errors",
    "load": "neuromtm.api.loading",
}
"""public name -> its module"""


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'neuromtm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
