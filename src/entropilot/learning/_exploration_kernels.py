"""Compiled planning and episodes of conservative exploration; see ``conservative_explorer``.

Arrays: H steps, S states, A actions. Counts N[h, s, a, next]; totals N.sum(-1).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

BASELINE: Final = 0
MIXTURE: Final = 1
OPTIMISTIC: Final = 2

STEPMIX: Final = 0
EPSMIX: Final = 1
UNCONSTRAINED: Final = 2
ONLY_BASELINE: Final = 3

LINEAR: Final = 14.0  # of the bonus; 5.5 suffices by the proof in ``value_bounds``
TOLERANCE: Final = 1e-9  # rounding of a value that is gamma by construction


@njit(cache=True, nogil=True)
def fill_widths(totals: Array, log_term: float, wide: Array, narrow: Array) -> None:
    """beta and beta* of every cell."""
    n_steps, n_states, n_actions = totals.shape
    for h in range(n_steps):
        for s in range(n_states):
            for a in range(n_actions):
                grown = math.log(8 * math.e * (totals[h, s, a] + 1))
                wide[h, s, a] = log_term + n_states * grown
                narrow[h, s, a] = log_term + grown


@njit(cache=True, nogil=True)
def _cell(
    counts: Array, n: int, reward: float, u: Array, low: Array,
    root: float, wide: float, scale: float, left: int, horizon: int,
) -> tuple[float, float]:  # fmt: skip
    """Upper and lower Q of one cell."""
    if n == 0:
        return float(left), 0.0
    mean_u, mean_l = 0.0, 0.0
    for k in range(len(counts)):
        mean_u += counts[k] * u[k]
        mean_l += counts[k] * low[k]
    mean_u, mean_l = mean_u / n, mean_l / n
    bonus = 0.0
    if left > 1:  # after the last step nothing follows
        variance = 0.0
        for k in range(len(counts)):
            variance += counts[k] * (u[k] - mean_u) ** 2
        variance /= n
        bonus = scale * (3 * math.sqrt(variance * root / n) + LINEAR * horizon * horizon * wide / n)
        bonus += (mean_u - mean_l) / horizon
    return min(float(left), reward + bonus + mean_u), max(0.0, reward - bonus + mean_l)


@njit(cache=True, nogil=True)
def optimistic(
    N: Array, totals: Array, r: Array, wide: Array, narrow: Array, scale: float,
    policy: Array, U: Array, L: Array,
) -> None:  # fmt: skip
    """The greedy policy [H, S] of the upper values, and both bounds [H + 1, S]."""
    H, S, A = r.shape
    U[H], L[H] = 0.0, 0.0
    for h in range(H - 1, -1, -1):
        for s in range(S):
            best, best_low, chosen = -np.inf, -np.inf, 0
            for a in range(A):
                up, low = _cell(
                    N[h, s, a], totals[h, s, a], r[h, s, a], U[h + 1], L[h + 1],
                    narrow[h, s, a], wide[h, s, a], scale, H - h, H,
                )  # fmt: skip
                if up > best:
                    best, chosen = up, a
                best_low = max(best_low, low)
            policy[h, s], U[h, s], L[h, s] = chosen, best, best_low


@njit(cache=True, nogil=True)
def _policy_step(
    h: int, N: Array, totals: Array, r: Array, pi: Array, root: Array, wide: Array, scale: float,
    u: Array, low: Array, new_u: Array, new_low: Array,
) -> None:  # fmt: skip
    H, S, A = r.shape
    for s in range(S):
        up_sum, low_sum = 0.0, 0.0
        for a in range(A):
            if pi[h, s, a] > 0.0:
                x, y = _cell(
                    N[h, s, a], totals[h, s, a], r[h, s, a], u, low,
                    root[h, s, a], wide[h, s, a], scale, H - h, H,
                )  # fmt: skip
                up_sum += pi[h, s, a] * x
                low_sum += pi[h, s, a] * y
        new_u[s], new_low[s] = up_sum, low_sum


@njit(cache=True, nogil=True)
def evaluate(
    N: Array, totals: Array, r: Array, pi: Array, root: Array, wide: Array, scale: float,
    U: Array, L: Array,
) -> None:  # fmt: skip
    """Bounds [H + 1, S] of a policy's value, from its own bounds of the next step."""
    H = r.shape[0]
    U[H], L[H] = 0.0, 0.0
    for h in range(H - 1, -1, -1):
        _policy_step(h, N, totals, r, pi, root, wide, scale, U[h + 1], L[h + 1], U[h], L[h])


@njit(cache=True, nogil=True)
def plan(
    N: Array, totals: Array, r: Array, baseline: Array, start: Array, log_term: float,
    scale: float, fixed: bool, needs_bounds: bool, greedy: Array, low: Array, up: Array,
) -> None:  # fmt: skip
    """The optimistic policy as probabilities, and the bounds of all candidates.

    Candidate j follows the baseline at steps h < j and the optimistic policy after; all share the
    bounds of the latter, so that candidate j costs j steps.
    """
    H, S, A = r.shape
    wide, narrow = np.empty((H, S, A)), np.empty((H, S, A))
    fill_widths(totals, log_term, wide, narrow)
    chosen = np.empty((H, S), np.int64)
    U, L = np.empty((H + 1, S)), np.empty((H + 1, S))
    optimistic(N, totals, r, wide, narrow, scale, chosen, U, L)
    greedy[:] = 0.0
    for h in range(H):
        for s in range(S):
            greedy[h, s, chosen[h, s]] = 1.0
    if not needs_bounds:
        return
    evaluate(N, totals, r, greedy, wide, wide, scale, U, L)
    u, v = np.empty(S), np.empty(S)
    new_u, new_v = np.empty(S), np.empty(S)
    for j in range(H + 1):
        u[:], v[:] = U[j], L[j]
        root = narrow if j == H and fixed else wide
        for h in range(j - 1, -1, -1):
            _policy_step(h, N, totals, r, baseline, root, wide, scale, u, v, new_u, new_v)
            u[:], v[:] = new_u, new_v
        low[j], up[j] = (start * v).sum(), (start * u).sum()


@njit(cache=True, nogil=True)
def choose_step(low: Array, gamma: float) -> tuple[int, int, float]:
    """Kind, h0 and rho of StepMix."""
    last = len(low) - 1
    if low[0] >= gamma:
        return OPTIMISTIC, 0, 0.0
    if low[last] < gamma:
        return BASELINE, last, 1.0
    for j in range(1, last + 1):
        if low[j] >= gamma:
            return MIXTURE, j, (gamma - low[j - 1]) / (low[j] - low[j - 1])
    return BASELINE, last, 1.0


@njit(cache=True, nogil=True)
def choose_coin(low_first: float, low_last: float, gamma: float) -> tuple[int, float]:
    """Kind and eps of EpsMix."""
    if low_first >= gamma:
        return OPTIMISTIC, 0.0
    if low_last < gamma:
        return BASELINE, 1.0
    return MIXTURE, (gamma - low_first) / (low_last - low_first)


@njit(cache=True, nogil=True)
def mix(baseline: Array, greedy: Array, h0: int, rho: float, pi: Array) -> None:
    """Baseline before step h0 - 1, a mixture at it, greedy from h0."""
    for h in range(len(pi)):
        share = 1.0 if h < h0 - 1 else (rho if h == h0 - 1 else 0.0)
        for s in range(pi.shape[1]):
            for a in range(pi.shape[2]):
                pi[h, s, a] = share * baseline[h, s, a] + (1.0 - share) * greedy[h, s, a]


@njit(cache=True, nogil=True)
def value_and_entropy(P: Array, r: Array, pi: Array, start: Array) -> tuple[float, float]:
    """True value of a policy, and its entropy summed over steps (nats)."""
    H, S, A = r.shape
    here, value, total = start.copy(), 0.0, 0.0
    for h in range(H):
        after = np.zeros(S)
        for s in range(S):
            if here[s] == 0.0:
                continue
            for a in range(A):
                p = pi[h, s, a]
                if p > 0.0:
                    total -= here[s] * p * math.log(p)
                    value += here[s] * p * r[h, s, a]
                    for k in range(S):
                        after[k] += here[s] * p * P[h, s, a, k]
        here = after
    return value, total


@njit(cache=True, nogil=True)
def _cumulate(p: Array, out: Array) -> None:
    """Running sums along the last axis, the last one above every draw."""
    flat, target = p.reshape(-1, p.shape[-1]), out.reshape(-1, p.shape[-1])
    for i in range(len(flat)):
        total = 0.0
        for k in range(flat.shape[1]):
            total += flat[i, k]
            target[i, k] = total
        last = flat.shape[1] - 1
        while last > 0 and flat[i, last] == 0.0:  # what has no chance is never drawn
            last -= 1
        target[i, last:] = 2.0


@njit(cache=True, nogil=True, inline="always")
def _draw(cumulative: Array, x: float) -> int:
    k = 0
    while cumulative[k] <= x:
        k += 1
    return k


@njit(cache=True, nogil=True)
def play(
    P: Array, r: Array, baseline: Array, start: Array, gamma: float, log_term: float, scale: float,
    fixed: bool, method: int, growth: float, every: int, rng: Any, N: Array, totals: Array,
    episodes: int, values: Array, entropies: Array, kinds: Array, places: Array, shares: Array,
    lengths: Array,
) -> tuple[int, int]:  # fmt: skip
    """Play episodes and add them to the counts; one row of the outputs for each plan.

    Returns:
        Episodes played and plans made; stops early when the rows are full.
    """
    H, S, A = r.shape
    greedy, pi = np.zeros((H, S, A)), np.zeros((H, S, A))
    low, up = np.zeros(H + 1), np.zeros(H + 1)
    next_state, first = np.empty((H, S, A, S)), np.empty((1, S))
    _cumulate(P, next_state)
    _cumulate(start.reshape(1, S), first)
    cumulative, other = np.empty((H, S, A)), np.empty((H, S, A))
    _cumulate(baseline, other)
    base_value, base_entropy = value_and_entropy(P, r, baseline, start)
    limits = np.empty((H, S, A))
    needs_bounds = method in (STEPMIX, EPSMIX)
    done, plans = 0, 0
    while done < episodes and plans < len(lengths):
        kind, h0, share, eps = BASELINE, H, 1.0, 0.0
        if method != ONLY_BASELINE:
            plan(
                N, totals, r, baseline, start, log_term, scale, fixed, needs_bounds,
                greedy, low, up,
            )  # fmt: skip
            if method == STEPMIX:
                kind, h0, share = choose_step(low, gamma)
            elif method == EPSMIX:
                kind, eps = choose_coin(low[0], low[H], gamma)
                h0, share = (H, eps) if kind == BASELINE else (0, eps)
            else:
                kind, h0, share = OPTIMISTIC, 0, 0.0
        if method == EPSMIX and kind != BASELINE:
            mix(baseline, greedy, 0, 0.0, pi)
            value, entropy = value_and_entropy(P, r, pi, start)
            value = eps * base_value + (1 - eps) * value
            entropy = eps * base_entropy + (1 - eps) * entropy
        else:
            mix(baseline, greedy, h0, share, pi)
            value, entropy = value_and_entropy(P, r, pi, start)
        _cumulate(pi, cumulative)
        for h in range(H):
            for s in range(S):
                for a in range(A):
                    n = totals[h, s, a]
                    limits[h, s, a] = max(n * growth, n + 1.0) if growth > 0.0 else np.inf
        flips = method == EPSMIX and kind == MIXTURE
        begun, due = done, False
        while done < episodes and not due:
            table = other if flips and rng.random() < eps else cumulative
            s = _draw(first[0], rng.random())
            for h in range(H):
                a = _draw(table[h, s], rng.random())
                k = _draw(next_state[h, s, a], rng.random())
                N[h, s, a, k] += 1
                totals[h, s, a] += 1
                if totals[h, s, a] >= limits[h, s, a]:
                    due = True
                s = k
            done += 1
            if method == ONLY_BASELINE:
                due = False
            elif every > 0 and done - begun >= every:
                due = True
        values[plans], entropies[plans], kinds[plans] = value, entropy, kind
        places[plans], shares[plans], lengths[plans] = h0, share, done - begun
        plans += 1
    return done, plans
