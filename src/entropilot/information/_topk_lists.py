"""One top-k list, validated, and the union of two; see ``topk.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from entropilot.errors import InputError
from entropilot.information._backend import (
    Array,
    accumulator,
    as_float,
    first_row,
    is_torch,
    log_or_zero,
    namespace,
)
from entropilot.information._topk_kernels import IMPOSSIBLE, MASS_SLACK


class Listed:
    """Probabilities of one list, float64, validated; 0 in slots that do not count."""

    known: Array  # [..., K] of all known tokens
    proper: Array  # [..., K] of the top-k proper
    count: Array  # [...] how many tokens are known
    ids: Array | None  # [..., K] -1 where nothing is known

    def __init__(self, logprobs: Array, n_top: Array | None, ids: Array | None = None) -> None:
        logprobs = as_float(logprobs)
        self._dtype = logprobs.dtype
        xp = namespace(logprobs)
        if is_torch(logprobs):
            lp = logprobs.to(accumulator(logprobs))
        else:
            lp = logprobs.astype(np.float64)
        if lp.ndim == 0:
            raise InputError(
                "logprobs is a single number; the last axis must hold the alternatives"
            )
        slots = xp.arange(lp.shape[-1]) if not is_torch(lp) else _arange_like(lp)
        if n_top is None:
            is_proper = is_known = xp.ones_like(lp, dtype=bool)
        else:
            first = (n_top if is_torch(n_top) else np.asarray(n_top))[..., None]
            if is_torch(lp):
                first = xp.as_tensor(first, device=lp.device)
            is_proper = (slots < first) & xp.ones_like(lp, dtype=bool)
            is_known = (slots <= first) & (first > 0) & xp.ones_like(lp, dtype=bool)
        possible = ~(lp <= IMPOSSIBLE) & is_known
        _check_logprobs(lp, possible)
        zero = xp.zeros_like(lp)
        # exp of 0 where nothing is possible: its gradient is finite, and `where` takes it out
        self.known = xp.where(possible, xp.exp(xp.where(possible, lp, zero)), zero)
        self.proper = xp.where(is_proper, self.known, zero)
        counted = possible if n_top is None else is_proper | possible
        self.count = counted.sum(-1) + zero.sum(-1)
        mass = self.known.sum(-1)
        if bool((mass > 1.0 + MASS_SLACK).any()):
            bad = mass > 1.0 + MASS_SLACK
            worst = float(mass.max())
            raise InputError(
                f"logprobs, {first_row(bad)}: the listed mass exceeds 1 (largest {worst:.6g}). "
                "Check that they are natural logarithms and that no token is listed twice"
            )
        self.ids = None if ids is None else self._numbered(ids, counted)

    def _numbered(self, ids: Array, counted: Array) -> Array:
        """The ids, -1 in slots that do not count."""
        xp = namespace(self.known)
        numbers = xp.as_tensor(ids, device=self.known.device) if xp is not np else np.asarray(ids)
        if tuple(numbers.shape) != tuple(self.known.shape):
            raise InputError(
                f"ids have shape {tuple(numbers.shape)}, logprobs {tuple(self.known.shape)}"
            )
        return xp.where(counted & (numbers >= 0), numbers, xp.full_like(numbers, -1))

    def check_renormalisable(self) -> None:
        xp = namespace(self.proper)
        width = self.proper.shape[-1]
        few = xp.amax(self.proper, -1) <= 0 if width else xp.ones_like(self.proper.sum(-1)) > 0
        if bool(few.any()):
            raise InputError(f"logprobs, {first_row(few)}: every listed token is impossible")
        single = (self.count < 2) if width > 1 else few | True
        if bool(single.any()):
            raise InputError(
                f"logprobs, {first_row(single)}: fewer than two listed tokens, so the renormalised "
                'entropy is 0 whatever the truth. Use mode="bounds", or ask the server for more '
                "alternatives (top_logprobs)"
            )

    def returned(self, value: Array) -> Array:
        """In the precision of the input."""
        return value.to(self._dtype) if is_torch(value) else value.astype(self._dtype)


def _check_logprobs(lp: Array, possible: Array) -> None:
    xp = namespace(lp)
    bad = xp.isnan(lp) & possible
    if bool(bad.any()):
        raise InputError(f"logprobs, {first_row(bad.any(-1))}: nan. Leave that token out")
    positive = possible & (lp > MASS_SLACK)
    if bool(positive.any()):
        row = first_row(positive.any(-1))
        largest = float(xp.amax(xp.where(possible, lp, xp.zeros_like(lp))))
        unit = bool(((lp >= 0) & (lp <= 1) | ~possible).all())
        hint = (
            "the values look like probabilities: take np.log first"
            if unit
            else "positive values are no log-probabilities; is it padding?"
        )
        raise InputError(
            f"logprobs, {row}: largest value {largest:.4g}; natural-log probabilities are <= 0; "
            f"{hint}"
        )


def _arange_like(lp: Any) -> Any:
    return namespace(lp).arange(lp.shape[-1], device=lp.device)


def plogp(p: Array) -> Array:
    return p * log_or_zero(p)


def union(a: Listed, b: Listed, *, proper: bool) -> tuple[Array, Array, Array]:
    """Both distributions over the union of their ids [..., K+L], and which ids both list.

    Sort and merge: O(K log K) a row, and equal ids within a list are summed on the way.
    """
    xp = namespace(a.known)
    p, q = (a.proper, b.proper) if proper else (a.known, b.known)
    lead = np.broadcast_shapes(tuple(p.shape[:-1]), tuple(q.shape[:-1]))

    def wide(x: Array) -> Array:
        return xp.broadcast_to(x, (*lead, x.shape[-1]))

    p, q = wide(p), wide(q)
    ids_a, ids_b = wide(a.ids), wide(b.ids)
    ids = xp.concatenate([ids_a, ids_b], -1)
    order = ids.argsort(-1)
    ids = xp.take_along_dim(ids, order, -1) if is_torch(ids) else np.take_along_axis(ids, order, -1)
    fresh = ids[..., 1:] != ids[..., :-1]
    group = xp.concatenate([xp.zeros_like(ids[..., :1]), fresh.cumsum(-1)], -1)

    def merged(first: Array, second: Array) -> Array:
        both = xp.concatenate([first, second], -1)
        if is_torch(both):
            both = xp.take_along_dim(both, order, -1)
            return xp.zeros_like(both).scatter_add(-1, group, both)
        both = np.take_along_axis(both, order, -1)
        n, width = int(np.prod(lead)), both.shape[-1]
        flat = (group + width * np.arange(n).reshape(*lead, 1)).ravel()
        return np.bincount(flat, both.ravel(), n * width).reshape(both.shape)

    zero_a, zero_b = xp.zeros_like(p), xp.zeros_like(q)
    listed_a = xp.where(ids_a >= 0, xp.ones_like(p), zero_a)
    listed_b = xp.where(ids_b >= 0, xp.ones_like(q), zero_b)
    common = (merged(listed_a, zero_b) > 0) & (merged(zero_a, listed_b) > 0)
    return merged(p, zero_b), merged(zero_a, q), common
