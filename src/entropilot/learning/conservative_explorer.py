"""Explore a finite decision process without ever playing a policy worth less than gamma.

StepMix and EpsMix (arXiv 2306.06265) over the bounds of ``value_bounds``. With probability 1 -
delta, and bonus_scale = 1, the value of the policy of every episode is at least gamma. Departs from
the paper: plans are made again only when a cell's count has grown by 2 % (or every so many
episodes); an old plan stays safe, because its bounds hold for all time.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.learning import _exploration_kernels as kernels
from entropilot.learning.safe_mixtures import KINDS, eps_mixture, step_mixture
from entropilot.learning.tabular_mdp import checked_policy, checked_rewards, start_distribution
from entropilot.learning.value_bounds import checked_counts, log_term

Floats = NDArray[np.float64]

METHODS: Final = {
    "stepmix": kernels.STEPMIX,
    "epsmix": kernels.EPSMIX,
    "bpi-ucbvi": kernels.UNCONSTRAINED,
    "baseline": kernels.ONLY_BASELINE,
}
GROWTH: Final = 1.02  # of a count before the next plan


@dataclass(frozen=True)
class Plan:
    """What is played until the counts have grown, and why it is safe."""

    greedy: Floats  # [H, S, A], the optimistic policy
    low: Floats  # [H + 1], of the candidates; nan where they weren't needed
    up: Floats  # [H + 1]
    kind: str
    h0: int
    rho: float
    eps: float
    totals: NDArray[np.int64]  # [H, S, A] when it was made
    episode: int


class ConservativeExplorer:
    """Chooses the policy of each episode, learns from what it saw.

    Args:
        r: rewards [H, S, A] in [0, 1].
        baseline: a policy [H, S, A] known to be worth at least gamma.
        gamma: value that every episode's policy must have; at most H.
        delta: chance that the guarantee fails, once for all episodes.
        method: "stepmix", "epsmix", "bpi-ucbvi" (no constraint) or "baseline".
        bonus_scale: 1 is the theory; a smaller one learns sooner and proves nothing.
        replan: "lazy" (some count grew by 2 %), or a number of episodes.
        seed: of EpsMix's coin and of ``simulate``.
        s1: first state, or its distribution [S].
        counts: transitions [H, S, A, S] seen before.
        baseline_from_counts: the baseline was learned from ``counts``; wider bounds then serve.

    Raises:
        InputError: bad rewards, baseline or counts; gamma > H.
        ConfigurationError: unknown method, delta outside (0, 1), scale or replan not positive.

    Examples:
        >>> r = np.array([[[0.5, 0.9]]])
        >>> explorer = ConservativeExplorer(r, [[[1.0, 0.0]]], gamma=0.45)
        >>> for _ in range(3):
        ...     pi = explorer.policy()
        ...     explorer.observe([0, 0], [int(pi[0, 0].argmax())])
        >>> explorer.certificate["kind"], round(explorer.certificate["rho"], 3)
        ('mixture', 0.9)
    """

    def __init__(
        self,
        r: ArrayLike,
        baseline: ArrayLike,
        gamma: float,
        delta: float = 0.1,
        method: Literal["stepmix", "epsmix", "bpi-ucbvi", "baseline"] = "stepmix",
        bonus_scale: float = 1.0,
        replan: Literal["lazy"] | int = "lazy",
        seed: int = 0,
        *,
        s1: ArrayLike = 0,
        counts: ArrayLike | None = None,
        baseline_from_counts: bool = False,
    ) -> None:
        self.r = checked_rewards(r)
        H, S, A = self.r.shape
        self.baseline = checked_policy(baseline, self.r.shape, "baseline")
        if not np.isfinite(gamma) or gamma > H:
            raise InputError(f"gamma is {gamma}; no return exceeds H = {H} (rewards are at most 1)")
        if method not in METHODS:
            raise ConfigurationError(unknown_name("method", method, METHODS))
        if not bonus_scale > 0:
            raise ConfigurationError(f"bonus_scale is {bonus_scale}; expected a positive number")
        if replan != "lazy" and not (isinstance(replan, int) and replan > 0):
            raise ConfigurationError(f"replan is {replan!r}; expected 'lazy' or episodes > 0")
        self.log_term = log_term(S, A, H, delta)
        if bonus_scale < 1 and method in ("stepmix", "epsmix"):
            warnings.warn(
                f"bonus_scale is {bonus_scale:g}: below 1 the guarantee is no longer proven",
                stacklevel=2,
            )
        self.gamma, self.delta, self.method = float(gamma), float(delta), str(method)
        self.bonus_scale, self.replan = float(bonus_scale), replan
        self.rng = np.random.default_rng(seed)
        self.start = start_distribution(s1, S)
        self.N = np.zeros((H, S, A, S), np.int64)
        if counts is not None:
            self.N += checked_counts(counts)
        self.totals = self.N.sum(axis=-1)
        self.is_baseline_fixed = not baseline_from_counts
        self.episodes = 0
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """The present plan; made when there is none, or when it is due."""
        if self._plan is None or self._is_due(self._plan):
            self._plan = self._made()
        return self._plan

    def _is_due(self, plan: Plan) -> bool:
        if self.method == "baseline":
            return False
        if self.replan != "lazy":
            return self.episodes - plan.episode >= int(self.replan)
        return bool((self.totals >= np.maximum(plan.totals * GROWTH, plan.totals + 1)).any())

    def _made(self) -> Plan:
        H = len(self.r)
        greedy, low, up = np.zeros_like(self.r), np.full(H + 1, np.nan), np.full(H + 1, np.nan)
        kind, h0, rho, eps = "baseline", H, 1.0, 1.0
        if self.method != "baseline":
            kernels.plan(
                *(self.N, self.totals, self.r, self.baseline, self.start, self.log_term),
                *(self.bonus_scale, self.is_baseline_fixed, True, greedy, low, up),
            )
        if self.method == "bpi-ucbvi":
            kind, h0, rho, eps = "optimistic", 0, 0.0, 0.0
        elif self.method == "stepmix":
            kind, h0, rho = step_mixture(low, self.gamma)
            eps = float("nan")
        elif self.method == "epsmix":
            kind, eps = eps_mixture(low[0], low[-1], self.gamma)
            h0, rho = (H, 1.0) if kind == "baseline" else (0, 0.0)
        return Plan(greedy, low, up, kind, h0, rho, eps, self.totals.copy(), self.episodes)

    def policy(self) -> Floats:
        """The policy [H, S, A] to play in the next episode; EpsMix flips its coin here."""
        plan = self.plan
        h0, rho = plan.h0, plan.rho
        if self.method == "epsmix" and plan.kind == "mixture" and self.rng.random() < plan.eps:
            h0, rho = len(self.r), 1.0
        pi = np.empty_like(self.r)
        kernels.mix(self.baseline, plan.greedy, h0, rho, pi)
        return pi

    def observe(self, states: ArrayLike, actions: ArrayLike) -> None:
        """Count the transitions of an episode.

        Args:
            states: [H + 1].
            actions: [H].

        Raises:
            InputError: a wrong length, or states and actions that don't exist.
        """
        s, a = checked_episodes(np.asarray(states)[None], np.asarray(actions)[None], self.r.shape)
        count_transitions(self.N, s, a)
        np.add.at(self.totals, (np.arange(len(self.r)), s[0, :-1], a[0]), 1)
        self.episodes += 1

    @property
    def certificate(self) -> dict[str, Any]:
        """What is proven of the next episode, for a log: plain numbers.

        ``low`` and ``up`` bound the values of the candidates (baseline for j steps, then
        optimistic); ``proven`` is the lower bound of the policy that will be played, None where
        its safety rests on the baseline being worth gamma (or on nothing: "bpi-ucbvi").
        """
        plan = self.plan
        proven: float | None = None
        if self.method in ("stepmix", "epsmix"):
            if plan.kind == "mixture":
                proven = self.gamma
            elif plan.kind == "optimistic":
                proven = float(plan.low[0])
        return {
            "episode": self.episodes,
            "gamma": self.gamma,
            "delta": self.delta,
            "kind": plan.kind,
            "h0": plan.h0,
            "rho": plan.rho,
            "eps": plan.eps,
            "low": plan.low.tolist(),
            "up": plan.up.tolist(),
            "proven": proven,
            "is_proven_theory": self.bonus_scale >= 1,
        }

    def summary(self) -> str:
        """The certificate in two sentences.

        Examples:
            >>> r = np.array([[[0.5, 0.9]]])
            >>> print(ConservativeExplorer(r, [[[1.0, 0.0]]], gamma=0.45).summary())
            Episode 0: the baseline alone, whose value is assumed to be at least 0.45 (proven from \
visits so far: 0).
        """
        plan, c = self.plan, self.certificate
        text = f"Episode {self.episodes}: "
        if plan.kind == "baseline":
            known = plan.low[-1]
            seen = "" if np.isnan(known) else f" (proven from visits so far: {known:.4g})"
            return (
                f"{text}the baseline alone, whose value is assumed to be at least "
                f"{self.gamma:.4g}{seen}."
            )
        if self.method == "bpi-ucbvi":
            return f"{text}the optimistic policy; nothing holds its value above {self.gamma:.4g}."
        if plan.kind == "optimistic":
            text += "the optimistic policy alone. "
        elif self.method == "epsmix":
            text += f"the baseline with probability {plan.eps:.3f}, else the optimistic policy. "
        else:
            before = f"the baseline for {plan.h0 - 1} steps, then " if plan.h0 > 1 else ""
            text += (
                f"{before}a step that is baseline with probability {plan.rho:.3f}, then the "
                "optimistic policy. "
            )
        if self.bonus_scale < 1:
            return f"{text}No value is proven, since bonus_scale is {self.bonus_scale:g}."
        return (
            f"{text}Its value is at least {c['proven']:.4g} (gamma {self.gamma:.4g}), with "
            f"probability {1 - self.delta:g} in all episodes together."
        )


def checked_episodes(
    states: NDArray[Any], actions: NDArray[Any], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """States [n, H + 1] and actions [n, H] of episodes as int64.

    Raises:
        InputError: a wrong length, or states and actions that don't exist.

    Examples:
        >>> checked_episodes(np.zeros((2, 3), int), np.zeros((2, 2), int), (2, 1, 1))[0].shape
        (2, 3)
    """
    H, S, A = shape
    for name, found, length, n in (("states", states, H + 1, S), ("actions", actions, H, A)):
        if found.ndim != 2 or found.shape[1] != length:
            raise InputError(
                f"{name} have shape {found.shape[1:]} an episode; expected ({length},) for H = {H}"
            )
        if found.dtype.kind not in "iu" or (found.size and (found.min() < 0 or found.max() >= n)):
            worst = found.max() if found.size else found.dtype
            raise InputError(
                f"{name} hold {found.dtype} from {found.min() if found.size else ''} to {worst}; "
                f"expected whole numbers from 0 to {n - 1}"
            )
    if len(states) != len(actions):
        raise InputError(f"{len(states)} episodes of states beside {len(actions)} of actions")
    return states.astype(np.int64), actions.astype(np.int64)


def count_transitions(
    N: NDArray[np.int64], states: NDArray[np.int64], actions: NDArray[np.int64]
) -> None:
    """Add episodes to counts [H, S, A, S] in place.

    Examples:
        >>> N = np.zeros((1, 1, 1, 1), np.int64)
        >>> count_transitions(N, np.zeros((4, 2), int), np.zeros((4, 1), int))
        >>> N.item()
        4
    """
    steps = np.broadcast_to(np.arange(N.shape[0]), actions.shape)
    np.add.at(N, (steps, states[:, :-1], actions, states[:, 1:]), 1)


def kind_names(kinds: NDArray[np.int64]) -> list[str]:
    """Names of the kernels' numbers.

    Examples:
        >>> kind_names(np.array([0, 2]))
        ['baseline', 'optimistic']
    """
    return [KINDS[k] for k in kinds]
