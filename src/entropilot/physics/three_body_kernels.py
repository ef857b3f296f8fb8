"""Integrators of three bodies with a shared adaptive step ``mu`` times the collision time.

The fourth-order Hermite scheme is that of AMUSE's ``hermite``: predict, evaluate, correct once. The
leapfrog is kick-drift-kick with the same criterion. All work in place, without an allocation.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

#: How an advance ended: well, at the limit of steps, or because a step was lost to rounding.
DONE: Final = 0
TOO_MANY: Final = 1
NO_PROGRESS: Final = 2
#: What ``advance_batch`` integrates with.
HERMITE: Final = 0
LEAPFROG: Final = 1
_ROUNDING: Final = 1e-12  # of the time; a step that is not above it is lost


@numba.njit(cache=True, fastmath=False, inline="always")
def _field(m: Any, x: Any, v: Any, a: Any, j: Any) -> float:
    """Accelerations and jerks; returns the smallest collision time to the fourth power."""
    for i in range(3):
        for c in range(3):
            a[i, c] = 0.0
            j[i, c] = 0.0
    least = np.inf
    for i in range(2):
        for k in range(i + 1, 3):
            r0, r1, r2 = x[k, 0] - x[i, 0], x[k, 1] - x[i, 1], x[k, 2] - x[i, 2]
            w0, w1, w2 = v[k, 0] - v[i, 0], v[k, 1] - v[i, 1], v[k, 2] - v[i, 2]
            rr = r0 * r0 + r1 * r1 + r2 * r2
            vv = w0 * w0 + w1 * w1 + w2 * w2
            rv = (r0 * w0 + r1 * w1 + r2 * w2) / rr
            r3 = rr * np.sqrt(rr)
            f0, f1, f2 = r0 / r3, r1 / r3, r2 / r3
            g0 = (w0 - 3.0 * rv * r0) / r3
            g1 = (w1 - 3.0 * rv * r1) / r3
            g2 = (w2 - 3.0 * rv * r2) / r3
            a[i, 0] += m[k] * f0
            a[i, 1] += m[k] * f1
            a[i, 2] += m[k] * f2
            a[k, 0] -= m[i] * f0
            a[k, 1] -= m[i] * f1
            a[k, 2] -= m[i] * f2
            j[i, 0] += m[k] * g0
            j[i, 1] += m[k] * g1
            j[i, 2] += m[k] * g2
            j[k, 0] -= m[i] * g0
            j[k, 1] -= m[i] * g1
            j[k, 2] -= m[i] * g2
            if vv > 0.0:
                least = min(least, rr * rr / (vv * vv))
            both = m[i] + m[k]
            least = min(least, rr / ((f0 * f0 + f1 * f1 + f2 * f2) * both * both))
    return least


@numba.njit(cache=True, inline="always")
def _next_step(t: float, t_end: float, dt: float) -> tuple[float, bool]:
    """The step to take, and whether it is the last; 0 for one that is lost to rounding."""
    last = t + dt >= t_end
    if last:
        dt = t_end - t
    if dt <= _ROUNDING * abs(t):
        dt = 0.0
    return dt, last


@numba.njit(cache=True)
def hermite_interval(
    m: Any, x: Any, v: Any, t: float, t_end: float, mu: float, max_steps: int, work: Any
) -> tuple[int, int, float]:
    """Advance to ``t_end``: steps taken, how it ended, and the time reached.

    Args:
        m: [3] masses.
        x: [3, 3] positions, changed in place.
        v: [3, 3] velocities, changed in place.
        t: time now.
        t_end: time wanted.
        mu: step over collision time.
        max_steps: limit.
        work: [6, 3, 3] scratch.
    """
    a, j, a1, j1, xp, vp = work[0], work[1], work[2], work[3], work[4], work[5]
    coll = np.sqrt(np.sqrt(_field(m, x, v, a, j)))
    steps = 0
    while t < t_end:
        if steps >= max_steps:
            return steps, TOO_MANY, t
        dt, last = _next_step(t, t_end, mu * coll)
        if dt == 0.0:
            return steps, DONE if last else NO_PROGRESS, t
        for i in range(3):
            for c in range(3):
                xp[i, c] = x[i, c] + dt * (v[i, c] + dt * (a[i, c] / 2.0 + dt * j[i, c] / 6.0))
                vp[i, c] = v[i, c] + dt * (a[i, c] + dt * j[i, c] / 2.0)
        coll = np.sqrt(np.sqrt(_field(m, xp, vp, a1, j1)))
        for i in range(3):
            for c in range(3):
                now = v[i, c]
                new = (
                    now
                    + (a[i, c] + a1[i, c]) * (dt / 2.0)
                    + (j[i, c] - j1[i, c]) * (dt * dt / 12.0)
                )
                x[i, c] += (now + new) * (dt / 2.0) + (a[i, c] - a1[i, c]) * (dt * dt / 12.0)
                v[i, c] = new
                a[i, c] = a1[i, c]
                j[i, c] = j1[i, c]
        t = t_end if last else t + dt
        steps += 1
    return steps, DONE, t


@numba.njit(cache=True)
def leapfrog_interval(
    m: Any, x: Any, v: Any, t: float, t_end: float, mu: float, max_steps: int, work: Any
) -> tuple[int, int, float]:
    """As ``hermite_interval``, second order: half a kick, a drift, half a kick."""
    a, j = work[0], work[1]
    coll = np.sqrt(np.sqrt(_field(m, x, v, a, j)))
    steps = 0
    while t < t_end:
        if steps >= max_steps:
            return steps, TOO_MANY, t
        dt, last = _next_step(t, t_end, mu * coll)
        if dt == 0.0:
            return steps, DONE if last else NO_PROGRESS, t
        for i in range(3):
            for c in range(3):
                v[i, c] += a[i, c] * (dt / 2.0)
                x[i, c] += v[i, c] * dt
        _field(m, x, v, a, j)
        for i in range(3):
            for c in range(3):
                v[i, c] += a[i, c] * (dt / 2.0)
        coll = np.sqrt(np.sqrt(_field(m, x, v, a, j)))
        t = t_end if last else t + dt
        steps += 1
    return steps, DONE, t


@numba.njit(cache=True, inline="always")
def total_energy(m: Any, x: Any, v: Any) -> float:
    """Kinetic and potential energy of one system."""
    total = 0.0
    for i in range(3):
        total += 0.5 * m[i] * (v[i, 0] ** 2 + v[i, 1] ** 2 + v[i, 2] ** 2)
        for k in range(i + 1, 3):
            rr = (x[i, 0] - x[k, 0]) ** 2 + (x[i, 1] - x[k, 1]) ** 2 + (x[i, 2] - x[k, 2]) ** 2
            total -= m[i] * m[k] / np.sqrt(rr)
    return total


@numba.njit(cache=True, parallel=True)
def advance_batch(
    kind: int, m: Any, x: Any, v: Any, t: Any, t_end: Any, mu: Any, max_steps: int, work: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Advance n systems: steps [n], how each ended [n], energies [n].

    Args:
        kind: ``HERMITE`` or ``LEAPFROG``.
        m: [n, 3] masses.
        x: [n, 3, 3] positions, changed in place.
        v: [n, 3, 3] velocities, changed in place.
        t: [n] times; set to what was reached.
        t_end: [n] times wanted.
        mu: [n] step over collision time.
        max_steps: limit of each.
        work: [n, 6, 3, 3] scratch.
    """
    n = len(t)
    steps = np.zeros(n, np.int64)
    ended = np.zeros(n, np.int64)
    found = np.zeros(n)
    for s in numba.prange(n):
        if kind == HERMITE:
            steps[s], ended[s], t[s] = hermite_interval(
                m[s], x[s], v[s], t[s], t_end[s], mu[s], max_steps, work[s]
            )
        else:
            steps[s], ended[s], t[s] = leapfrog_interval(
                m[s], x[s], v[s], t[s], t_end[s], mu[s], max_steps, work[s]
            )
        found[s] = total_energy(m[s], x[s], v[s])
    return steps, ended, found
