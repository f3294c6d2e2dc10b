"""Whether an architecture can be trained with an objective, and whether each option of the two has an effect."""

from neuromtm.batch import Scheme
from neuromtm.errors import ConfigError
from neuromtm.masking.objective import NEURONS_PER_TOKEN, Objective
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


def require_effects(backbone: Backbone, objective: Objective, *, new: bool) -> None:
    """Refuse options that would change nothing, because the scheme that reads them is not drawn.

    Ratios of schemes that are not drawn are allowed, and so is what is on by default.

    Args:
        backbone: the architecture.
        objective: as the user gave it, with the tokens of the architecture.
        new: whether the user chose the architecture, too, and not a checkpoint.

    Raises:
        ConfigError: if there is such an option.
    """
    tokens = objective.neurons_per_token not in (None, backbone.neurons_per_token or NEURONS_PER_TOKEN)
    set_for: list[tuple[str, object, bool, tuple[Scheme, ...]]] = [
        ("behavior_weight", objective.behavior_weight, objective.behavior_weight != 1, ("decoding",)),
        ("trailing_blocks", objective.trailing_blocks, objective.trailing_blocks > 0, ("causal", "heldout")),
        ("region_dropout", objective.region_dropout, objective.region_dropout > 0, ("inter_region",)),
        ("neurons_per_token", objective.neurons_per_token, tokens, ("random_token",)),
    ]
    problems = [
        f"{option} is {value}, which only the scheme {' or '.join(readers)} reads."
        for option, value, given, readers in set_for
        if given and not {*readers} & {*objective.schemes}
    ]
    if problems:
        raise ConfigError(
            f"model.objective: {' '.join(problems)} Add the scheme to model.objective.schemes, which has "
            f"{', '.join(objective.schemes)}, or leave the option out."
        )
    if new and backbone.behaviors and not any(uses_behavior(scheme) for scheme in objective.schemes):
        raise ConfigError(
            f"model.backbone reads behaviour ({', '.join(backbone.behaviors)}), but no scheme shows or scores it. Add "
            "encoding or decoding to model.objective.schemes, or leave model.backbone.init_args.behaviors out."
        )
