"""Collapse metrics of 100,000 features: one pass, two passes, and the loops of the reference.

    python benchmarks/collapse_metrics.py [--samples 100000] [--features 512] [--repeats 3]

One thread, CPU seconds, median of the repeats. The reference code adds an outer product a sample in
a Python loop; it is measured on a subset and scaled. The plain way is two passes of numpy in
float64 with one matrix product.
"""

import argparse
import platform
import time

import numpy as np
import torch

from _timing import seconds_of
from entropilot.learning.collapse_metrics import nc_metrics
from entropilot.learning.collapse_stream import StreamingNC


def loop(h: np.ndarray, y: np.ndarray) -> float:
    """Scatter sample by sample, as the released validation script adds it."""
    k, d = int(y.max()) + 1, h.shape[1]
    means = np.stack([h[y == c].mean(0) for c in range(k)])
    within = np.zeros((d, d))
    for row, label in zip(h, y, strict=True):
        gap = (row - means[label])[:, None]
        within += gap @ gap.T
    return float(np.trace(within / len(h) @ np.linalg.pinv(between(h, means))) / k)


def plain(h: np.ndarray, y: np.ndarray) -> float:
    """Two passes and one product."""
    k = int(y.max()) + 1
    h = h.astype(np.float64)
    means = np.stack([h[y == c].mean(0) for c in range(k)])
    gap = h - means[y]
    return float(np.trace(gap.T @ gap / len(h) @ np.linalg.pinv(between(h, means))) / k)


def between(h: np.ndarray, means: np.ndarray) -> np.ndarray:
    gap = means - h.mean(0)
    return gap.T @ gap / len(means)


def stream(h: torch.Tensor, y: torch.Tensor, batch: int) -> float:
    seen = StreamingNC(int(y.max()) + 1, h.shape[1])
    for rows, labels in zip(h.split(batch), y.split(batch), strict=True):
        seen.update(rows, labels)
    return seen.metrics()["nc1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--subset", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, settings.samples)
    h = rng.normal(size=(settings.samples, settings.features)).astype(np.float32)
    h += rng.normal(size=(10, settings.features)).astype(np.float32)[y]
    tensors = torch.from_numpy(h), torch.from_numpy(y)
    print(
        f"python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}, "
        f"one thread; {settings.samples} x {settings.features} float32, 10 classes"
    )
    start = time.process_time()
    loop(h[: settings.subset], y[: settings.subset])
    rival = (time.process_time() - start) * settings.samples / settings.subset
    print(f"{'loop over samples (scaled)':<44}{rival:>9.2f} s")
    base, expected = seconds_of(lambda: plain(h, y), settings.repeats)
    print(f"{'numpy, two passes, float64':<44}{base:>9.2f} s")
    for name, work in (
        ("nc_metrics: kept features, all of NC1-NC3", lambda: nc_metrics(*tensors)["nc1"]),
        ("StreamingNC: one pass, batches of 1000", lambda: stream(*tensors, 1000)),
        ("StreamingNC: one pass, batches of 128", lambda: stream(*tensors, 128)),
    ):
        own, found = seconds_of(work, settings.repeats)
        print(
            f"{name:<44}{own:>9.2f} s{base / own:>7.1f}x numpy{rival / own:>8.0f}x loop; off by "
            f"{abs(found / expected - 1):.0e}"
        )


if __name__ == "__main__":
    main()
