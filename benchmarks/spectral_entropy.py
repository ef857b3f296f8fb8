"""Spectral entropy and mutual information beside the authors' package, and at 100,000 points.

    python benchmarks/spectral_entropy.py [--points 2000] [--large 0] [--repeats 5]

One thread, CPU seconds, median of the repeats. The rival is ``dse-dsmi`` (pip install dse-dsmi).
Both take the same points, and the results are compared. The bound is LAPACK's eigenvalues of the
same matrix alone. ``--large 100000`` adds estimates of a cloud that no exact spectrum fits.
"""

import argparse
import platform
import time
import warnings
from functools import partial

import numpy as np
import scipy

from _timing import seconds_of
from entropilot.information.spectral_approximation import dse_estimate
from entropilot.information.spectral_entropy import dse
from entropilot.information.spectral_information import dsmi


def cloud(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ten blobs of unit variance whose centres lie at distance 20 from the origin."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(10, d))
    centres *= 20 / np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.arange(n) % 10
    return rng.normal(size=(n, d)) + centres[labels], labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    settings = parser.parse_args()
    try:
        from dse_dsmi.diffusion import compute_diffusion_matrix
        from dse_dsmi.dse import diffusion_spectral_entropy
        from dse_dsmi.dsmi import diffusion_spectral_mutual_information
    except ImportError:
        print("the rival is not installed: pip install dse-dsmi")
        return
    warnings.simplefilter("ignore")

    def theirs_of(z, labels):
        return diffusion_spectral_mutual_information(z, labels)[0]

    def ours_of(z, labels):
        return dsmi(z, labels, 10.0).value

    print(
        f"python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"{platform.machine()}, one thread; {settings.points} points, sigma 10"
    )
    head = f"{'dimensions':>10}{'what':>24}{'dse-dsmi':>12}{'entropilot':>12}{'ratio':>8}"
    print(f"{head}{'eigenvalues alone':>20}{'difference':>12}")
    for d in (2, 5, 20, 64, 512):
        z, y = cloud(settings.points, d)
        kernel = compute_diffusion_matrix(z)
        part = compute_diffusion_matrix(z[y == 0])
        wrong = np.random.default_rng(1).permutation(y)
        uneven = np.minimum(np.random.default_rng(2).geometric(0.15, len(y)) - 1, 9)
        whole_bound = seconds_of(lambda k=kernel: np.linalg.eigvalsh(k), settings.repeats)[0]
        part_bound = seconds_of(lambda k=part: np.linalg.eigvalsh(k), settings.repeats)[0]
        for what, rival, ours, bound in (
            ("DSE", partial(diffusion_spectral_entropy, z), partial(dse, z, 10.0), whole_bound),
            (
                "DSMI, 10 equal classes",
                partial(theirs_of, z, wrong),
                partial(ours_of, z, wrong),
                60 * part_bound,
            ),
            (
                "DSMI, 10 uneven classes",
                partial(theirs_of, z, uneven),
                partial(ours_of, z, uneven),
                float("nan"),
            ),
        ):
            theirs, expected = seconds_of(rival, settings.repeats)
            own, found = seconds_of(ours, settings.repeats)
            print(
                f"{d:>10}{what:>24}{theirs:>10.4f} s{own:>10.4f} s{theirs / own:>7.1f}x"
                f"{bound:>18.4f} s{abs(found - expected):>12.0e}"
            )
    print("\nestimates beside the exact value, width of a third of the median distance")
    for d in (2, 20, 200):
        z, _ = cloud(settings.points, d)
        exact = dse(z, "median:1/3")
        for method in ("nystrom", "slq"):
            own, found = seconds_of(
                lambda z=z, m=method: dse_estimate(z, "median:1/3", method=m), settings.repeats
            )
            print(
                f"{d:>10} dimensions {method:>8}: off by {abs(found.value - exact):.4f}, states "
                f"{found.error:.4f} bits; {own:.3f} s"
            )
    if settings.large:
        for d in (2, 64):
            z, _ = cloud(settings.large, d)
            start = time.process_time()
            found = dse_estimate(z, "median:1/3")
            own = time.process_time() - start
            print(
                f"{settings.large} points in {d} dimensions: {found.value:.4f} +- "
                f"{found.error:.4f} bits by {found.method}, {own:.0f} s (an exact spectrum would "
                f"take {8 * settings.large**2 / 2**30:.0f} GiB)"
            )


if __name__ == "__main__":
    main()
