"""Can a set of mean values be met at all? A linear programme that answers with a reason.

Means m of features f are met by some distribution exactly when m lies in the convex hull of the
rows f(i). Where it does not, a direction d exists with d.f(i) > d.m for every state i; where it
lies on the hull's boundary, one with d.f(i) >= d.m. The direction of least 1-norm is sparse: it
names the few constraints that contradict each other. For paths the features sit on the
transitions, and d.g(i,j) + u(i) - u(j) takes the place of d.f(i): the potential u adds up to
nothing along a cycle.

Source: Farkas' lemma; the constraints are those of arXiv 1105.5662.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SMALL: Final = 1e-7  # coefficients below it come from the solver's own tolerance


@dataclass(frozen=True)
class Feasibility:
    """Where a target lies.

    Attributes:
        place: inside, on the boundary of, or outside what distributions can reach.
        direction: [m] of the violated or touching inequality; zeros inside.
        reach: smallest value of ``direction`` times the features over the states (inside: 0).
        asked: what the targets make of ``direction``.
    """

    place: Literal["inside", "boundary", "outside"]
    direction: Floats
    reach: float
    asked: float


def feasibility(features: Floats, targets: Floats, potentials: Any = None) -> Feasibility:
    """Whether means can be met, with the direction that says why not.

    Args:
        features: [n, m], one row a state (or a transition).
        targets: [m].
        potentials: [n, k] sparse or dense; columns that the direction may add freely.

    Examples:
        >>> feasibility(np.array([[1.0], [6.0]]), np.array([7.0])).place
        'outside'
    """
    shift = features - targets
    scale = np.abs(shift).max(axis=0)
    scale[scale == 0] = 1.0
    scaled = shift / scale
    zero = np.zeros(len(targets))
    apart = _least_direction(scaled, potentials, least=1.0)
    if apart is not None:
        apart = _fewest(scaled, potentials, apart)
        return _found("outside", apart / scale, features, targets, potentials is None)
    touching = _least_direction(scaled, potentials, least=0.0)
    if touching is not None:
        return _found("boundary", touching / scale, features, targets, potentials is None)
    return Feasibility("inside", zero, 0.0, 0.0)


def _fewest(scaled: Floats, potentials: Any, apart: Floats) -> Floats:
    """A separating direction none of whose constraints can be left out."""
    kept = list(np.flatnonzero(np.abs(apart) > SMALL * np.abs(apart).max()))
    for a in tuple(kept):
        rest = [b for b in kept if b != a]
        without = _least_direction(scaled[:, rest], potentials, least=1.0) if rest else None
        if without is not None:
            kept = rest
            apart = np.zeros(scaled.shape[1])
            apart[kept] = without
    return apart


def _found(
    place: Literal["boundary", "outside"],
    direction: Floats,
    features: Floats,
    targets: Floats,
    is_state: bool,
) -> Feasibility:
    direction = np.where(np.abs(direction) > SMALL * np.abs(direction).max(), direction, 0.0)
    direction = direction / np.abs(direction).max()
    asked = float(direction @ targets)
    reach = float((features @ direction).min()) if is_state else float("nan")
    return Feasibility(place, direction, reach, asked)


def _least_direction(scaled: Floats, potentials: Any, *, least: float) -> Floats | None:
    """Direction of least 1-norm with scaled.d + potentials.u >= least; with 0, not all equal."""
    from scipy import sparse
    from scipy.optimize import linprog

    n, m = scaled.shape
    free = sparse.csr_array((n, 0)) if potentials is None else sparse.csr_array(potentials)
    k = free.shape[1]
    rows = sparse.hstack([scaled, -scaled, free]).tocsr()
    bounds: list[Any] = [(0, None)] * (2 * m) + [(None, None)] * k
    cost = np.concatenate([np.ones(2 * m), np.zeros(k)])
    equality: dict[str, Any] = {}
    if least == 0:
        mean = np.asarray(rows.mean(axis=0)).reshape(1, -1)
        equality = {"A_eq": mean, "b_eq": [1.0]}
        bounds = [(0, 1e7)] * (2 * m) + [(None, None)] * k  # beyond is a face within rounding
    found = linprog(
        cost, A_ub=-rows, b_ub=np.full(n, -least), bounds=bounds, method="highs", **equality
    )
    if found.status != 0 or found.fun > 1e9:
        return None
    direction: Floats = found.x[:m] - found.x[m : 2 * m]
    return direction if np.abs(direction).max() > 0 else None


def sentence(found: Feasibility, names: Sequence[str], kind: str = "state") -> str:
    """The violated inequality in words, with the constraints that take part.

    Examples:
        >>> far = Feasibility("outside", np.array([-1.0]), -6.0, -7.0)
        >>> sentence(far, ["face"])
        'every state has -1 x face >= -6, but the targets ask for -7'
    """
    parts = [
        f"{value:+.6g} x {name}"
        for value, name in zip(found.direction, names, strict=True)
        if value != 0
    ]
    left = " ".join(parts).removeprefix("+")
    if np.isnan(found.reach):
        return f"along every cycle the mean of {left} stays on one side of {found.asked:.6g}"
    ask = (
        f"but the targets ask for {found.asked:.6g}"
        if found.place == "outside"
        else "and the targets ask for just that"
    )
    return f"every {kind} has {left} >= {found.reach:.6g}, {ask}"
