"""Compile the heavy part of an architecture while it trains, by torch.compile."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Failure = Callable[[Exception], None]
"""is told why a part could not be compiled; it runs uncompiled from then on"""


class Compilable(nn.Module):
    """A module whose training passes can be compiled. A subclass computes in `run`, not in `forward`.

    Passes in evaluation are never compiled: leaving out neurons runs many sizes, each a few times. Nor is a pass of a
    single row, for which the compiler would make a version of its own. The number of rows may change otherwise. What
    is None in one call and a tensor in another, such as an attention mask, makes one version of each.

    The compiled form is not copied or saved with the module.
    """

    _compiled: Callable[..., Tensor] | None = None
    _on_failure: Failure | None = None

    def run(self, x: Tensor, *arguments: Any) -> Tensor:
        """Compute."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes.")

    def compile_training(self, on_failure: Failure) -> None:
        """Compile the passes of training, the first of which takes long.

        Args:
            on_failure: called once if there is no working compiler.
        """
        self._compiled, self._on_failure = torch.compile(self.run), on_failure

    def forward(self, x: Tensor, *arguments: Any) -> Tensor:
        """Compute, by the compiled form where there is one for such a pass."""
        if self._compiled is None or not (self.training and torch.is_grad_enabled()) or len(x) == 1:
            return self.run(x, *arguments)
        torch._dynamo.maybe_mark_dynamic(x, 0)
        if self._on_failure is None:
            return self._compiled(x, *arguments)
        try:
            result = self._compiled(x, *arguments)
        # the compilers raise errors of many kinds; one that is not about compiling comes again in the plain pass
        except Exception as error:
            plain, on_failure = self.run(x, *arguments), self._on_failure
            self._compiled = self._on_failure = None
            on_failure(error)
            return plain
        self._on_failure = None
        return result

    def __getstate__(self) -> dict:
        return {k: v for k, v in super().__getstate__().items() if k not in ("_compiled", "_on_failure")}


def compilable_parts(module: nn.Module) -> list[Compilable]:
    """The parts of a module that can be compiled."""
    return [part for part in module.modules() if isinstance(part, Compilable)]
