"""Networks that differ from the full one in one thing, for the ablations (specification sections 2.7 and 8)."""

from dataclasses import dataclass, replace
from typing import Any

from tenfold.core.errors import UsageError
from tenfold.core.params import did_you_mean
from tenfold.motion_tracking import columns, config

CHANGES: dict[str, dict[str, Any]] = {
    "reference": {},  # the full network with as many steps as the variants have
    "one_lstm": {"tokens": "one", "spatial": "none"},
    "one_transformer": {"tokens": "one", "spatial": "none", "temporal": "transformer_window"},
    "gru": {"temporal": "gru"},
    "transformer_window": {"temporal": "transformer_window"},
    "no_time": {"temporal": "none"},
    "no_attention": {"spatial": "none"},
    "no_hand_in_head": {"hand_in_head": False},
    "no_skip": {"skip": "none"},
    "no_poles": {"poles": 0},
    "no_canonical": {"canonical": "none"},
    "shape_zero": {"shape": "zero"},
    **{f"only_{name}": {"sensor_sets": [name]} for name in columns.MASKS},
    **{f"no_{name}_loss": {} for name in ("acceleration", "shape", "global")},
}


@dataclass(frozen=True)
class Variant:
    """A variant's name ("" for the full network), its block and its gradient steps (0: as many as its epochs have)."""

    name: str
    block: config.Model
    steps: int


def parse(name: str, block: config.Model) -> Variant:
    """The variant of that name. Raises UsageError for one that does not exist."""
    if not name:
        return Variant("", block, 0)
    if name not in CHANGES:
        raise UsageError(f"model.variants: there is no variant {name!r}{did_you_mean(name, CHANGES)}")
    changed = replace(block, **CHANGES[name])
    steps = block.variant_steps
    dropped = [loss for loss in ("acceleration", "shape", "global") if name == f"no_{loss}_loss"]
    if name == "shape_zero":
        dropped = ["shape", "bone"]
    if dropped:
        changed = replace(changed, loss_weights={loss: 0.0 if loss in dropped else weight for loss, weight in block.loss_weights.items()})
    if name.startswith("one_"):
        changed = replace(changed, hidden=_equal_hidden(block, changed))
    if name.startswith("only_"):
        # as many windows of its sensor set as the unified network sees of it
        steps = -(-steps // len(block.sensor_sets))
    return Variant(name, changed, steps)


def _equal_hidden(full: config.Model, plain: config.Model) -> int:
    """Hidden size with which the plain network has about as many parameters as the full one."""
    from tenfold.motion_tracking.network import parameters

    target = parameters(full)
    each = plain.heads if plain.temporal == "transformer_window" else 1
    low, high = 1, 64 * full.hidden // each
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(replace(plain, hidden=each * middle)) <= target else (low, middle)
    return each * low
