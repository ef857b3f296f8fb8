"""Figure of the PEAR study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from entropilot.studies.arm_figures import curves
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Accuracy, length and entropy of both phases against updates; the filtering curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.4), layout="constrained")
    figure.subplots(2, 3)
    steps = measurements[0]["looks"]
    for axes, (name, title) in zip(
        figure.axes,
        (
            ("accuracy", "accuracy on fresh problems"),
            ("tokens", "tokens an answer (11 at least)"),
            ("checks", "checking steps an answer"),
            ("h_think", "entropy of thinking, nats"),
            ("h_answer", "entropy of answering, nats"),
        ),
        strict=False,
    ):
        lines = {
            arm: [[row[name] for row in m["arms"][arm]["looks"]] for m in measurements]
            for arm in measurements[0]["arms"]
        }
        curves(axes, steps, lines, title=title)
    last = figure.axes[5]
    keep = [100 * k for k in measurements[0]["filter"]["keep"]]
    curves(
        last,
        keep,
        {"start policy": [m["filter"]["accuracy"] for m in measurements]},
        title="chance of the right answer, start policy",
        xlabel="% of thinking tokens kept, surest first",
    )
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure
