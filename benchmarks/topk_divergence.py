"""How fast are entropy and divergence of consecutive top-k lists, beside a loop over scipy?

    python benchmarks/topk_divergence.py [--steps 1000000] [--k 20] [--repeats 3]

One thread, CPU seconds, median of the repeats. The rival aligns two lists over their union in
Python and calls ``scipy.spatial.distance.jensenshannon`` (which returns the square root of the
divergence) and ``scipy.stats.entropy``; it is measured on a subset and scaled. Both are compared.
"""

import argparse
import platform
from functools import partial

import numba
import numpy as np
import scipy
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from _timing import seconds_of
from entropilot.information import sequence_bounds, sequence_measures, sequence_signal


def made_log(steps: int, k: int, vocab: int, seed: int) -> tuple[np.ndarray, ...]:
    """Lists that share about a quarter of their tokens with the step before, as real ones do."""
    rng = np.random.default_rng(seed)
    piece = np.empty((steps, k), np.int32)
    frequent = max(1, k // 2)
    piece[:, frequent:] = rng.integers(10 * k, vocab, (steps, k - frequent), dtype=np.int32)
    for slot in range(frequent):  # slot i has its own ten tokens, so that no row lists one twice
        piece[:, slot] = 2 * slot + rng.integers(0, 2, steps)
    top = -np.sort(rng.exponential(3, (steps, k)).astype(np.float32), -1)
    top -= np.log(np.exp(top).sum(-1, keepdims=True)) + np.float32(0.02)
    offsets = np.append(np.arange(0, steps, 500), steps)
    return offsets, piece, top, np.full(steps, k, np.int16)


def loop(piece: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entropy and divergence of one trace, step by step."""
    h, d = [], []
    before: dict[int, float] = {}
    for ids, logprobs in zip(piece.tolist(), np.exp(top.astype(np.float64)), strict=True):
        now: dict[int, float] = {}
        for token, p in zip(ids, logprobs.tolist(), strict=True):
            now[token] = now.get(token, 0.0) + p
        h.append(entropy(logprobs))
        keys = before.keys() | now.keys()
        pair = [[side.get(key, 0.0) for key in keys] for side in (before, now)]
        d.append(jensenshannon(*pair) ** 2 if before else np.nan)
        before = now
    return np.array(h), np.array(d)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--vocab", type=int, default=50_000)
    parser.add_argument("--subset", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    print(
        f"python {platform.python_version()}, numba {numba.__version__}, numpy {np.__version__}, "
        f"scipy {scipy.__version__}, {platform.machine()}, one thread"
    )
    log = made_log(settings.steps, settings.k, settings.vocab, seed=0)
    small = tuple(column[: settings.subset] for column in log[1:])
    offsets = np.array([0, len(small[0])])

    once, (h, d) = seconds_of(lambda: loop(small[0], small[1]), settings.repeats, warm=False)
    rival = once / len(h) * settings.steps
    found = sequence_signal(offsets, *small)
    difference = max(np.abs(found.entropy - h).max(), np.nanmax(np.abs(found.jsd - d)))
    print(f"{settings.steps} steps, k = {settings.k}; largest difference {difference:.1e} nats")
    print(f"{'scipy in a Python loop (scaled)':<44}{rival:>9.2f} s")
    for name, method in (
        ("sequence_signal: H, D, mass", sequence_signal),
        ("sequence_bounds: lump and bounds", sequence_bounds),
        ("sequence_measures: all eight", sequence_measures),
    ):
        extra = () if method is sequence_signal else (settings.vocab,)
        method(offsets, *small, *extra)
        middle, _ = seconds_of(partial(method, *log, *extra), settings.repeats, warm=False)
        print(
            f"{name:<44}{middle:>9.3f} s{middle / settings.steps * 1e6:>8.3f} us a step"
            f"{rival / middle:>8.0f}x"
        )


if __name__ == "__main__":
    main()
