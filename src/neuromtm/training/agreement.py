"""Whether an architecture can be trained with an objective."""

from neuromtm.errors import ConfigError
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import uses_behavior
from neuromtm.models.interface import Backbone


def require_agreement(backbone: Backbone, objective: Objective) -> None:
    """Refuse masking that does not fit the architecture.

    Raises:
        ConfigError: if tokens would be hidden in parts, or a scheme needs behaviour and the architecture reads none.
    """
    size = backbone.neurons_per_token
    if "random_token" in objective.schemes and size not in (None, objective.neurons_per_token):
        raise ConfigError(
            f"model.objective.neurons_per_token is {objective.neurons_per_token}, but a token of model.backbone has "
            f"{size} neurons: random_token would hide parts of tokens. Leave model.objective.neurons_per_token out."
        )
    schemes = [scheme for scheme in objective.schemes if uses_behavior(scheme)]
    if schemes and not backbone.behaviors:
        name = type(backbone).__name__
        mend = (
            "Name traces of the shards by model.backbone.init_args.behaviors"
            if "behaviors" in backbone.options
            else f"{name} cannot; NDT1 can"
        )
        raise ConfigError(
            f"model.objective.schemes has {' and '.join(schemes)}, but model.backbone, {name}, reads no behaviour. "
            f"{mend}, or leave these schemes out."
        )
