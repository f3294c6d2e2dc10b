"""ONE reads arrays with pickled objects in them, and to read a pickle is to run what it says. Here none is read."""

from typing import Any

import numpy as np


class PlainNumpy:
    """NumPy, but arrays of Python's objects are refused when they are loaded."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def load(self, *args: Any, **options: Any) -> Any:
        """`numpy.load` of plain arrays.

        Raises:
            ValueError: if an array holds objects.
        """
        return np.load(*args, **(options | {"allow_pickle": False}))


def refuse_pickles() -> None:
    """Let ONE read plain arrays only, from now on. All files of a session that are read here are such."""
    import one.alf.io

    if not isinstance(one.alf.io.np, PlainNumpy):
        setattr(one.alf.io, "np", PlainNumpy())  # noqa: B010 (a module's name has the type of a module)
