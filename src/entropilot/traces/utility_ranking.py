"""Which chain of each problem to trust, by how its answer settles, and how often that is right.

Source: Measuring Reasoning Utility in LLMs via Conditional Entropy Reduction, arXiv 2508.20395,
which suggests the choice and does not measure it; the order of the rest is ours.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from entropilot.errors import InputError
from entropilot.traces.utility import Trajectory, select_chain, summarise_trajectory


class ProblemRanking(NamedTuple):
    """The chains of one problem, the one to trust first."""

    group: Hashable
    order: tuple[int, ...]  # indices of trajectories
    chosen: int | None  # the first, where it decreases; None: trust none


class Selection(NamedTuple):
    """How often the chosen chain is right, over problems with right and wrong chains."""

    n_problems: int  # with both
    n_chosen: int  # of them, those in which a chain decreases
    n_right: int  # of them, those whose chosen chain is right
    chance: float  # share right when a chain is drawn by lot in the same problems; nan without any


def rank_chains(
    trajectories: Sequence[Trajectory | ArrayLike], groups: Sequence[Hashable]
) -> tuple[ProblemRanking, ...]:
    """Chains of each problem by trust: those that decrease, the steepest first, then the others.

    Args:
        trajectories: n.
        groups: [n] the problem of each.

    Returns:
        Problems in the order of their first chain.

    Raises:
        InputError: another number of groups.

    Examples:
        >>> [found] = rank_chains([[2.0, 1.9], [2.0, 0.5], [2.0]], ["p", "p", "p"])
        >>> found.order, found.chosen
        ((1, 0, 2), 1)

    Source: arXiv 2508.20395, suggested use.
    """
    if len(groups) != len(trajectories):
        raise InputError(
            f"{len(trajectories)} trajectories have {len(groups)} groups; give one for each"
        )
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    found = [summarise_trajectory(trajectory) for trajectory in trajectories]

    def place(i: int) -> tuple[bool, float]:
        slope = found[i]["slope"]
        return found[i]["verdict"] != "decreasing", math.inf if math.isnan(slope) else slope

    rankings = []
    for group, here in members.items():
        chosen = select_chain([trajectories[i] for i in here])
        order = tuple(sorted(here, key=place))
        rankings.append(ProblemRanking(group, order, None if chosen is None else here[chosen]))
    return tuple(rankings)


def selection_accuracy(
    rankings: Sequence[ProblemRanking], right: Sequence[bool | None]
) -> Selection:
    """How often the chosen chain is right, beside a draw by lot.

    Args:
        rankings: of ``rank_chains``.
        right: label of each trajectory; problems with an unlabelled chain are left out.

    Examples:
        >>> rankings = rank_chains([[2.0, 1.9], [2.0, 0.5]], ["p", "p"])
        >>> selection_accuracy(rankings, [False, True])
        Selection(n_problems=1, n_chosen=1, n_right=1, chance=0.5)
    """
    n_problems = n_right = 0
    shares = []
    for ranking in rankings:
        labels = [right[i] for i in ranking.order]
        if None in labels or len(set(labels)) < 2:
            continue
        n_problems += 1
        if ranking.chosen is not None:
            shares.append(sum(label is True for label in labels) / len(labels))
            n_right += right[ranking.chosen] is True
    chance = sum(shares) / len(shares) if shares else math.nan
    return Selection(n_problems, len(shares), n_right, chance)
