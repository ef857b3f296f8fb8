"""Could the difference in support be noise? The exact answer, by exchanging samples.

If two models are the same, their samples of a problem are interchangeable: given the right answers
of both together, those of the base are hypergeometric. Drawing that again and again gives the
expanded and shrunk counts of a model against itself, whatever the rule of support.

Source: Fisher's exact test, drawn jointly over problems; its use for support dynamics is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.counts import checked_counts
from entropilot.information.intervals import Floats

#: (right, samples) -> shares (in support, out of it), each of their shape and in [0, 1].
Reach = Callable[[NDArray[np.int64], NDArray[np.int64]], tuple[Floats, Floats]]

CHUNK = 1 << 20  # counts drawn at once; part of what a seed means, so not a setting


class ExchangeTest(NamedTuple):
    """Expanded and shrunk counts beside those of a model against itself."""

    expanded: float
    shrunk: float
    null_expanded: float  # means over the exchanges
    null_shrunk: float
    p_expanded: float  # one-sided: chance of so many or more, were the models the same
    p_shrunk: float
    p_net: float  # two-sided, of E - S


def exchange_test(
    c_base: ArrayLike,
    n_base: ArrayLike,
    c_new: ArrayLike,
    n_new: ArrayLike,
    reach: Reach,
    *,
    n_exchanges: int = 2000,
    seed: int = 0,
) -> ExchangeTest:
    """Test E and S against those that the same model would show against itself.

        E = sum out_base * in_new,   S = sum in_base * out_new
        c_base | c_base + c_new  ~  Hypergeometric            under "the models are the same"
        p = (1 + number of exchanges at least as extreme) / (1 + exchanges)

    Args:
        c_base: [Q] right answers of the base.
        n_base: scalar or [Q] its samples.
        c_new: [Q] right answers of the new model, the same problems.
        n_new: scalar or [Q] its samples.
        reach: rule of support, for example ``lambda c, n: (c > 0, c == 0)``.
        n_exchanges: how often samples are exchanged; the smallest p is 1 / (1 + n_exchanges).
        seed: of the exchanges.

    Returns:
        Counts, their means under exchange, and p-values. They are exact for these problems; nothing
        is said about other problems.

    Raises:
        InputError: for bad counts, or problem lists of different length.

    Examples:
        >>> hit = lambda c, n: (c > 0, c == 0)
        >>> found = exchange_test([1] * 12, 4, [0] * 12, 4, hit)
        >>> found.shrunk, found.p_shrunk < 0.01, found.p_expanded
        (12.0, True, 1.0)
    """
    cb, nb = checked_counts(np.atleast_1d(np.asarray(c_base)), n_base, names=("c_base", "n_base"))
    cn, nn = checked_counts(np.atleast_1d(np.asarray(c_new)), n_new, names=("c_new", "n_new"))
    if cb.shape != cn.shape or n_exchanges < 1:
        raise InputError(
            f"the base has {len(cb)} problems and the new model {len(cn)}, with {n_exchanges} "
            f"exchanges; expected the same problems and at least 1 exchange"
        )
    base_in, base_out, base_row = _table(nb, reach)
    new_in, new_out, new_row = _table(nn, reach)

    def counts(c: NDArray[np.int64], total: NDArray[np.int64], which: NDArray[np.bool_]) -> Floats:
        base, new = base_row[which] + c, new_row[which] + total - c
        expanded = (base_out[base] * new_in[new]).sum(axis=-1)
        shrunk = (base_in[base] * new_out[new]).sum(axis=-1)
        return np.stack([expanded, shrunk], axis=-1)

    total = cb + cn
    all_of_them = np.ones(len(cb), dtype=np.bool_)
    found = counts(cb, total, all_of_them)
    # Problems that are all right or all wrong look the same under any exchange.
    moves = (total > 0) & (total < nb + nn)
    fixed = counts(cb[~moves], total[~moves], ~moves)
    drawn = np.tile(fixed, (n_exchanges, 1))
    good, bad, size = total[moves], (nb + nn - total)[moves], nb[moves]
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // max(len(good), 1))
    for start in range(0, n_exchanges, rows) if len(good) else ():
        part = slice(start, min(start + rows, n_exchanges))
        c = rng.hypergeometric(good, bad, size, size=(part.stop - part.start, len(good)))
        drawn[part] += counts(c, good, moves)
    net, net_drawn = found[0] - found[1], drawn[:, 0] - drawn[:, 1]
    centre = float(net_drawn.mean())  # 0 for equal numbers of samples
    return ExchangeTest(
        float(found[0]),
        float(found[1]),
        float(drawn[:, 0].mean()),
        float(drawn[:, 1].mean()),
        _p_value(drawn[:, 0] >= found[0] - 1e-9),
        _p_value(drawn[:, 1] >= found[1] - 1e-9),
        _p_value(np.abs(net_drawn - centre) >= abs(net - centre) - 1e-9),
    )


def _p_value(as_extreme: NDArray[np.bool_]) -> float:
    return float((1 + as_extreme.sum()) / (1 + len(as_extreme)))


def _table(n: NDArray[np.int64], reach: Reach) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """In and out for every count 0..n of each distinct n, flat; and where each problem's begin."""
    distinct, which = np.unique(n, return_inverse=True)
    starts = np.concatenate([[0], np.cumsum(distinct + 1)])
    c = np.concatenate([np.arange(m + 1) for m in distinct])
    inside, outside = reach(c, np.repeat(distinct, distinct + 1))
    return (
        np.asarray(inside, dtype=np.float64),
        np.asarray(outside, dtype=np.float64),
        starts[which.ravel()],
    )
