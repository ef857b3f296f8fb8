"""Play an explorer in a known process: returns, regret and violations of every episode.

The policy changes only when a plan does, so that a trace of millions of episodes keeps one row a
plan; per-episode arrays are made when asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning import _exploration_kernels as kernels
from entropilot.learning.conservative_explorer import GROWTH, METHODS, ConservativeExplorer
from entropilot.learning.safe_mixtures import KINDS
from entropilot.learning.tabular_mdp import TabularMDP

Floats = NDArray[np.float64]

_CHUNK: Final = 1 << 17  # episodes between two looks for Ctrl-C
_ROWS: Final = 1 << 12


@dataclass(frozen=True)
class Trace:
    """One row a plan; the properties have one entry an episode [K]."""

    plan_values: Floats  # [M], the true value of the policy (of EpsMix: of its coin mixture)
    plan_entropies: Floats  # [M], nats, summed over steps
    plan_kinds: NDArray[np.int8]  # [M], places in KINDS
    plan_h0: NDArray[np.int16]  # [M]
    plan_rho: Floats  # [M]; of EpsMix: eps
    lengths: NDArray[np.int64]  # [M], episodes that a plan was played
    optimum: float
    gamma: float

    @property
    def episodes(self) -> int:
        """K."""
        return int(self.lengths.sum())

    @property
    def violations(self) -> int:
        """Episodes whose policy is worth less than gamma."""
        bad = self.plan_values < self.gamma - kernels.TOLERANCE
        return int(self.lengths[bad].sum())

    @property
    def total_regret(self) -> float:
        """Sum over episodes of the best value less the policy's."""
        return float(((self.optimum - self.plan_values) * self.lengths).sum())

    @property
    def value(self) -> Floats:
        """True value of each episode's policy [K]."""
        return np.repeat(self.plan_values, self.lengths)

    @property
    def regret(self) -> Floats:
        """Cumulative regret [K]."""
        return np.cumsum(self.optimum - self.value)

    @property
    def entropy(self) -> Floats:
        """Entropy of each episode's policy, nats, summed over steps [K]."""
        return np.repeat(self.plan_entropies, self.lengths)

    @property
    def kind(self) -> NDArray[np.str_]:
        """Of KINDS [K]."""
        return np.repeat(np.array(KINDS)[self.plan_kinds], self.lengths)

    @property
    def h0(self) -> NDArray[np.int16]:
        """First step that is all optimistic [K]."""
        return np.repeat(self.plan_h0, self.lengths)

    @property
    def rho(self) -> Floats:
        """Share of the baseline at step h0 - 1 [K]; of EpsMix: in the coin."""
        return np.repeat(self.plan_rho, self.lengths)

    def first(self, kind: str) -> int | None:
        """The first episode of a kind, None when there is none."""
        found = np.flatnonzero(self.plan_kinds == KINDS.index(kind))
        return int(self.lengths[: found[0]].sum()) if len(found) else None

    def summary(self) -> str:
        """What was played and what it cost, in two sentences."""
        shares = [
            f"{self.lengths[self.plan_kinds == i].sum() / max(self.episodes, 1):.1%} {name}"
            for i, name in enumerate(KINDS)
        ]
        return (
            f"{self.episodes:,} episodes: {', '.join(shares)}. {self.violations:,} of them had a "
            f"policy worth less than gamma = {self.gamma:.4g}; regret {self.total_regret:,.0f}, "
            f"mean gap of the last plan {self.optimum - self.plan_values[-1]:.4f}."
        )


def simulate(
    mdp: TabularMDP,
    explorer: ConservativeExplorer,
    episodes: int,
    seed: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Trace:
    """Play an explorer, which learns from all of it.

    Args:
        mdp: the process, which the explorer doesn't see.
        explorer: goes on from its present counts.
        episodes: how many.
        seed: of the draws; None goes on with the explorer's own generator.
        progress: called with the episodes done.

    Raises:
        InputError: shapes that differ, or a baseline worth less than gamma.
        ConfigurationError: no episodes.

    Examples:
        >>> mdp = TabularMDP(np.ones((1, 1, 2, 1)), np.array([[[0.5, 0.9]]]))
        >>> explorer = ConservativeExplorer(mdp.r, [[[1.0, 0.0]]], gamma=0.45)
        >>> trace = simulate(mdp, explorer, 1000, seed=0)
        >>> trace.violations, trace.kind[-1].item()
        (0, 'optimistic')
    """
    if episodes < 1:
        raise ConfigurationError(f"episodes is {episodes}; expected 1 or more")
    if mdp.r.shape != explorer.r.shape or not np.array_equal(mdp.r, explorer.r):
        raise InputError("the explorer has other rewards than the process; build it with mdp.r")
    if not np.allclose(mdp.start, explorer.start):
        raise InputError("the explorer starts elsewhere than the process; pass s1=mdp.s1")
    _check_baseline(mdp, explorer)
    rng = explorer.rng if seed is None else np.random.default_rng(seed)
    every = 0 if explorer.replan == "lazy" else int(explorer.replan)
    parts: list[list[NDArray[np.float64]]] = [[] for _ in range(6)]
    done = 0
    while done < episodes:
        rows = [np.empty(_ROWS) for _ in range(5)]
        lengths = np.empty(_ROWS, np.int64)
        played, plans = kernels.play(
            *(mdp.P, mdp.r, explorer.baseline, mdp.start, explorer.gamma, explorer.log_term),
            *(explorer.bonus_scale, explorer.is_baseline_fixed, METHODS[explorer.method]),
            *(0.0 if every else GROWTH, every, rng, explorer.N, explorer.totals),
            *(min(_CHUNK, episodes - done), *rows, lengths),
        )
        for kept, row in zip(parts, (*rows, lengths), strict=True):
            kept.append(row[:plans].copy())
        done += int(played)
        explorer.episodes += int(played)
        if progress is not None:
            progress(done)
    values, entropies, kinds, places, shares, counts = (np.concatenate(p) for p in parts)
    return Trace(
        values,
        entropies,
        kinds.astype(np.int8),
        places.astype(np.int16),
        shares,
        counts.astype(np.int64),
        float(mdp.start @ mdp.optimal().V[0]),
        explorer.gamma,
    )


def _check_baseline(mdp: TabularMDP, explorer: ConservativeExplorer) -> None:
    if explorer.method not in ("stepmix", "epsmix"):
        return
    gap = mdp.value(explorer.baseline) - explorer.gamma
    if gap < -kernels.TOLERANCE:
        raise InputError(
            f"the baseline violates the constraint by {-gap:.4g}: its value is "
            f"{gap + explorer.gamma:.6g}, gamma {explorer.gamma:.6g}; there is no safe policy to "
            "start from. Lower gamma or find a better baseline"
        )
    if gap <= kernels.TOLERANCE and explorer.gamma > 0:
        warnings.warn(
            "gamma is the baseline's own value: no lower bound can reach it, and nothing but the "
            "baseline will be played",
            stacklevel=3,
        )


def estimate_episodes(
    mdp: TabularMDP,
    baseline: Floats,
    gamma: float,
    *,
    limit: int = 10_000_000,
    seed: int = 0,
    delta: float = 0.1,
    bonus_scale: float = 1.0,
) -> int | None:
    """Episodes until StepMix plays its first mixture, by simulation; None beyond ``limit``.

    Args:
        mdp: a model of the process, for example of estimated transitions.
        baseline: [H, S, A].
        gamma: value that every episode's policy must have.
        limit: episodes to simulate at most.
        seed: of the draws.
        delta: chance of failure.
        bonus_scale: 1 is the theory.

    Raises:
        InputError: as ``simulate``.

    Examples:
        >>> mdp = TabularMDP(np.ones((1, 1, 2, 1)), np.array([[[0.5, 0.9]]]))
        >>> estimate_episodes(mdp, np.array([[[1.0, 0.0]]]), 0.45)
        1
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="bonus_scale")
        explorer = ConservativeExplorer(
            mdp.r, baseline, gamma, delta, bonus_scale=bonus_scale, s1=mdp.start
        )
    done = 0
    while done < limit:
        part = simulate(mdp, explorer, min(_CHUNK, limit - done), None if done else seed)
        for kind in ("mixture", "optimistic"):
            at = part.first(kind)
            if at is not None:
                return done + at
        done += part.episodes
    return None
