"""Three bodies under a policy of time steps, for ``entropilot simulate threebody``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from entropilot.errors import ConfigurationError
from entropilot.experiments.simulated.drawing import BLUE, GREEN, ORANGE, plain
from entropilot.experiments.simulations import Simulation
from entropilot.physics.process import Process, State, Variable
from entropilot.physics.step_learning import load_network
from entropilot.physics.step_policies import decades_over, next_action
from entropilot.physics.three_bodies import YEAR, pair_lengths
from entropilot.physics.three_body_batch import (
    ACTIONS,
    StepTask,
    Systems,
    advanced,
    observed,
    started,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from entropilot.report.scene import Scene

Policy = Literal["learned", "fixed", "controlled"]


@dataclass(frozen=True)
class ThreeBodyKnobs:
    """What is integrated, and who chooses the steps."""

    policy: Policy = "learned"
    mu: float = 1e-2  # of the policy "fixed"
    target: float = 1e-6  # of the policy "controlled": energy error at the end
    integrator: Literal["hermite", "leapfrog", "ias15"] = "hermite"
    years: float = 30.0
    seed: int = 100_000  # of the start; those below 1000 were trained on


PRESETS = {
    "learned": ThreeBodyKnobs(),
    "default-mu": ThreeBodyKnobs("fixed", mu=0.03),
    "controlled": ThreeBodyKnobs("controlled"),
    "ias15": ThreeBodyKnobs("fixed", mu=1e-3, integrator="ias15"),
}


def process(knobs: ThreeBodyKnobs) -> Process:
    """A frame a decision, every tenth of a year.

    Raises:
        ConfigurationError: a knob out of range.
    """
    for name in ("mu", "target", "years"):
        if not (np.isfinite(getattr(knobs, name)) and getattr(knobs, name) > 0):
            raise ConfigurationError(f"{name} = {getattr(knobs, name)}, expected a number above 0")
    if not 0 <= knobs.seed < 2**32:
        raise ConfigurationError(f"seed = {knobs.seed}, expected 0 to 2^32 - 1")
    n_frames = max(2, round(knobs.years * 10) + 1)
    task = StepTask(integrator=knobs.integrator)
    network = load_network() if knobs.policy == "learned" else None

    def advance(state: State) -> State:
        systems, action = _systems(state), int(state["action"])
        seen = observed(systems, task)
        if network is not None:
            action = int(network.act(seen)[0])
        mu = knobs.mu if knobs.policy == "fixed" else float(ACTIONS[action])
        after = advanced(systems, np.array([mu]), task)
        if knobs.policy == "controlled":
            action = _controlled(action, systems, after, knobs.target, n_frames - 1)
        undecided = network.entropy(seen)[0] if network is not None else 0.0
        return _state(after, action, mu, undecided)

    return Process(
        f"Three bodies, {knobs.policy} time steps",
        n_frames,
        {"body": 3, "spatial": 3},
        (
            Variable("position", ("body", "spatial"), "au", "position of a body"),
            Variable("velocity", ("body", "spatial"), "51.595139 km s-1", "velocity of a body"),
            Variable(
                "mu",
                (),
                "1",
                "time step over collision time in the interval before; nan at the start",
            ),
            Variable("energy_error", (), "1", "relative energy error since the start"),
            Variable("steps", (), "1", "steps of the integrator so far", dtype="i8"),
            Variable("policy_entropy", (), "1", "entropy of softmax(Q) before the choice, nats"),
        ),
        start=lambda: _state(started(seeds=[knobs.seed]), 5, np.nan, np.nan),
        advance=advance,
        observe=lambda state: {
            "time": state["t"][0] / YEAR,
            "position": state["x"][0],
            "velocity": state["v"][0],
            "mu": state["mu"],
            "energy_error": state["error"][0] if state["number"][0] else np.zeros(()),
            "steps": state["steps"][0],
            "policy_entropy": state["undecided"],
        },
        parameters=asdict(knobs),
        work=(1.0, "checks"),
        time_units="years",
    )


def picture(data: xr.Dataset, _knobs: ThreeBodyKnobs) -> Figure:
    """Paths, and over time the choice, the distance and the error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.4), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(1.05, 1))
    paths = figure.add_subplot(grid[:, 0])
    place = data["position"].to_numpy()
    for body, colour in enumerate((ORANGE, BLUE, GREEN)):
        paths.plot(place[:, body, 0], place[:, body, 1], color=colour, linewidth=0.9)
        paths.plot(*place[-1, body, :2], "o", color=colour, markersize=8, label=f"body {body + 1}")
    paths.set_aspect("equal", adjustable="datalim")
    paths.set_xlabel("x, au")
    paths.set_ylabel("y, au")
    paths.legend(frameon=False)
    paths.set_title(data.attrs.get("title", ""), fontsize=11)
    years = data["time"].to_numpy()
    rows = [
        ("mu, step over collision time", data["mu"].to_numpy()),
        ("smallest distance, au", pair_lengths(place).min(axis=-1)),
        ("relative energy error", np.maximum(np.abs(data["energy_error"].to_numpy()), 1e-16)),
    ]
    for number, (title, values) in enumerate(rows):
        axes = figure.add_subplot(grid[number, 1])
        axes.plot(years, values, color="#444444", linewidth=1.2, drawstyle="steps-post")
        axes.set_yscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlim(years[0], years[-1])
        plain(axes)
        if number == 2:
            axes.set_xlabel("years")
    return figure


def scene(data: xr.Dataset, knobs: ThreeBodyKnobs) -> Scene:
    """The orbits from above, with a tail, coloured by body."""
    from entropilot.report.scene import Scene, Series

    place = data["position"].to_numpy()[..., :2]
    middle, half = place.reshape(-1, 2).mean(0), 0.0
    half = float(np.quantile(np.abs(place - middle), 0.999)) * 1.05
    error = np.log10(np.maximum(np.abs(data["energy_error"].to_numpy()), 1e-16))
    series = [
        Series("log10 mu, step over collision time", np.log10(data["mu"].to_numpy())),
        Series("smallest distance", pair_lengths(data["position"].to_numpy()).min(axis=-1), "au"),
        Series("log10 of the energy error", error),
    ]
    if knobs.policy == "learned":
        entropy = Series("entropy of the choice", data["policy_entropy"].to_numpy(), "nats")
        series.insert(0, entropy)
    return Scene(
        data.attrs["title"],
        data["time"].to_numpy(),
        np.clip(place, middle - half, middle + half),
        middle - half,
        middle + half,
        colours=np.arange(3.0),
        trail=40,
        series=tuple(series),
        sentences=tuple(findings(data, knobs)),
        time_unit="years",
        fps=20.0,
    )


def findings(data: xr.Dataset, knobs: ThreeBodyKnobs) -> list[str]:
    """What the run cost and what error it left."""
    error = abs(float(data["energy_error"][-1]))
    nearest = float(pair_lengths(data["position"].to_numpy()).min(axis=-1).min())
    steps, years = int(data["steps"][-1]), float(data["time"][-1])
    said = [
        f"After {years:.1f} years and {steps:,} steps of {knobs.integrator} the relative energy "
        f"error is {error:.1e}.",
        f"The closest that two bodies were seen at a check is {nearest:.3g} au.",
    ]
    if knobs.policy == "learned":
        entropy = float(data["policy_entropy"][1:].mean())
        said.append(
            f"The network's choice has a mean entropy of {entropy:.2f} of at most 2.30 nats."
        )
    if knobs.policy == "controlled":
        met = "met" if error <= knobs.target else "missed"
        said.append(f"The target of {knobs.target:.0e} was {met}; it is no bound.")
    return said


def _controlled(action: int, before: Systems, after: Systems, target: float, horizon: int) -> int:
    """The next action of an error controller that redoes nothing."""
    last = before.error if int(before.number[0]) else 0.0
    over = decades_over(after.error - last, target, horizon)
    return int(next_action(np.array([action]), over)[0])


def _state(systems: Systems, action: int, mu: float, undecided: float) -> State:
    plain = {name: np.asarray(value) for name, value in systems._asdict().items()}
    return plain | {
        "action": np.array(action), "mu": np.array(mu), "undecided": np.array(undecided)
    }  # fmt: skip


def _systems(state: State) -> Systems:
    return Systems(**{name: state[name] for name in Systems._fields})


SIMULATION = Simulation(
    "threebody",
    PRESETS,
    process,
    picture,
    scene,
    findings,
    about={
        "policy": "learned, fixed or controlled",
        "mu": "of a fixed policy: time step over collision time",
        "target": "of the controller: relative energy error wanted at the end",
        "integrator": "hermite, leapfrog or ias15 (REBOUND)",
        "years": "length of the run",
        "seed": "of the start",
    },
)
