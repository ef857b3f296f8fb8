"""Right chains beside wrong ones: mean trajectories, and how well each number tells them apart.

Source: Measuring Reasoning Utility in LLMs via Conditional Entropy Reduction, arXiv 2508.20395.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.information import AucInterval, auc_interval, cluster_bootstrap
from entropilot.traces.utility import (
    GRID,
    Floats,
    Trajectory,
    align,
    summarise_trajectory,
)


@dataclass(frozen=True)
class GroupCurve:
    """Mean aligned trajectory of the right or the wrong chains of one category."""

    category: str
    right: bool
    n: int
    mean: Floats  # [G]
    low: Floats  # [G] 95 %, bootstrap over problems
    high: Floats  # [G]
    n_tokens: float  # mean length of the chains
    n_steps: float


@dataclass(frozen=True)
class GroupReport:
    """Right chains beside wrong ones; ``aucs`` tell how well a number points at wrong chains."""

    curves: tuple[GroupCurve, ...]
    aucs: Mapping[str, AucInterval]  # of "-drop", "-drop_before_last", "slope", "h_last", ...
    unit: str

    def curve(self, right: bool, category: str = "all") -> GroupCurve | None:
        """The curve of one group; None where it has no chains."""
        found = (c for c in self.curves if c.right == right and c.category == category)
        return next(found, None)


def check_comparable(trajectories: Sequence[Trajectory]) -> None:
    """Refuse trajectories of different answer modes or connectors: their levels differ by that.

    Raises:
        InputError: they are mixed; both kinds are named.

    Examples:
        >>> check_comparable([])
    """
    kinds = {(t.which, t.connector) for t in trajectories}
    if len(kinds) > 1:
        raise InputError(
            f"the trajectories mix answer modes or connectors: {sorted(kinds)}; "
            "a report compares chains that were measured the same way"
        )


def group_report(
    trajectories: Sequence[Trajectory],
    right: ArrayLike,
    *,
    category: Sequence[str] | None = None,
    problem: ArrayLike | None = None,
    grid: int = GRID,
    unit: str = "nats",
    seed: int = 0,
    n_resamples: int = 2000,
) -> GroupReport:
    """Mean trajectories of right and wrong chains, and how well each summary separates them.

    The leak control stands beside the drop: "-drop_before_last" leaves out the last step, which
    usually states the answer.

    Args:
        trajectories: n; all of one connector and one answer mode.
        right: [n] bool.
        category: [n] names; curves are given for each and for "all".
        problem: [n] the problem of each chain: intervals draw problems.
        grid: G.
        unit: "nats" or "bits", of the curves only.
        seed: of the bootstrap.
        n_resamples: of the bootstrap.

    Returns:
        Curves and AUCs (higher means wrong).

    Raises:
        InputError: mixed connectors or modes, or labels of another length.

    Examples:
        >>> from entropilot.traces.utility import answer_entropy_of_span, trajectory_of_spans
        >>> spans = [answer_entropy_of_span(np.eye(3)[[0]] * s, [0]) for s in (0.0, 2.0, 4.0)]
        >>> falling = trajectory_of_spans(spans, connector=" ", answer="7")
        >>> rising = trajectory_of_spans(spans[::-1], connector=" ", answer="7")
        >>> group_report([falling, rising], [True, False]).aucs["-drop"].value
        1.0
    """
    if unit not in ("nats", "bits"):
        raise ConfigurationError(unknown_name("unit", unit, ["nats", "bits"]))
    labels = np.asarray(right, dtype=bool)
    if len(labels) != len(trajectories) or not len(labels):
        raise InputError(
            f"{len(trajectories)} trajectories have {len(labels)} labels; give one for each"
        )
    check_comparable(trajectories)
    problems = np.arange(len(labels)) if problem is None else np.asarray(problem)
    names = np.array(["all"] * len(labels) if category is None else list(category))
    found = [summarise_trajectory(t) for t in trajectories]
    rows = align(trajectories, grid) / (np.log(2.0) if unit == "bits" else 1.0)
    curves = []
    for name in ["all", *sorted(set(names.tolist()) - {"all"})]:
        for is_right in (True, False):
            chosen = (labels == is_right) & ((names == name) | (name == "all"))
            chosen &= np.isfinite(rows[:, 0])
            if chosen.any():
                band = cluster_bootstrap(
                    rows[chosen],
                    groups=problems[chosen],
                    rng=np.random.default_rng(seed),
                    n_resamples=n_resamples,
                )
                picked = [found[i] for i in np.flatnonzero(chosen)]
                lengths = [
                    float(np.mean([s[key] for s in picked])) for key in ("n_tokens", "n_steps")
                ]
                curves.append(
                    GroupCurve(
                        name,
                        is_right,
                        int(chosen.sum()),
                        np.asarray(band.value),
                        np.asarray(band.low),
                        np.asarray(band.high),
                        *lengths,
                    )
                )
    nll = [(float(t.nll[-1]), float(t.nll[-2]) if t.n_steps else np.nan) for t in trajectories]
    scores = {
        "-drop": [-s["drop"] if s["n_steps"] else np.nan for s in found],
        "-drop_before_last": [-s["drop_before_last"] for s in found],
        "slope": [s["slope"] for s in found],
        "h_last": [s["h_last"] for s in found],
        "nll_last": [last for last, _ in nll],
        "nll_before_last": [before for _, before in nll],
        "n_tokens": [s["n_tokens"] for s in found],
        "n_steps": [s["n_steps"] for s in found],
    }
    aucs = {
        name: auc_interval(values, ~labels, problems, n_resamples, seed)
        for name, values in scores.items()
    }
    return GroupReport(tuple(curves), aucs, unit)
