"""SPAE: potentials of reasoning steps (arXiv 2601.03823).

After each reasoning step a probe says how right (accuracy of the forced answer) and how sure the
policy would be if it had to answer now. Their mix is the step's potential; steps after the answer
is settled earn less credit, steps that raise the potential earn more. Nothing is differentiated.

Legend: B answers, T tokens, K steps of the answer with the most steps.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError

COEFFICIENTS: Final = (1.5, 0.5, -1.0)  # of accuracy * confidence, accuracy, confidence
_SLACK: Final = 1e-4  # rounding of probabilities that were measured in half precision


class Overchecking(NamedTuple):
    """What an answer did before and after its potential saturated."""

    solving_tokens: Tensor  # [B] int64, thinking tokens up to the first saturated step; 0: never
    checking_tokens: Tensor  # [B] int64, thinking tokens after it; 0: never
    right_to_wrong: Tensor  # [B] bool, wrong in the end although a step was saturated


def step_potential(
    accuracy: Tensor,
    confidence: Tensor,
    coef: tuple[float, float, float] = COEFFICIENTS,
    *,
    use_confidence: bool = True,
) -> Tensor:
    """Potential of each step, in [-1, 1]: 1 right and sure, 0 unsure, -1 wrong and sure.

        phi = 1.5 accuracy confidence + 0.5 accuracy - confidence

    Args:
        accuracy: [...] mean probability of the forced answer tokens, in [0, 1].
        confidence: [...] in [0, 1].
        coef: the three coefficients.
        use_confidence: False gives phi = accuracy, the paper's ablation.

    Returns:
        [...], detached.

    Raises:
        InputError: shapes differ, or a value is no probability.

    Examples:
        >>> right, sure = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.0])
        >>> step_potential(right, sure).tolist()
        [1.0, -1.0, 0.5]

    Source: arXiv 2601.03823; the reference repository's probe script.
    """
    if accuracy.shape != confidence.shape:
        raise InputError(
            f"accuracy has shape {tuple(accuracy.shape)}, confidence {tuple(confidence.shape)}; "
            "there must be one of each a step"
        )
    for name, value in (("accuracy", accuracy), ("confidence", confidence)):
        bad = ~((value >= -_SLACK) & (value <= 1 + _SLACK))
        if bool(bad.any()):
            first = [int(i) for i in bad.nonzero()[0]]
            raise InputError(
                f"{name} at {first} is {float(value[tuple(first)]):.4g}; expected a value in "
                "[0, 1]. Log-probs need exp first"
            )
    accuracy, confidence = accuracy.detach(), confidence.detach()
    if not use_confidence:
        return accuracy
    both, alone, sure = coef
    return both * accuracy * confidence + alone * accuracy + sure * confidence


def potential_difference(phi: Tensor, valid: Tensor) -> Tensor:
    """Change of the potential since the valid step before; 0 for the first and for invalid ones.

    Args:
        phi: [B, K]; anything where invalid.
        valid: [B, K] bool; which steps were probed.

    Returns:
        [B, K].

    Examples:
        >>> phi = torch.tensor([[0.25, 0.5, float("nan"), 1.0]])
        >>> potential_difference(phi, phi == phi).tolist()
        [[0.0, 0.25, 0.0, 0.5]]
    """
    phi = checked_potential(phi, valid)
    place = torch.arange(phi.shape[1], device=phi.device)
    last = torch.where(valid, place, -1).cummax(1).values
    before = torch.nn.functional.pad(last, (1, 0), value=-1)[:, :-1]
    previous = phi.gather(1, before.clamp(min=0))
    return torch.where(valid & (before >= 0), phi - previous, 0)


def saturation_factor(
    phi: Tensor, valid: Tensor, alpha: float = 0.5, eps_sat: float = 0.9
) -> Tensor:
    """Credit left to each step by the saturated steps before it.

        f_k = 1 - alpha (1 - exp(-C_k)),   C_k = number of valid steps j < k with phi_j > eps_sat

    Args:
        phi: [B, K].
        valid: [B, K] bool.
        alpha: in [0, 1]; raised, checking after the answer is settled earns less, so answers get
            shorter.
        eps_sat: in (-1, 1); potential above which the answer is settled.

    Returns:
        [B, K], from 1 down towards 1 - alpha.

    Raises:
        ConfigurationError: alpha or eps_sat out of range.

    Examples:
        >>> phi = torch.tensor([[0.95, 0.2, 0.95]])
        >>> saturation_factor(phi, phi == phi, alpha=1.0)
        tensor([[1.0000, 0.3679, 0.3679]])
    """
    check_saturation(alpha, eps_sat)
    phi = checked_potential(phi, valid)
    count = saturated_steps(phi, valid, eps_sat).cumsum(1)
    before = torch.nn.functional.pad(count, (1, 0))[:, :-1]
    return remaining_credit(before, alpha, phi.dtype)


def difference_shaping(delta: Tensor, valid: Tensor) -> Tensor:
    """Bonus of steps that raise the potential, centred over the valid steps of the batch.

        d_k = (delta_k - min) / (max - min),   g_k = exp(d_k) - mean over steps of exp(d)

    Args:
        delta: [B, K], from ``potential_difference``.
        valid: [B, K] bool.

    Returns:
        [B, K]; 0 for invalid steps, and everywhere if all differences are equal.

    Examples:
        >>> difference_shaping(torch.tensor([[0.0, 1.0]]), torch.ones(1, 2).bool())
        tensor([[-0.8591,  0.8591]])
    """
    if not bool(valid.any()):
        return torch.zeros_like(delta)
    delta = torch.where(valid, delta.detach(), 0)
    low = torch.where(valid, delta, torch.inf).min()
    span = torch.where(valid, delta, -torch.inf).max() - low
    if not float(span) > 0:
        return torch.zeros_like(delta)
    grown = torch.where(valid, ((delta - low) / span).exp(), 0)
    return torch.where(valid, grown - grown.sum() / valid.sum(), 0)


def overchecking(
    phi: Tensor,
    valid: Tensor,
    step_id: Tensor,
    mask: Tensor,
    correct: Tensor,
    eps_sat: float = 0.9,
) -> Overchecking:
    """Tokens that solved the problem, tokens that only checked, and answers spoilt after solving.

    Args:
        phi: [B, K].
        valid: [B, K] bool.
        step_id: [B, T] int64.
        mask: [B, T] bool.
        correct: [B] bool, of the final answer.
        eps_sat: see ``saturation_factor``.

    Returns:
        ``Overchecking``. The two counts are 0 for a wrong answer or one that never saturated.

    Examples:
        >>> phi, ids = torch.tensor([[0.1, 0.95, 0.95]]), torch.tensor([[0, 0, 1, 2, 2, -1]])
        >>> found = overchecking(phi, phi == phi, ids, ids > -2, torch.tensor([True]))
        >>> found.solving_tokens.tolist(), found.checking_tokens.tolist()
        ([3], [2])
    """
    high = saturated_steps(checked_potential(phi, valid), valid, eps_sat).bool()
    solved = high.any(1)
    first = high.int().argmax(1) if phi.shape[1] else torch.zeros_like(solved, dtype=torch.int64)
    thinking = mask & (step_id >= 0)
    up_to = (thinking & (step_id <= first[:, None])).sum(1)
    counted = solved & correct
    return Overchecking(
        torch.where(counted, up_to, 0),
        torch.where(counted, thinking.sum(1) - up_to, 0),
        solved & ~correct,
    )


def settled_step(
    confidence: Tensor, valid: Tensor, threshold: float = 0.9, patience: int = 2
) -> Tensor:
    """First step at which thinking may stop without knowing the answer, [B] int64; -1 if none.

    The confidence was above the threshold at the last ``patience`` probed steps. For stopping while
    a policy thinks, where no right answer is at hand and so no potential. Ours, not the paper's.

    Args:
        confidence: [B, K] in [0, 1].
        valid: [B, K] bool; which steps were probed, the first ones of each answer.
        threshold: in (0, 1); raised, thinking goes on for longer.
        patience: >= 1.

    Raises:
        ConfigurationError: a setting is out of range.

    Examples:
        >>> sure = torch.tensor([[0.95, 0.2, 0.95, 0.99, 0.99], [0.1, 0.1, 0.1, 0.1, 0.95]])
        >>> settled_step(sure, sure > 0).tolist()
        [3, -1]
    """
    if not 0 < threshold < 1 or patience < 1:
        raise ConfigurationError(
            f"threshold is {threshold} and patience {patience}; expected a confidence in (0, 1) "
            "and at least 1 step"
        )
    if confidence.shape[1] < patience:
        return torch.full(confidence.shape[:1], -1, device=confidence.device)
    sure = valid & (torch.where(valid, confidence, 0) > threshold)
    run = sure.unfold(1, patience, 1).all(-1)
    first = run.int().argmax(1) + patience - 1
    return torch.where(run.any(1), first, -1)


def saturated_steps(phi: Tensor, valid: Tensor, eps_sat: float) -> Tensor:
    """[B, K] int64, 1 where a valid step's potential is above ``eps_sat``."""
    return (valid & (torch.where(valid, phi, 0) > eps_sat)).long()


def remaining_credit(count: Tensor, alpha: float, dtype: torch.dtype) -> Tensor:
    """1 - alpha (1 - exp(-count)) for counts of saturated steps, of any shape."""
    return 1 + alpha * torch.expm1(-count.to(dtype))


def checked_potential(phi: Tensor, valid: Tensor) -> Tensor:
    """Potentials, detached, with 0 at invalid steps.

    Raises:
        InputError: shapes differ, or a valid potential is outside [-1, 1].
    """
    if valid.dtype != torch.bool or valid.shape != phi.shape or phi.ndim != 2:
        raise InputError(
            f"step_valid has dtype {valid.dtype} and shape {tuple(valid.shape)}, the potentials "
            f"{tuple(phi.shape)}; expected bool of the same shape [B, K]"
        )
    bad = valid & ~((phi >= -1 - _SLACK) & (phi <= 1 + _SLACK))
    if bool(bad.any()):
        row, step = (int(i) for i in bad.nonzero()[0])
        raise InputError(
            f"the potential of answer {row}, step {step}, is {float(phi[row, step]):.4g}; expected "
            "a value in [-1, 1]. Accuracy and confidence must be probabilities"
        )
    return torch.where(valid, phi.detach(), 0)


def check_saturation(alpha: float, eps_sat: float) -> None:
    """Reject settings of the saturation factor.

    Raises:
        ConfigurationError: alpha outside [0, 1] or eps_sat outside (-1, 1).
    """
    if not 0 <= alpha <= 1:
        raise ConfigurationError(
            f"alpha is {alpha}; expected a value in [0, 1]. Above 1 the advantage of checking "
            "steps would change its sign"
        )
    if not -1 < eps_sat < 1:
        raise ConfigurationError(
            f"eps_sat is {eps_sat}; potentials are in [-1, 1], so expected a value inside it"
        )
