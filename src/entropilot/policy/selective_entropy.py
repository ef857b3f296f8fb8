"""SIREN, selective entropy regularisation: hold the entropy of the open choices at its first value.

Source: Rethinking Entropy Regularization in Large Reasoning Models, arXiv 2509.25133.
Departs from the reference code: the outcome that reaches ``top_p`` belongs to the nucleus; the
choice of tokens differs as ``peak_entropy`` says.

Legend: B answers, T tokens, V vocabulary. Nats.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import entropy_from_logits, nucleus_entropy, with_gradient
from entropilot.policy.peak_entropy import SelectedEntropy, check_tau, selected_mean
from entropilot.policy.term import Applied, State, Term, View


def selective_entropy(
    logits: Tensor,
    mask: Tensor,
    p: float | None = 0.8,
    tau: float | None = 0.8,
) -> SelectedEntropy:
    """``selected_mean`` of the nucleus entropy of logits.

    The nucleus is detached, the entropy within it is not: dHn/dz_v = -q_v (ln q_v + Hn) on it and
    exactly 0 outside, so that the tail of the vocabulary is never pushed.

    Args:
        logits: [B, T, V], already divided by the sampling temperature; -inf marks an impossible
            token. Rows where the mask is False may hold anything.
        mask: [B, T] bool, tokens that count.
        p: mass of the nucleus, in (0, 1]; None takes the entropy of the whole distribution.
        tau: see ``peak_entropy_mask``; None keeps every token that counts.

    Returns:
        Mean, kept tokens, and how many answers were left out.

    Raises:
        ConfigurationError: p outside (0, 1], or tau outside [0, 1).
        InputError: shapes do not go together, or a row that counts holds nan.

    Examples:
        >>> logits = torch.zeros(1, 2, 10)
        >>> logits[0, 1, 0] = 50.0
        >>> found = selective_entropy(logits, torch.ones(1, 2).bool(), p=0.8, tau=0.5)
        >>> round(found.mean.item(), 4)  # ln 8: eight equal outcomes hold the mass
        2.0794
    """
    entropy = _entropy_of(logits, mask, p)
    return selected_mean(entropy, mask, tau=0.0 if tau is None else tau, use_peak=tau is not None)


def anchored_penalty(mean: Tensor, anchor: float | None, coef: float) -> Tensor:
    """Squared distance of the selected entropy from its anchor, or the plain bonus without one.

        anchor given:  coef (mean - anchor)^2       gradient 2 coef (mean - anchor) dmean
        None:          -coef mean

    Args:
        mean: scalar, with gradient.
        anchor: nats, a constant; None for the bonus.
        coef: >= 0.

    Examples:
        >>> anchored_penalty(torch.tensor(1.5), 1.0, 2.0).item()
        0.5
    """
    return -coef * mean if anchor is None else coef * (mean - anchor) ** 2


@dataclass(frozen=True)
class SelectiveEntropy:
    """SIREN on logits at hand: settings, and the anchor once it is known.

    Args:
        top_p: mass of the nucleus, in (0, 1].
        tau: in [0, 1); quantile of the answer's entropies above which tokens are kept.
        coef: >= 0; strength of the pull.
        anchor: nats, >= 0; None until ``observe`` has seen the first rollout batch.
        use_top_p: False takes the entropy of the whole distribution.
        use_peak: False keeps every token.
        use_anchor: False gives the plain bonus, ``-coef * mean``.

    Raises:
        ConfigurationError: a setting out of its range.

    Examples:
        >>> mask = torch.ones(1, 3).bool()
        >>> first = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
        >>> siren = SelectiveEntropy(top_p=1.0, coef=1.0).observe(first, mask)
        >>> siren.penalty(first, mask)[0].item()
        0.0
    """

    top_p: float = 0.8
    tau: float = 0.8
    coef: float = 5e-3
    anchor: float | None = None
    use_top_p: bool = True
    use_peak: bool = True
    use_anchor: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.top_p <= 1:
            raise ConfigurationError(f"top_p is {self.top_p}; the mass of a nucleus is in (0, 1]")
        check_tau(self.tau)
        if not (math.isfinite(self.coef) and self.coef >= 0):
            raise ConfigurationError(f"coef is {self.coef}; it must be a number >= 0")
        check_anchor(self.anchor)

    def select(self, entropy: Tensor, mask: Tensor) -> SelectedEntropy:
        """``selected_mean`` of entropies [B, T] under these settings."""
        return selected_mean(entropy, mask, tau=self.tau, use_peak=self.use_peak)

    def observe(self, logits: Tensor, mask: Tensor) -> SelectiveEntropy:
        """The same settings with the anchor set from the first rollout batch, if it was not.

        Args:
            logits: [B, T, V] of the policy before any update.
            mask: [B, T] bool.

        Raises:
            InputError: no token is kept, so the batch has no selected entropy.
        """
        if self.anchor is not None:
            return self
        with torch.no_grad():
            found = self.select(self._entropy(logits, mask), mask)
        if found.is_empty:
            raise InputError(
                "no token was kept in the first rollout batch, so there is no anchor: each answer "
                "has one token or equal entropies. Observe a larger batch, or pass anchor="
            )
        return dataclasses.replace(self, anchor=float(found.mean))

    def penalty(self, logits: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Scalar to add to the loss, with gradient, and metrics as those of the term.

        The square is that of the mean over the batch handed in: means over parts of a batch
        would be squared apart.

        Args:
            logits: [B, T, V], with gradient.
            mask: [B, T] bool.

        Raises:
            RuntimeError: there is no anchor yet and the settings want one.
            InputError: shapes do not go together.
            ConfigurationError: the anchor is above ln V.
        """
        if self.use_anchor and self.anchor is None:
            raise RuntimeError("call observe() on the first rollout or pass anchor=")
        check_anchor(self.anchor, logits.shape[-1])
        found = self.select(self._entropy(logits, mask), mask)
        anchor = self.anchor if self.use_anchor else None
        value = (
            found.mean * 0 if found.is_empty else anchored_penalty(found.mean, anchor, self.coef)
        )
        return value, _metrics(found, mask, anchor, self.coef)

    def _entropy(self, logits: Tensor, mask: Tensor) -> Tensor:
        return _entropy_of(logits, mask, self.top_p if self.use_top_p else None)


def selective_entropy_control(
    top_p: float = 0.8,
    tau: float = 0.8,
    coef: float = 5e-3,
    anchor: float | None = None,
    use_top_p: bool = True,
    use_peak: bool = True,
    use_anchor: bool = True,
    adaptive_rate: float = 0.0,
) -> Term:
    """Regulariser term of SIREN.

        mean   = selected_mean(nucleus entropy)
        value  = coef (mean - anchor)^2         or -coef mean without the anchor
        coef' <- max(0, coef + adaptive_rate (anchor - mean))        for the next update

    The anchor is the mean at the first update that the term sees, a constant from then on and part
    of the state. Where a rollout batch is split into several updates, that is the first of them.

    When this does nothing: at the anchor value and gradient are 0, so it does nothing on the first
    update and little while the entropy stays where it began; it holds an entropy, it can't restore
    one that was lost before. Answers of one token or of equal entropies are left out, and where
    that is all of them the value is 0, with a warning. A nucleus of one outcome has entropy 0 and
    no gradient. With a loss that is a mean over tokens the paper's coef is too weak to matter (it
    belongs to a loss summed over answers); 0.2 to 2 acts.

    Args:
        top_p: mass of the nucleus, in (0, 1]; raising it lets more of the tail in.
        tau: in [0, 1); raising it keeps fewer, more open tokens.
        coef: >= 0; raising it holds the entropy closer to its anchor.
        anchor: nats, >= 0; None takes it from the first update.
        use_top_p: False takes the entropy of the whole distribution.
        use_peak: False keeps every token.
        use_anchor: False gives the plain bonus.
        adaptive_rate: >= 0; raises the coefficient below the anchor and lowers it above, 0 never
            changes it.

    Returns:
        The term. Metrics: ``siren/selected_entropy``, ``siren/anchor``, ``siren/coef``,
        ``siren/kept_fraction``, ``siren/n_left_out`` (answers), and ``siren/entropy`` (mean of the
        whole distribution's over the tokens that count) where it was measured.

    Raises:
        ConfigurationError: a setting out of its range.

    Examples:
        >>> term = selective_entropy_control(coef=1.0)
        >>> term.name, sorted(term.needs)
        ('siren', ['nucleus_entropy'])
    """
    settings = SelectiveEntropy(top_p, tau, coef, anchor, use_top_p, use_peak, use_anchor)
    if not (math.isfinite(adaptive_rate) and adaptive_rate >= 0):
        raise ConfigurationError(f"adaptive_rate is {adaptive_rate}; it must be a number >= 0")
    statistic = "nucleus_entropy" if use_top_p else "entropy"
    owner: dict[str, Any] = {"p": top_p if use_top_p else None, "tau": tau if use_peak else None}

    def select(view: View) -> SelectedEntropy:
        return settings.select(view.policy.get(statistic), view.mask)

    def init(view: View) -> State:
        found = select(view)
        first = anchor if anchor is not None or found.is_empty else float(found.mean.detach())
        return {"anchor": first, **owner, "coef": coef}

    def apply(view: View, state: State) -> Applied:
        memory = dict(init(view) or {} if state is None else state)
        found = select(view)
        mean = float(found.mean.detach())
        if anchor is not None:
            memory["anchor"] = anchor
        elif memory["anchor"] is None and not found.is_empty:
            memory["anchor"] = mean
        _warn_of_other_settings(memory, owner)
        strength = float(memory["coef"]) if adaptive_rate else coef
        target = memory["anchor"] if use_anchor else None
        metrics = _metrics(found, view.mask, memory["anchor"], strength)
        if view.policy.entropy is not None:
            full = torch.where(view.mask, view.policy.entropy.detach(), 0).sum() / view.mask.sum()
            metrics["siren/entropy"] = float(full)
        if found.is_empty:
            warnings.warn(
                "siren: no token is above the quantile of its answer, so nothing is pulled; every "
                "answer has one token or equal entropies",
                stacklevel=2,
            )
            return Applied(found.mean * 0, memory, metrics)
        if adaptive_rate:
            memory["coef"] = max(0.0, strength + adaptive_rate * (memory["anchor"] - mean))
        return Applied(anchored_penalty(found.mean, target, strength), memory, metrics)

    shown = dataclasses.asdict(settings) | {"adaptive_rate": adaptive_rate}
    if not use_top_p:
        del shown["top_p"]  # no nucleus is measured
    return Term("siren", apply, init, frozenset({statistic}), shown)


def check_anchor(anchor: float | None, n_vocab: int | None = None) -> None:
    """Reject an anchor that no entropy can have.

    Raises:
        ConfigurationError: negative, not finite, or above ln V.

    Examples:
        >>> check_anchor(1.2, 50)
    """
    if anchor is None:
        return
    if not (math.isfinite(anchor) and anchor >= 0):
        raise ConfigurationError(
            f"anchor is {anchor}; it is an entropy in nats, >= 0. Leave it out to take it from the "
            "first batch"
        )
    if n_vocab is not None and anchor > math.log(n_vocab) + 1e-6:
        raise ConfigurationError(
            f"anchor is {anchor:.4g} nats; with {n_vocab} outcomes no entropy is above ln V = "
            f"{math.log(n_vocab):.4g}. If it is in bits, multiply by ln 2"
        )


def _entropy_of(logits: Tensor, mask: Tensor, p: float | None) -> Tensor:
    """Entropies [B, T] of rows that count, 0 elsewhere; other rows are never read."""
    if logits.shape[:-1] != mask.shape:
        raise InputError(
            f"logits have shape {tuple(logits.shape)} and the mask {tuple(mask.shape)}; expected "
            "[B, T, V] and [B, T]"
        )
    rows = logits[mask]
    if p is None:
        values: Tensor = with_gradient(entropy_from_logits)(rows)
    else:
        values = with_gradient(nucleus_entropy)(rows, p)
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def _metrics(
    found: SelectedEntropy, mask: Tensor, anchor: float | None, coef: float
) -> dict[str, float]:
    metrics = {
        "siren/selected_entropy": float(found.mean.detach()),
        "siren/kept_fraction": float(found.kept.sum() / mask.sum().clamp(min=1)),
        "siren/n_left_out": float(found.n_left_out),
        "siren/coef": coef,
    }
    return metrics if anchor is None else metrics | {"siren/anchor": float(anchor)}


def _warn_of_other_settings(memory: dict[str, Any], owner: dict[str, Any]) -> None:
    theirs = {name: memory[name] for name in owner}
    if theirs != owner:
        warnings.warn(
            f"siren: the anchor {memory['anchor']} was measured with {theirs}, the settings are "
            f"now {owner}; entropies of other selections can't be compared with it. Start from a "
            "new state to measure it again",
            stacklevel=2,
        )
