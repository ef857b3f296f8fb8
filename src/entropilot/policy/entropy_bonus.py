"""Entropy bonus: the plain regulariser that every other control is compared with.

Legend: B answers, T tokens. Nats.
"""

from __future__ import annotations

from entropilot.errors import ConfigurationError
from entropilot.information import masked_mean
from entropilot.policy.term import Applied, State, Term, View


def entropy_bonus(coef: float) -> Term:
    """Regulariser ``-coef * mean entropy`` over the tokens that count; gradient through H.

    When this does nothing: ``coef`` 0. A coefficient that holds the entropy of a small vocabulary
    explodes that of a large one.

    Args:
        coef: >= 0; more raises the entropy.

    Raises:
        ConfigurationError: coef below 0.

    Examples:
        >>> entropy_bonus(0.01).settings
        {'coef': 0.01}
    """
    if not coef >= 0:
        raise ConfigurationError(f"coef of the entropy bonus is {coef}; it must be >= 0")

    def apply(view: View, state: State) -> Applied:
        mean = masked_mean(view.policy.get("entropy"), view.mask)
        return Applied(-coef * mean, state, {"entropy-bonus/entropy": mean.detach()})

    return Term("entropy-bonus", apply, needs=frozenset({"entropy"}), settings={"coef": coef})
