"""Parameters of a school of fish, and the four configurations of dewi-kadita 0.0.4 (2602.07948)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from entropilot.errors import ConfigurationError


@dataclass(frozen=True)
class Couzin:
    """Parameters of the zone model; lengths in one unit, angles of a turn in radians a step.

    Attributes:
        n_fish: at least 2.
        box_size: edge of the periodic cube.
        speed: of every fish.
        r_repulsion, r_orientation, r_attraction: outer radii of the zones, 0 <= r_r < r_o <= r_a.
        max_turn: largest turn in a step before the noise, radians; independent of dt.
        noise: standard deviation of what is added to each component of a heading in a step.
        blind_angle: half-angle of the cone behind a fish that it does not see, degrees; 0 for none.
        orientation_weight: of alignment against attraction, in [0, 1]; low values favour milling.
        dt: time of a step.
        start: ``random`` or ``ring``, fish on a circle that swim around it.
        ring_radius: of that circle; a quarter of the box by default.
        seed: of the noise, and of the start where ``legacy_seed`` is None.
        legacy_seed: draws the start as the reference does after ``numpy.random.seed``.

    Raises:
        ConfigurationError: names every parameter that is out of range.

    Examples:
        >>> Couzin(n_fish=100, noise=0.05).r_attraction
        10.0
    """

    n_fish: int = 150
    box_size: float = 25.0
    speed: float = 1.0
    r_repulsion: float = 1.0
    r_orientation: float = 5.0
    r_attraction: float = 10.0
    max_turn: float = 0.3
    noise: float = 0.1
    blind_angle: float = 30.0
    orientation_weight: float = 1.0
    dt: float = 0.1
    start: Literal["random", "ring"] = "random"
    ring_radius: float | None = None
    seed: int = 0
    legacy_seed: int | None = None

    def __post_init__(self) -> None:
        """Reject what is outside the model."""
        wrong = []
        if self.n_fish < 2:
            wrong.append(f"n_fish = {self.n_fish}, expected at least 2")
        for name in ("box_size", "speed", "max_turn", "dt"):
            if not 0 < getattr(self, name) < math.inf:
                wrong.append(f"{name} = {getattr(self, name)}, expected a positive number")
        radii = (self.r_repulsion, self.r_orientation, self.r_attraction)
        if not (0 <= radii[0] < radii[1] <= radii[2] < math.inf):
            wrong.append(
                "r_repulsion, r_orientation, r_attraction = "
                f"{', '.join(map(str, radii))}, expected 0 <= r_repulsion < r_orientation "
                "<= r_attraction"
            )
        if not 0 <= self.noise < math.inf:
            wrong.append(f"noise = {self.noise}, expected a number that is not negative")
        if not 0 <= self.orientation_weight <= 1:
            wrong.append(
                f"orientation_weight = {self.orientation_weight}, expected a number in [0, 1]"
            )
        if not 0 <= self.blind_angle <= 180:
            wrong.append(f"blind_angle = {self.blind_angle}, expected degrees in [0, 180]")
        if self.start not in ("random", "ring"):
            wrong.append(f"start = {self.start!r}, expected random or ring")
        if self.ring_radius is not None and not 0 < self.ring_radius < math.inf:
            wrong.append(f"ring_radius = {self.ring_radius}, expected a positive number or none")
        for name in ("seed", "legacy_seed"):
            value = getattr(self, name)
            most = 2**32 if name == "legacy_seed" else math.inf
            if value is not None and not 0 <= value < most:
                wrong.append(f"{name} = {value}, expected a whole number from 0")
        if wrong:
            raise ConfigurationError("; ".join(wrong))


#: The four states of the reference's configurations, with their initial states.
PRESETS: Final[Mapping[str, Couzin]] = {
    "swarm": Couzin(
        150, 25.0, 1.0, 2.0, 3.0, 15.0, max_turn=0.4, noise=0.2, seed=42, legacy_seed=42
    ),
    "torus": Couzin(
        200, 25.0, 1.0, 1.0, 3.0, 10.0, max_turn=0.2, noise=0.05, blind_angle=150.0,
        orientation_weight=0.1, start="ring", ring_radius=6.0, seed=42, legacy_seed=42,
    ),
    "dynamic_parallel": Couzin(
        180, 28.0, 1.2, 1.0, 10.0, 18.0, max_turn=0.35, noise=0.12, blind_angle=25.0,
        seed=456, legacy_seed=456,
    ),
    "highly_parallel": Couzin(
        250, 35.0, 1.5, 1.0, 12.0, 20.0, max_turn=0.2, noise=0.05, blind_angle=20.0,
        seed=789, legacy_seed=789,
    ),
}  # fmt: skip
#: Steps that the reference runs of each.
PRESET_STEPS: Final[Mapping[str, int]] = {
    "swarm": 1000,
    "torus": 2000,
    "dynamic_parallel": 1500,
    "highly_parallel": 1000,
}


def cautions(params: Couzin) -> list[str]:
    """What is allowed but makes results hard to read, as sentences.

    Examples:
        >>> cautions(Couzin())
        []
        >>> cautions(Couzin(r_attraction=15.0))[0][:55]
        'r_attraction = 15 exceeds half the box (12.5): the near'
    """
    found = []
    if params.r_attraction > params.box_size / 2:
        found.append(
            f"r_attraction = {params.r_attraction:g} exceeds half the box "
            f"({params.box_size / 2:g}): the nearest images reach into the corners of the cube, "
            "and what a fish sees depends on the direction."
        )
    if 0 < params.r_repulsion < params.speed * params.dt:
        found.append(
            f"speed * dt = {params.speed * params.dt:g} exceeds r_repulsion = "
            f"{params.r_repulsion:g}: a fish can jump through the repulsion zone. Use a smaller dt."
        )
    return found
