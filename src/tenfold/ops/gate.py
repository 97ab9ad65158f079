"""The gate: whether a new network takes the champion's place. A pure function."""

import math
from dataclasses import dataclass

from tenfold.core.errors import UsageError


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why or why not in one sentence."""

    promote: bool
    reason: str


def decide(contracts_ok: bool, new: float | None, old: float | None, better: str, least_gain: float, same_key: bool) -> Decision:
    """Decide on the headline metric, both measured on the same samples.

    `old` is None when there is no champion, NaN when the champion could not be measured. `better` is "up" or "down".
    A gain must be above zero and at least `least_gain`; a tie keeps the champion.
    """
    if better not in ("up", "down"):
        raise UsageError(f"HEADLINE says better='{better}'; it must be 'up' or 'down'.")
    if same_key:
        return Decision(False, "This network already is the champion.")
    if not contracts_ok:
        return Decision(False, "A contract failed, so its numbers do not count.")
    if new is None or math.isnan(new):
        return Decision(False, "The headline metric of the new network could not be measured.")
    if old is None:
        return Decision(True, f"The first champion: {new:.4g}.")
    if math.isnan(old):
        return Decision(False, "The present champion could not be measured on these samples, so nothing can be said against it.")
    gain = new - old if better == "up" else old - new
    compared = f"{new:.4g} against {old:.4g} on the same samples: a gain of {gain:+.4g}"
    # decimal thresholds have no exact binary form
    if gain > 0 and (gain >= least_gain or math.isclose(gain, least_gain, rel_tol=1e-9)):
        return Decision(True, f"{compared}, at least {least_gain:g}.")
    return Decision(False, f"{compared}, less than {least_gain:g}." if gain != 0 else f"{compared}. A tie keeps the champion.")
