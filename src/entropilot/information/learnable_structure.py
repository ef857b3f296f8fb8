"""How much structure a stream of symbols teaches a bounded observer, and how much stays noise.

The stream is cut into blocks, which context models of every order (see ``context_observer``) read
in random order. Block i costs l_i when it is first met. When all is read, each block is forgotten
and coded once more by what the others have taught: L_i. For each order,

    S = sum_i (l_i - L_i)        what learning cost: structure, bits
    H = sum_i L_i                what stays: time-bounded entropy, bits

The order with the smallest S + H describes the data best: its S is the epiplexity for this
observer. "Uniform noise" is one of the orders, so that a random stream has S = 0.

Paper: arXiv 2601.03220, Section 4 (prequential estimate, minimised over models). Departs from it:
the final loss is that of each block left out rather than of other held-out data, which makes the
difference a paired one and needs no i.i.d. stream; what repeats within a block only is no
structure. Random orders and intervals are ours; the paper reports neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.context_observer import context_memory, forget_stream, read_stream
from entropilot.information.kt_observer import checked_symbols

Floats = NDArray[np.float64]
Progress = Callable[[float, str], None]

SHORTEST: Final = 2_000  # symbols; fewer say nothing of what could be learnt
MOST_BLOCK: Final = 4096  # symbols
LEAST_BLOCKS: Final = 40


class SpreadMean(NamedTuple):
    """A number with its interval and the squared standard error and degrees behind it."""

    value: float
    low: float
    high: float
    variance: float
    degrees: float


@dataclass(frozen=True)
class LearnableStructure:
    """The two-part code of one stream, for every order of context and every order of reading.

    ``orders`` [K + 2]: -1 (uniform), 0, .. K. ``first`` [R, B, K + 2] bits of the b-th block read
    when it was met; ``last`` the same block by what all others taught. ``block_of`` [R, B] which
    block that was.
    """

    alphabet: int
    block: int  # symbols
    orders: NDArray[np.int64]
    first: Floats
    last: Floats
    block_of: NDArray[np.int64]
    missed: float  # share of lessons that found no room in the observer's memory
    confidence: float

    @property
    def n_symbols(self) -> int:
        """Symbols coded."""
        return self.block * int(self.block_of.shape[1])

    @property
    def structure(self) -> Floats:
        """[R, K + 2] bits of structure."""
        return np.asarray((self.first - self.last).sum(axis=1))

    @property
    def entropy(self) -> Floats:
        """[R, K + 2] bits of entropy."""
        return np.asarray(self.last.sum(axis=1))

    @property
    def best(self) -> int:
        """Column of the order with the smallest S + H."""
        return int(np.argmin((self.structure + self.entropy).mean(axis=0)))

    @property
    def order(self) -> int:
        """The order that describes the data best; -1 is uniform noise."""
        return int(self.orders[self.best])

    def structure_interval(self, column: int | None = None) -> SpreadMean:
        """Structure with its interval, at the best order or another."""
        j = self.best if column is None else column
        return self._total(self.first[..., j] - self.last[..., j])

    def entropy_interval(self, column: int | None = None) -> SpreadMean:
        """Entropy with its interval, at the best order or another."""
        j = self.best if column is None else column
        return self._total(self.last[..., j])

    def learnt(self, column: int | None = None) -> Floats:
        """[B] bits of structure that the first 1 .. B blocks have brought, mean over readings."""
        j = self.best if column is None else column
        return np.asarray((self.first[..., j] - self.last[..., j]).cumsum(axis=1).mean(axis=0))

    def _total(self, cost: Floats) -> SpreadMean:
        """Sum over blocks, mean over readings; spread from readings and, beside the place of a
        block in its reading, from blocks.
        """
        n_readings, n_blocks = cost.shape
        value = float(cost.sum(axis=1).mean())
        if n_readings == 1:
            return SpreadMean(value, math.nan, math.nan, math.nan, 0)
        of_block = np.zeros(n_blocks)
        np.add.at(of_block, self.block_of, cost - cost.mean(axis=0))
        own = float((of_block / n_readings).var(ddof=1)) * n_readings / (n_readings - 1)
        reading = float(cost.sum(axis=1).var(ddof=1)) / n_readings
        parts = [(n_blocks * own, n_blocks - 1), (reading, n_readings - 1)]
        return spread_mean(value, parts, self.confidence)


def spread_mean(
    value: float, parts: list[tuple[float, float]], confidence: float = 0.95
) -> SpreadMean:
    """A value with Student's interval from several sources of spread (Welch and Satterthwaite).

    Args:
        value: the estimate.
        parts: squared standard error and degrees of freedom of each source.
        confidence: in (0, 1).

    Examples:
        >>> found = spread_mean(10.0, [(1.0, 4)])
        >>> round(found.low, 2), round(found.high, 2)
        (7.22, 12.78)
    """
    from scipy.special import stdtrit  # costs 0.2 s to import

    variance = sum(v for v, _ in parts)
    if not variance > 0:
        end = value if variance == 0 else math.nan
        return SpreadMean(value, end, end, variance, math.inf)
    degrees = variance**2 / sum(v**2 / n for v, n in parts)
    half = float(stdtrit(degrees, 0.5 + confidence / 2)) * math.sqrt(variance)
    return SpreadMean(value, value - half, value + half, variance, degrees)


def structure_difference(a: LearnableStructure, b: LearnableStructure) -> SpreadMean:
    """S of ``a`` minus S of ``b``, bits, with its interval.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> noise = learnable_structure(rng.integers(0, 2, 4000), 2, order=2, readings=2)
        >>> structure_difference(noise, noise).value
        0.0
    """
    x, y = a.structure_interval(), b.structure_interval()
    parts = [(s.variance, s.degrees) for s in (x, y) if s.variance != 0]
    return spread_mean(x.value - y.value, parts, a.confidence)


def learnable_structure(
    symbols: ArrayLike,
    alphabet: int,
    *,
    order: int = 6,
    readings: int = 5,
    slots: int = 1 << 23,
    confidence: float = 0.95,
    progress: Progress = lambda _share, _doing: None,
) -> LearnableStructure:
    """Split what a stream costs into structure and noise, for context models of every order.

    Args:
        symbols: [n] integers in 0 .. alphabet - 1, at least 2,000; up to a block of 4096 at the
            end is left out.
        alphabet: A, >= 2; what "uniform" means. Streams are compared at one A.
        order: K, the longest context tried, 0 to 16.
        readings: random orders of reading; 2 or more give intervals.
        slots: of the observer's memory, 16 bytes each.
        confidence: of the intervals, which cover the order of reading and other blocks of the same
            source.
        progress: called with the share done and what is being done.

    Raises:
        InputError: too few symbols, symbols out of range, or no readings.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> noise = learnable_structure(rng.integers(0, 4, 20_000), 4, order=3, readings=2)
        >>> noise.order, noise.structure_interval().value
        (-1, 0.0)
        >>> walk = np.cumsum(rng.integers(0, 2, 20_000)) % 4  # half of the next symbol is known
        >>> found = learnable_structure(walk, 4, order=3)
        >>> bool(found.structure_interval().low > 0)
        True
        >>> round(found.entropy_interval().value / found.n_symbols, 2)
        1.0
    """
    x = checked_symbols(symbols, alphabet)
    if len(x) < SHORTEST:
        raise InputError(
            f"there are {len(x):,} symbols; at least {SHORTEST:,} are needed to tell what can be "
            "learnt from what is noise"
        )
    if readings < 1:
        raise InputError(f"readings is {readings}; expected at least 1")
    size = min(MOST_BLOCK, len(x) // LEAST_BLOCKS)
    n = len(x) // size
    blocks = x[: n * size].reshape(n, size)
    first = np.empty((readings, n, order + 2))
    last, block_of = np.empty_like(first), np.empty((readings, n), np.int64)
    missed = 0
    for r in range(readings):
        block_of[r] = np.random.default_rng([r, n]).permutation(n)
        memory = context_memory(alphabet, order, slots)
        for i, b in enumerate(block_of[r]):
            first[r, i] = read_stream(memory, blocks[b])
            progress((r + 0.4 * (i + 1) / n) / readings, f"reading {r + 1} of {readings}")
        missed = max(missed, int(memory.used[1]))
        for i, b in enumerate(block_of[r]):
            forget_stream(memory, blocks[b])
            last[r, i] = read_stream(memory, blocks[b])
            progress((r + 0.4 + 0.6 * (i + 1) / n) / readings, f"reading {r + 1} of {readings}")
    nats = math.log(2)
    return LearnableStructure(
        alphabet,
        size,
        np.arange(-1, order + 1),
        first / nats,
        last / nats,
        block_of,
        missed / (n * size * (order + 1)),
        confidence,
    )
