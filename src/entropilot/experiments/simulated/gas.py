"""``entropilot simulate gas``: hard discs in a box of choice, and their Boltzmann entropy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from entropilot.experiments.simulated.gas_picture import draw_gas
from entropilot.experiments.simulations import Simulation
from entropilot.physics.gas_process import GasKnobs, gas_process
from entropilot.report.scene import Scene, Series

if TYPE_CHECKING:
    import xarray as xr

ABOUT: Final[Mapping[str, str]] = {
    "n": "discs",
    "kn": "mean free path at the final density over the box length; none when sigma is given",
    "sigma": "diameter of a disc; none when kn is given",
    "box": "lengths x,y",
    "fill": "share of the box, from the left, that is filled at the start",
    "start": "equilibrium; beams to the left and right; hot-cold halves; file",
    "file": "CSV with the columns x, y, vx, vy, for start = file",
    "walls_y": "hard or periodic; walls along x are hard",
    "duration": "times box length over thermal speed",
    "frames": "recorded, besides the start",
    "n_x": "cells along x",
    "widths": "edges of the velocity cells, thermal speeds",
    "reverse_at": "time at which all velocities are reversed, or none",
    "seed": "of the start",
}

NAMES: Final = {
    "equilibrium": "Expanding gas",
    "beams": "Two beams",
    "hot-cold": "Hot and cold gas",
    "file": "Gas from a file",
}
SEEN: Final = 0.22  # least radius that is drawn, over the mean distance of discs

PRESETS: Final = {
    "free-expansion": GasKnobs(),
    "collisionless": GasKnobs(kn=20.0, duration=6.0),
    "sound": GasKnobs(n=8000, kn=0.02, duration=4.0, frames=160),
    "reversal": GasKnobs(kn=2.0, duration=1.0, frames=120, reverse_at=0.5),
    "beams": GasKnobs(start="beams", fill=1.0, kn=0.1, duration=1.0, frames=120),
    "hot-cold": GasKnobs(start="hot-cold", fill=1.0, kn=0.05, duration=3.0),
}


def scene(data: xr.Dataset, knobs: GasKnobs) -> Scene:
    """Discs coloured by speed, or by the side they started on; entropies beneath."""
    x = np.asarray(data["positions"], dtype=np.float64)
    speed = np.linalg.norm(np.asarray(data["velocities"], dtype=np.float64), axis=2)
    entropy = np.asarray(data["entropy"])
    n = data.sizes["disc"]
    seen = max(knobs.diameter / 2, SEEN * math.sqrt(knobs.box[0] * knobs.box[1] / n))
    return Scene(
        title=f"{NAMES[knobs.start]}: {n:,} hard discs",
        times=np.asarray(data["time"]),
        positions=x,
        low=np.zeros(2),
        high=np.array(knobs.box),
        colours=np.minimum(speed, 3.0),
        colour_name="speed (3 and above alike)",
        radii=np.full(n, seen),
        series=tuple(
            Series(f"entropy gained, velocity cells of {width:g}", entropy[:, k] - entropy[0, k],
                   "nats a disc")
            for k, width in enumerate(knobs.widths)
        ),
        sentences=tuple(findings(data, knobs)),
        time_unit="L / thermal speed",
    )  # fmt: skip


def findings(data: xr.Dataset, knobs: GasKnobs) -> Sequence[str]:
    """What the gas did, in sentences."""
    n, last = data.sizes["disc"], float(data["time"][-1])
    entropy = np.asarray(data["entropy"])
    gain = entropy - entropy[0]
    energy = np.asarray(data["kinetic_energy"])
    cells = ", ".join(f"{width:g}" for width in knobs.widths)
    found = [
        f"Entropy gained at the end, per disc, at velocity cells of {cells}: "
        f"{', '.join(f'{g:.3f}' for g in gain[-1])}"
        + (
            f"; ln({1 / knobs.fill:g}) = {-math.log(knobs.fill):.3f} for a gas that fills the box."
            if knobs.start == "equilibrium" and knobs.fill < 1
            else "."
        ),
    ]
    if knobs.reverse_at is not None:
        turn = int(np.argmin(np.abs(np.asarray(data["time"]) - knobs.reverse_at)))
        twice = min(2 * turn, len(gain) - 1)
        left = ", ".join(
            f"{gain[twice, k]:.3f} of {gain[turn, k]:.3f}" for k in range(len(gain[0]))
        )
        found.append(
            f"All velocities were reversed at t = {knobs.reverse_at:g}: what was left of the gain "
            f"at t = {float(data['time'][twice]):g} is {left}."
        )
    else:
        free = np.nansum(np.asarray(data["entropy_production_free"]), axis=0)
        all_of_it = free + np.nansum(np.asarray(data["entropy_production_collisional"]), axis=0)
        if (all_of_it > 0).all() and knobs.start == "equilibrium":
            shares = ", ".join(f"{100 * f / a:.0f} %" for f, a in zip(free, all_of_it, strict=True))
            found.append(f"Free motion produced {shares} of it, collisions the rest.")
    found.append(
        f"{2 * int(data['collisions'][-1]) / n:.2f} collisions a disc in a time of {last:g}, "
        f"{int(data['events'][-1]):,} events; kinetic energy changed by "
        f"{abs(energy / energy[0] - 1).max():.0e} of itself."
    )
    sparse = [width for width in knobs.widths if n < 5 * knobs.n_x * min((5 / width) ** 2, 1e9)]
    if sparse:
        found.append(
            f"Few discs a cell at widths {', '.join(f'{w:g}' for w in sparse)}: these entropies "
            "are biased low by some hundredths. More discs (--set n=...) mend it."
        )
    return found


SIMULATION: Final = Simulation(
    name="gas",
    presets=PRESETS,
    process=gas_process,
    picture=draw_gas,
    scene=scene,
    findings=findings,
    about=ABOUT,
    reads=lambda path: replace(GasKnobs(), start="file", file=str(path), fill=1.0),
)
