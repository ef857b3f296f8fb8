"""KL to a frozen reference policy, as estimates at the drawn tokens.

Legend: B answers, T tokens. Nats.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.surrogates import NEEDS, log_ratio
from entropilot.policy.term import Applied, State, Term, View

Kind = Literal["k1", "abs", "k2", "k3"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


def reference_kl(
    logprob: Tensor,
    reference_logprob: Tensor,
    kind: Kind = "k3",
    *,
    gradient: Literal["own", "k2"] = "own",
    clamp: tuple[float, float] | None = (20.0, 10.0),
) -> Tensor:
    """KL(current || reference) estimated at tokens that the current policy drew.

        d = logprob - reference_logprob
        k1 = d;  abs = |d|;  k2 = d^2 / 2;  k3 = exp(-d) + d - 1

    The expected gradient of k2 is the gradient of the KL; that of k1 is 0 and that of k3 is the
    gradient of KL(reference || current). ``gradient="k2"`` gives the value of ``kind`` with the
    gradient of k2.

    Args:
        logprob: [...] nats, with gradient.
        reference_logprob: [...] nats.
        kind: which estimate.
        gradient: the estimate's own, or that of k2.
        clamp: (limit of |d| in exp, limit of |k3|), verl's; None clamps nothing, as TRL.

    Returns:
        [...] nats.

    Raises:
        ConfigurationError: unknown kind or gradient.

    Examples:
        >>> reference_kl(torch.tensor([-1.0]), torch.tensor([-1.5]), "k2").item()
        0.125

    Source: Schulman 2020, "Approximating KL divergence"; the gradients, arXiv 2510.01555.
    """
    if kind not in KINDS:
        raise ConfigurationError(unknown_name("KL estimate", kind, KINDS))
    if gradient not in ("own", "k2"):
        raise ConfigurationError(unknown_name("gradient", gradient, ("own", "k2")))
    gap = logprob - reference_logprob.detach()
    half_square = 0.5 * gap * gap
    if kind == "k1":
        value = gap
    elif kind == "abs":
        value = gap.abs()
    elif kind == "k2":
        value = half_square
    else:
        back = -gap if clamp is None else (-gap).clamp(-clamp[0], clamp[0])
        value = back.exp() - back - 1
        value = value if clamp is None else value.clamp(-clamp[1], clamp[1])
    if gradient == "k2":
        return value.detach() + half_square - half_square.detach()
    return value


def reference_penalty(
    coef: float,
    kind: Kind = "k3",
    *,
    gradient: Literal["own", "k2"] = "own",
    off_policy: bool = False,
    aggregation: Aggregation | None = None,
) -> Term:
    """Regulariser ``coef * aggregate(KL to the reference)``; off unless it is named.

    When this does nothing: ``coef`` 0, and while the policy is the reference: value and gradient of
    "k2" and "k3" are 0 there. With "k1" and its own gradient the expected gradient is 0 always.

    Args:
        coef: >= 0; TRL calls it beta.
        kind: see ``reference_kl``.
        gradient: see ``reference_kl``.
        off_policy: multiply by the ratio to the sampling policy.
        aggregation: over the original mask; token-mean unless given.

    Raises:
        ConfigurationError: coef below 0.

    Examples:
        >>> reference_penalty(0.001).settings["kind"]
        'k3'
    """
    if not coef >= 0:
        raise ConfigurationError(f"coef of the reference penalty is {coef}; it must be >= 0")
    reduce = aggregation or Aggregation()

    def apply(view: View, state: State) -> Applied:
        reference = view.rollouts.reference_logprob
        if reference is None:
            raise InputError(
                "the reference penalty needs rollouts.reference_logprob; measure it with the "
                "frozen reference policy"
            )
        now = torch.where(view.mask, view.policy.logprob, 0)
        value = reference_kl(now, torch.where(view.mask, reference, 0), kind, gradient=gradient)
        if off_policy:
            value = value * log_ratio(now, view.rollouts.old_logprob, view.mask).exp()
        mean = reduce(value, view.mask)
        return Applied(coef * mean, state, {"reference-kl/mean": mean.detach()})

    settings: dict[str, Any] = {"coef": coef, "kind": kind, "gradient": gradient}
    return Term("reference-kl", apply, needs=NEEDS, settings=settings)
