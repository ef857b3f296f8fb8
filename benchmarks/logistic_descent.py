"""What does a step of logistic descent cost beside numpy, and zero errors beside scikit-learn?

    python benchmarks/logistic_descent.py [--repeats 3]

One thread, CPU seconds, median of the repeats. The numpy loop makes two matrix-vector products a
step, as the formula is written (labels times scores, then weights times labels times samples). The
bound is one read of the samples, measured as their sum. scikit-learn's estimators are run until
their training error is zero, with their tolerances off; they count passes, not updates.
"""

import argparse
import platform
import warnings

import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier

from _timing import seconds_of
from entropilot.learning.linear_separator import LinearSeparator
from entropilot.learning.logistic_descent import logistic_gd


def plain(x: np.ndarray, y: np.ndarray, step_size: float, steps: int) -> np.ndarray:
    """The loop that one writes first."""
    theta = np.zeros(x.shape[1])
    for _ in range(steps):
        margins = y * (x @ theta)
        if (margins > 0).all():
            break
        weights = 1 / (1 + np.exp(margins))
        theta += step_size * ((weights * y) @ x) / len(x)
    return theta


def steps_race(repeats: int) -> None:
    rng = np.random.default_rng(0)
    for n, d, steps in ((300, 65, 3000), (2000, 100, 600), (20_000, 64, 400), (20_000, 784, 80)):
        x = rng.normal(size=(n, d))
        y = np.where(rng.random(n) < 0.5, 1.0, -1.0)
        own, found = seconds_of(
            lambda x=x, y=y, k=steps: logistic_gd(x, y, 1.0, stop=None, max_iter=k).theta, repeats
        )
        rival, expected = seconds_of(lambda x=x, y=y, k=steps: plain(x, y, 1.0, k), repeats)
        read, _ = seconds_of(lambda x=x, k=steps: [x.sum() for _ in range(k)], repeats)
        print(
            f"{n:>7} x {d:<4}{own / steps * 1e3:>9.3f} ms a step{rival / own:>6.1f}x numpy"
            f"{own / read:>6.1f}x one read; off by {np.abs(found - expected).max():.0e}"
        )


def separation_race(repeats: int) -> None:
    digits = load_digits()
    rows = np.isin(digits.target, (1, 8))
    x, y = digits.data[rows] / 16, np.where(digits.target[rows] == 1, 1, -1)
    print(f"digits 1 and 8, {len(x)} x {x.shape[1]}: to zero training errors")
    for name, make in (
        ("LinearSeparator(100)", lambda: LinearSeparator(100.0)),
        ("LinearSeparator(1, normalized=False)", lambda: LinearSeparator(1.0, normalized=False)),
        ("sklearn Perceptron", lambda: Perceptron(tol=None, max_iter=400, random_state=0)),
        ("sklearn SGDClassifier(log_loss)", lambda: SGDClassifier(
            loss="log_loss", alpha=0, learning_rate="constant", eta0=10.0, tol=None, max_iter=400,
            random_state=0)),
        ("sklearn LogisticRegression(C=inf)", lambda: LogisticRegression(C=np.inf, max_iter=500)),
    ):  # fmt: skip
        used, model = seconds_of(lambda make=make: make().fit(x, y), repeats)
        print(f"  {name:<38}{used * 1e3:>8.1f} ms, {(model.predict(x) != y).sum()} errors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"python {platform.python_version()}, numpy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}, one thread"
    )
    steps_race(settings.repeats)
    separation_race(settings.repeats)


if __name__ == "__main__":
    main()
