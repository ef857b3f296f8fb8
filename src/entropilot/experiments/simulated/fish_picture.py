"""The six panels that users of dewi-kadita know: a school's order, entropies and last state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from entropilot.experiments.simulated.drawing import BLUE, GREEN, GREY, ORANGE, PINK, plain
from entropilot.physics.fish_school_entropies import ENTROPIES

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES: Final = dict(
    zip(
        ENTROPIES,
        (
            "cohesion",
            "heading",
            "depth",
            "angular momentum",
            "neighbour distances",
            "velocity correlation",
            "shape",
        ),
        strict=True,
    )
)
MOST_ARROWS: Final = 800


def draw_school(data: xr.Dataset, knobs: Any) -> Figure:
    """P and M, the last state, OSI, four entropies, spread, and all seven at the end.

    Args:
        data: a recorded school.
        knobs: of the run; ``box_size`` and ``scenario`` are read.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    figure.suptitle(
        f"{knobs.scenario.replace('_', ' ')}: {data.sizes['fish']:,} fish, {knobs.n_steps:,} steps",
        fontsize=14,
    )
    time = np.asarray(data["time"])
    order, osi, spread, kept, bars = (figure.add_subplot(2, 3, k) for k in (1, 3, 5, 4, 6))
    state: Any = figure.add_subplot(2, 3, 2, projection="3d")
    for name, label, colour in (
        ("polarization", "polarization P", BLUE),
        ("rotation", "rotation M", ORANGE),
    ):
        order.plot(time, data[name], color=colour, label=label, lw=1.4)
    _finish(order, "Order parameters", "", legend=True)
    osi.plot(time, data["oceanic_schooling_index"], color=GREEN, lw=1.4)
    _finish(osi, "Oceanic schooling index (0 order, 1 disorder)", "")
    for name, colour in (
        ("school_cohesion_entropy", BLUE),
        ("polarization_entropy", ORANGE),
        ("velocity_correlation_entropy", GREEN),
        ("angular_momentum_entropy", PINK),
    ):
        kept.plot(time, data[name], color=colour, label=NAMES[name], lw=1.2)
    _finish(kept, "Four of the entropies (0 order, 1 disorder)", "", legend=True)
    spread.plot(time, data["spread"], color=GREY, lw=1.4)
    _finish(spread, "Spread about the centre (root mean square)", "length", unit=False)
    _draw_state(figure, state, data, knobs.box_size)
    final = [float(data[name][-1]) for name in ENTROPIES]
    drawn = bars.barh(range(7), final, color=BLUE, height=0.7)
    bars.bar_label(drawn, fmt="%.2f", fontsize=9, padding=2)
    bars.set_yticks(range(7), [NAMES[name] for name in ENTROPIES], fontsize=9)
    bars.invert_yaxis()
    bars.set_xlim(0, 1.12)
    bars.set_xlabel("entropy / ln(bins)")
    bars.set_title("Entropies at the end", fontsize=11)
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def _finish(
    axes: Axes, title: str, ylabel: str, *, legend: bool = False, unit: bool = True
) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("time")
    axes.set_ylabel(ylabel)
    axes.margins(x=0.01)
    if unit:
        axes.set_ylim(0, 1.28 if legend else 1.02)
        axes.set_yticks(np.linspace(0, 1, 6))
    else:
        axes.set_ylim(bottom=0)
    plain(axes)
    if legend:
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper center")


def _draw_state(figure: Figure, axes: Any, data: xr.Dataset, box: float) -> None:
    """Arrows at the last places, along the headings, coloured by depth."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    x, v = np.asarray(data["positions"][-1]), np.asarray(data["velocities"][-1])
    shown = slice(None, None, max(1, len(x) // MOST_ARROWS))
    x, v = x[shown], v[shown]
    u = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
    norm, palette = Normalize(0, box), colormaps["viridis"]
    axes.quiver(
        *x.T, *u.T, length=0.07 * box, colors=palette(norm(x[:, 2])), lw=1.3, arrow_length_ratio=0.4
    )
    axes.set(xlim=(0, box), ylim=(0, box), zlim=(0, box))
    axes.set_box_aspect((1, 1, 1))
    axes.tick_params(labelsize=8)
    axes.set_xlabel("x", labelpad=-4)
    axes.set_ylabel("y", labelpad=-4)
    axes.set_title(f"Last state, t = {float(data['time'][-1]):g}", fontsize=11)
    bar = figure.colorbar(
        ScalarMappable(norm, palette), ax=axes, shrink=0.65, pad=0.06, label="depth z"
    )
    bar.ax.tick_params(labelsize=8)
