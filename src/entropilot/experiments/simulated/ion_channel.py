"""``entropilot simulate ionchannel``: an ensemble of channels under a voltage step.

Beside the channels that are drawn, the exact distribution over states is followed: what is known of
the start and lost, and the entropy that is produced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError
from entropilot.experiments.simulated.drawing import BLUE, GREEN, GREY, ORANGE, plain
from entropilot.experiments.simulations import Simulation
from entropilot.information import relative_entropy, stationary
from entropilot.physics.channel_kinetics import (
    INNER,
    OUTER,
    ChannelModel,
    advance_channels,
    channel_moves,
    production_of_moves,
)
from entropilot.physics.process import (
    Frame,
    Process,
    State,
    Variable,
    generator_state,
    restored_generator,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from entropilot.report.scene import Scene

MILLIVOLTS: Final = 25.3  # k_B T / e at 20 C


@dataclass(frozen=True)
class Knobs:
    """What can be set; voltages in k_B T / e."""

    channels: int = 400
    voltage: float = -3.0
    step_voltage: float = 2.0
    step_on: float = 2.0
    step_off: float = 12.0
    duration: float = 20.0
    frames: int = 400
    inside: float = 1.0
    outside: float = 1.0
    gating_charge: float = 3.0
    ion_rate: float = 8.0
    dt: float = 0.004
    seed: int = 0


ABOUT: Final = {
    "channels": "channels that are drawn",
    "voltage": "inside against outside before and after the step, k_B T / e (25.3 mV)",
    "step_voltage": "during the step",
    "step_on": "ms",
    "step_off": "ms",
    "duration": "ms",
    "frames": "pictures; steps between are whole numbers of dt",
    "inside": "concentration of the bath inside, relative",
    "outside": "concentration of the bath outside",
    "gating_charge": "e moved by the sensor",
    "ion_rate": "attempts of an ion a ms; real pores are a thousand times faster",
    "dt": "ms a step",
    "seed": "of the draws",
}

VARIABLES: Final = (
    Variable("state", ("channel",), "1", "state of each channel", "i2"),
    Variable("voltage", (), "1", "voltage, k_B T / e"),
    Variable("open_fraction", (), "1", "share of the drawn channels that are open"),
    Variable("open_probability", (), "1", "exact share of open channels"),
    Variable("current", (), "ms-1", "ions outward a channel, counted since the last frame"),
    Variable("mean_current", (), "ms-1", "exact mean of it"),
    Variable("entropy", (), "1", "entropy of the exact distribution over states, nats"),
    Variable("relative_entropy", (), "1", "KL to the stationary state at this voltage, nats"),
    Variable("entropy_production", (), "ms-1", "exact, of every kind of move, nats"),
    Variable("dissipation", (), "ms-1", "current times the drop of potential, k_B T"),
)


def _model(knobs: Knobs) -> ChannelModel:
    return ChannelModel(
        gating_charge=knobs.gating_charge, inside=knobs.inside, outside=knobs.outside,
        ion_rate=knobs.ion_rate, dt=knobs.dt,
    )  # fmt: skip


def _process(knobs: Knobs) -> Process:
    if knobs.channels < 1 or knobs.frames < 2 or not 0 < knobs.duration < np.inf:
        raise ConfigurationError(
            f"channels = {knobs.channels}, frames = {knobs.frames}, duration = {knobs.duration}; "
            "expected channels >= 1, frames >= 2, duration > 0"
        )
    if np.isnan([knobs.step_on, knobs.step_off]).any():
        raise ConfigurationError(
            f"step_on = {knobs.step_on}, step_off = {knobs.step_off}; expected two times in ms"
        )
    model = _model(knobs)
    moves = {v: channel_moves(model, v) for v in (knobs.voltage, knobs.step_voltage)}
    rest = {v: stationary(m.chain()) for v, m in moves.items()}
    steps = max(1, round(knobs.duration / (knobs.frames - 1) / knobs.dt))

    def voltage(time: float) -> float:
        during = knobs.step_on <= time < knobs.step_off
        return knobs.step_voltage if during else knobs.voltage

    def start() -> State:
        rng = np.random.default_rng(knobs.seed)
        p = rest[voltage(0.0)]
        return {
            "t": np.zeros((), np.int64),
            "states": rng.choice(len(p), size=knobs.channels, p=p).astype(np.int64),
            "p": p,
            "seen": np.zeros(6, np.int64),
            "exact": np.array([moves[voltage(0.0)].current(p),
                               production_of_moves(moves[voltage(0.0)], p)]) / knobs.dt,
            "rng": generator_state(rng),
        }  # fmt: skip

    def advance(state: State) -> State:
        rng = restored_generator(state["rng"])
        states, p, t = state["states"], state["p"], int(state["t"])
        seen, exact = np.zeros(6, np.int64), np.zeros(2)
        for span, now in _spans(t, steps, knobs.dt, voltage):
            states, new = advance_channels(states, moves[now], span, rng)
            seen = seen + new
            chain = moves[now].chain()
            for _ in range(span):
                exact += moves[now].current(p), production_of_moves(moves[now], p)
                p = p @ chain
        return {
            "t": np.array(t + steps), "states": states, "p": p / p.sum(), "seen": seen,
            "exact": exact / (steps * knobs.dt), "rng": generator_state(rng),
        }  # fmt: skip

    def observe(state: State) -> Frame:
        time = float(state["t"]) * knobs.dt
        now, p = voltage(time), state["p"]
        is_open = model.parts()[1]
        held = p[p > 0]
        mu_in, mu_out = model.potentials(now)
        moved = float(state["seen"] @ (INNER + OUTER)) / 2
        return {
            "time": np.array(time),
            "state": state["states"],
            "voltage": np.array(now),
            "open_fraction": is_open[state["states"]].mean(),
            "open_probability": p @ is_open,
            "current": np.array(moved / (knobs.channels * steps * knobs.dt)),
            "mean_current": state["exact"][0],
            "entropy": -(held * np.log(held)).sum(),
            "relative_entropy": np.array(relative_entropy(p, rest[now])),
            "entropy_production": state["exact"][1],
            "dissipation": moves[now].current(p) / knobs.dt * (mu_in - mu_out),
        }

    return Process(
        title="an ion channel: sensor, gate and ions",
        n_frames=knobs.frames,
        sizes={"channel": knobs.channels},
        variables=VARIABLES,
        start=start,
        advance=advance,
        observe=observe,
        parameters=asdict(knobs),
        work=(float(steps * knobs.channels), "channel steps"),
        time_units="ms",
    )


def _spans(t: int, steps: int, dt: float, voltage: Any) -> list[tuple[int, float]]:
    """Runs of steps at one voltage: [(length, voltage)]."""
    made: list[tuple[int, float]] = []
    for k in range(t, t + steps):
        now = voltage(k * dt)
        if made and made[-1][1] == now:
            made[-1] = (made[-1][0] + 1, now)
        else:
            made.append((1, now))
    return made


def _findings(data: Any, knobs: Knobs) -> Sequence[str]:
    gap = float(np.abs(data["open_fraction"] - data["open_probability"]).mean())
    during = (data["time"] > knobs.step_on) & (data["time"] < knobs.step_off)
    last = data.isel(time=np.flatnonzero(during.values)[-1:]) if during.any() else data
    sentences = [
        f"{knobs.channels} channels; {float(data['open_fraction'][0]):.1%} open at the start, "
        f"{float(last['open_fraction'][-1]):.1%} at the end of the step; off the exact share by "
        f"{gap:.3f} on average.",
        f"At the end of the step the exact current is {_three(last['mean_current'])} ions a "
        f"channel and ms, entropy is produced at {_three(last['entropy_production'])} nats; "
        f"current times potential drop is {_three(last['dissipation'])}.",
    ]
    known = data["relative_entropy"].values[np.flatnonzero(during.values)]
    if len(known) and known[0] > 1e-9:
        falls = bool((np.diff(known) <= 1e-9).all())
        sentences.append(
            f"After the step {known[0]:.2f} nats are known of the state before it, at its end "
            f"{known[-1]:.2g}; on the way it {'never rises' if falls else 'rises, and must not'}."
        )
    return sentences


def _three(values: Any) -> str:
    """The last value with three decimals; no minus before a zero."""
    return f"{round(float(values[-1]), 3) + 0.0:.3f}"


def _picture(data: Any, knobs: Knobs) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    top, second, third, last = figure.subplots(4, 1, sharex=True)
    time = data["time"].values
    top.plot(time, data["open_fraction"], color=BLUE, lw=1.2, label=f"{knobs.channels} channels")
    top.plot(time, data["open_probability"], color="black", lw=1.2, ls="--", label="exact")
    top.set_ylabel("share open")
    top.set_ylim(-0.03, 1.03)
    second.plot(time, data["current"], color=BLUE, lw=0.8, alpha=0.8, label="counted")
    second.plot(time, data["mean_current"], color="black", lw=1.2, ls="--", label="exact")
    second.set_ylabel("ions outward\na channel and ms")
    third.plot(time, data["entropy"], color=GREEN, lw=1.5, label="entropy of the states")
    third.plot(time, data["relative_entropy"], color=ORANGE, lw=1.5,
               label="still known of the state before")  # fmt: skip
    third.set_ylabel("nats")
    produced = data["entropy_production"].values
    last.plot(time, produced, color=ORANGE, lw=1.5, label="entropy produced")
    last.plot(time, data["dissipation"], color="black", lw=1.2, ls="--",
              label="current x potential drop")  # fmt: skip
    last.set_ylabel("nats a channel and ms")
    usual = max(float(np.quantile(produced, 0.98)), 1e-3)
    last.set_ylim(0, 1.05 * min(float(produced.max()), 2 * usual) if produced.any() else usual)
    last.set_xlabel("ms")
    for axes in (top, second, third, last):
        _finish(axes, knobs)
    top.set_title(
        f"Channels at {knobs.voltage * MILLIVOLTS:+.0f} mV, stepped to "
        f"{knobs.step_voltage * MILLIVOLTS:+.0f} mV (shaded)", fontsize=11,
    )  # fmt: skip
    return figure


def _finish(axes: Axes, knobs: Knobs) -> None:
    axes.axvspan(knobs.step_on, min(knobs.step_off, knobs.duration), color=GREY, alpha=0.1, lw=0)
    plain(axes)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _scene(data: Any, knobs: Knobs) -> Scene:
    from entropilot.report.scene import Scene, Series

    sensor, is_open, ions = _model(knobs).parts()
    states = data["state"].values
    places = np.stack([ions, 1.6 * is_open, 1.6 * sensor], axis=1).astype(np.float64)
    positions = _smooth(places[states]) + _cluster(states.shape[1])
    return Scene(
        title="Ion channels: ions in the pore (length), gate (depth), sensor (height)",
        times=data["time"].values,
        positions=positions,
        low=np.array([-0.6, -0.6, -0.6]),
        high=np.array([3.6, 2.2, 2.2]),
        colours=is_open[states].astype(np.float64),
        colour_name="gate open",
        series=(
            Series("share open", data["open_fraction"].values),
            Series("still known of the state before", data["relative_entropy"].values, "nats"),
            Series("entropy produced", data["entropy_production"].values, "nats/ms"),
        ),
        sentences=tuple(_findings(data, knobs)),
        time_unit="ms",
    )


def _cluster(n: int) -> NDArray[np.float64]:
    """[n, 3] places in a ball around a state, evenly spread (a spiral of equal volumes)."""
    k = np.arange(n) + 0.5
    height = 1 - 2 * k / n
    angle = np.pi * (1 + 5**0.5) * k
    radius = 0.28 * (k * 0.618 % 1) ** (1 / 3)
    ring = np.sqrt(1 - height**2)
    ball = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    made: NDArray[np.float64] = radius[:, None] * ball
    return made


def _smooth(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """A move takes two pictures, so that the eye can follow it."""
    before = np.concatenate([places[:1], places[:-1]])
    halfway: NDArray[np.float64] = (places + before) / 2
    return halfway


SIMULATION: Final = Simulation(
    name="ionchannel",
    presets={
        "voltage-step": Knobs(),
        "rest": Knobs(voltage=0.0, step_voltage=0.0, duration=10.0, frames=200),
        "gradient": Knobs(voltage=1.0, step_voltage=1.0, inside=2.0, outside=0.2, duration=10.0,
                          frames=200),
        "reversal": Knobs(voltage=1.0, step_voltage=float(-np.log(10.0)), inside=2.0, outside=0.2),
    },
    process=_process,
    picture=_picture,
    scene=_scene,
    findings=_findings,
    about=ABOUT,
)  # fmt: skip
