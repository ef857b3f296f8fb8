"""Picture of a gas: four moments, its entropies, both productions, its speeds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from entropilot.experiments.simulated.drawing import (
    BLUE,
    GOLD,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    plain,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from entropilot.physics.gas_process import GasKnobs

COLOURS: Final = (BLUE, ORANGE, GREEN, PINK, GREY, GOLD)
SHOWN: Final = 6000


def draw_gas(data: xr.Dataset, knobs: GasKnobs) -> Figure:
    """Discs at four moments above entropy, production rates and speeds.

    Args:
        data: a recorded gas.
        knobs: of the run.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    figure.suptitle(
        f"{data.sizes['disc']:,} hard discs of diameter {knobs.diameter:.2g}", fontsize=14
    )
    parts: Any = figure.subfigures(2, 1)
    top, bottom = parts
    time = np.asarray(data["time"])
    _moments(top, data, knobs, time)
    entropy, rates, speeds = bottom.subplots(1, 3)
    s = np.asarray(data["entropy"])
    for k, width in enumerate(knobs.widths):
        colour = COLOURS[k % len(COLOURS)]
        entropy.plot(time, s[:, k] - s[0, k], color=colour, lw=1.6, label=f"cells of {width:g}")
    if knobs.start == "equilibrium" and knobs.fill < 1:
        entropy.axhline(-math.log(knobs.fill), color="grey", ls=":", lw=1)
        entropy.annotate(f"ln {1 / knobs.fill:g}", (time[-1], -math.log(knobs.fill)), fontsize=9,
                         ha="right", va="bottom")  # fmt: skip
    if knobs.reverse_at is not None:
        entropy.axvline(knobs.reverse_at, color="grey", ls="--", lw=1)
    entropy.set(xlabel="time, L / thermal speed", ylabel="entropy gained, nats a disc")
    entropy.set_title("Boltzmann entropy", fontsize=11)
    entropy.legend(frameon=False, fontsize=9, title="velocity", title_fontsize=9)
    middle = len(knobs.widths) // 2
    for name, label, colour in (
        ("free", "free motion", BLUE),
        ("collisional", "collisions", ORANGE),
    ):
        rate = _smooth(np.asarray(data[f"entropy_production_{name}"])[1:, middle])
        rates.plot(time[1:][: len(rate)], rate, color=colour, lw=1.5, label=label)
    rates.axhline(0, color="grey", lw=0.8)
    rates.set(xlabel="time, L / thermal speed", ylabel="entropy a disc and time, nats")
    rates.set_title(f"Produced by (cells of {knobs.widths[middle]:g})", fontsize=11)
    rates.legend(frameon=False, fontsize=9)
    v = np.asarray(data["velocities"], dtype=np.float64)
    edges = np.linspace(0, max(4.0, float(np.linalg.norm(v[-1], axis=1).max())), 41)
    for frame, label in ((0, "start"), (-1, "end")):
        speed = np.linalg.norm(v[frame], axis=1)
        speeds.stairs(
            np.histogram(speed, edges, density=True)[0], edges, lw=1.5, label=label,
            color=GREY if frame == 0 else ORANGE,
        )  # fmt: skip
    c = np.linspace(0, edges[-1], 200)
    speeds.plot(c, c * np.exp(-(c**2) / 2), color="black", lw=1, label="Maxwell")
    speeds.set(xlabel="speed, thermal speeds", ylabel="probability density", ylim=(0, None))
    if speeds.get_ylim()[1] > 3:
        speeds.set_ylim(0, 3)
    speeds.set_title("Speeds", fontsize=11)
    speeds.legend(frameon=False, fontsize=9)
    for axis in (entropy, rates, speeds):
        plain(axis)
    return figure


def _moments(figure: Any, data: xr.Dataset, knobs: GasKnobs, time: np.ndarray) -> None:
    """Discs at the start, early, at a third and at the end, coloured by speed."""
    axes = figure.subplots(1, 4, sharey=True)
    last = len(time) - 1
    chosen = (0, max(1, last // 15), max(2, last // 3), last)
    if knobs.reverse_at is not None:
        chosen = (0, last // 4, last // 2, last)
    some = slice(None, None, max(1, data.sizes["disc"] // SHOWN))
    drawn = None
    for axis, frame in zip(axes, (min(f, last) for f in chosen), strict=True):
        x = np.asarray(data["positions"][frame])[some]
        speed = np.linalg.norm(np.asarray(data["velocities"][frame])[some], axis=1)
        size = 9 * math.sqrt(2000 / max(len(x), 500))
        drawn = axis.scatter(x[:, 0], x[:, 1], c=speed, s=size, cmap="viridis", vmin=0, vmax=3,
                             lw=0, rasterized=True)  # fmt: skip
        axis.set(xlim=(0, knobs.box[0]), ylim=(0, knobs.box[1]), aspect="equal", xlabel="x")
        axis.set_title(f"t = {time[frame]:.2g}", fontsize=11)
    axes[0].set_ylabel("y")
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="speed", extend="max")


def _smooth(rate: np.ndarray, span: int = 5) -> np.ndarray:
    """Running mean: a frame's rate is a difference of two noisy entropies."""
    if len(rate) < 3 * span:
        return rate
    weight = np.convolve(np.ones(len(rate)), np.ones(span), mode="same")
    return np.asarray(np.convolve(rate, np.ones(span), mode="same") / weight)
