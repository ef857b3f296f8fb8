"""Figure of the PassUntil study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entropilot.information import cluster_bootstrap, log_minus_log, pass_rate
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by readers with any colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def draw(
    measurements: Sequence[Measurement],
    pooled: tuple[NDArray[np.float64], NDArray[np.float64]],
    lines: list[dict[str, Any]],
) -> Figure:
    """Pass rate against size, its straightened form with predictions, and the estimators' bias.

    Args:
        measurements: of all seeds.
        pooled: sizes [n] and rates [n, S].
        lines: every line tried, from ``prediction_rows``.

    Returns:
        A figure with three panels.

    Examples:
        >>> callable(draw)
        True
    """
    from matplotlib.figure import Figure

    sizes, rates = pooled
    figure = Figure(figsize=(12.5, 4.1), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_linear(left, measurements, sizes, rates)
    _draw_law(middle, sizes, rates, lines)
    _draw_bias(right, measurements)
    return figure


def _draw_linear(
    axes: Axes,
    measurements: Sequence[Measurement],
    sizes: NDArray[np.float64],
    rates: NDArray[np.float64],
) -> None:
    one_draw = np.mean(
        [[x["one_draw_passes"] / m["n_problems"] for x in m["sizes"]] for m in measurements], axis=0
    )
    axes.plot(sizes, rates.mean(axis=1), "o-", color=BLUE, label="PassUntil")
    axes.plot(sizes, one_draw, "s--", color=ORANGE, mfc="white", label="one draw per problem")
    axes.set_xlabel("weights N")
    axes.set_ylabel("pass rate")
    axes.set_title("On linear axes: emergent", fontsize=11)
    axes.legend(frameon=False, loc="upper left")
    _tidy(axes)


def _draw_law(
    axes: Axes,
    sizes: NDArray[np.float64],
    rates: NDArray[np.float64],
    lines: list[dict[str, Any]],
) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    f = log_minus_log(rates.mean(axis=1))
    ends = np.array([task_interval(row) for row in rates])
    low, high = log_minus_log(ends[:, 1]), log_minus_log(np.maximum(ends[:, 0], 1e-12))
    bars = np.maximum(np.stack([f - low, high - f]), 0)
    axes.errorbar(sizes, f, bars, fmt="o", color=BLUE, capsize=3, label="measured, 95 %")
    chosen = next((line for line in lines if line["is_above_floor"]), None)
    drawn = [(lines[0], GREY, "--", "line through all but the last")]
    if chosen is not None and chosen is not lines[0]:
        drawn.append((chosen, ORANGE, "-", "line above the floor"))
    for line, colour, style, label in drawn:
        x = np.array([line["first"], sizes[-1]])
        y = line["log_c"] - line["alpha"] * np.log(x)
        axes.plot(x, y, style, color=colour, label=label)
    shown = drawn[-1][0]
    target = log_minus_log(np.clip([shown["high"], shown["low"]], 1e-12, 1 - 1e-12))
    target = np.clip(target, low.min() - 0.25, high.max() + 0.25)  # stay in the picture
    axes.plot(
        [sizes[-1] * 1.08] * 2, target, color=drawn[-1][1], lw=4, alpha=0.5, label="predicted, 95 %"
    )
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks([500, 1000, 2000, 5000, 10_000], ["500", "1k", "2k", "5k", "10k"])
    axes.set_xlabel("weights N (log)")
    axes.set_ylabel("log(-log pass rate), downwards")
    axes.set_title("In the law's own axes (right: pass rate)", fontsize=11)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    second = axes.secondary_yaxis("right")
    marks = [p for p in (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5) if _is_within(p, axes)]
    second.set_yticks([float(log_minus_log(p)) for p in marks])
    second.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: f"{float(pass_rate(y)):.4f}".rstrip("0"))
    )
    _tidy(axes)


def task_interval(rates: NDArray[np.float64]) -> tuple[float, float]:
    """Bootstrap interval of a mean of given rates.

    Args:
        rates: [S].

    Examples:
        >>> low, high = task_interval(np.array([0.1, 0.2, 0.3]))
        >>> low < 0.2 < high
        True
    """
    found = cluster_bootstrap(rates, rng=np.random.default_rng(0), n_resamples=1000)
    return float(found.low), float(found.high)


def _draw_bias(axes: Axes, measurements: Sequence[Measurement]) -> None:
    totals: dict[float, list[float]] = {}
    for m in measurements:
        for row in m["estimator_bins"]:
            total = totals.setdefault(row["low"], [0.0] * 4)
            for i, name in enumerate(("exact", "mvue_r2", "mle_r2", "mle_r1")):
                total[i] += row[name] * row["n"]
    lows = sorted(totals)
    names = {0.0: "< 0.001", 1e-3: "0.001-0.01", 1e-2: "0.01-0.1", 1e-1: "> 0.1"}
    place = np.arange(len(lows))
    series = (
        (1, "(r-1)/(K-1), r = 2", BLUE, "o"),
        (2, "r/K, r = 2", GREEN, "^"),
        (3, "r/K, r = 1 (biased)", ORANGE, "s"),
    )
    for column, label, colour, marker in series:
        axes.plot(
            place,
            [totals[x][column] / totals[x][0] for x in lows],
            marker,
            ms=8,
            color=colour,
            label=label,
        )
    axes.axhline(1, color=GREY, lw=1, ls=":")
    axes.set_xticks(place, [names[x] for x in lows])
    axes.set_xlim(-0.5, len(lows) - 0.5)
    axes.set_ylim(0, None)
    axes.set_xlabel("exact pass rate of a problem")
    axes.set_ylabel("mean estimate / exact rate")
    axes.set_title("Bias of the estimators", fontsize=11)
    axes.legend(frameon=False)
    _tidy(axes)


def _is_within(p: float, axes: Axes) -> bool:
    low, high = sorted(axes.get_ylim())
    return low <= float(log_minus_log(p)) <= high


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
