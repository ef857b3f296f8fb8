"""Three bodies from the command line: files, resume, and knobs out of range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from entropilot.errors import ConfigurationError
from entropilot.experiments.simulated.three_body import PRESETS, ThreeBodyKnobs, process
from entropilot.experiments.simulations import load_simulation, simulate
from entropilot.physics.process import Process, State
from entropilot.physics.recording import record
from entropilot.physics.trajectory_file import read_trajectory


@pytest.mark.parametrize("preset", ["learned", "default-mu", "controlled"])
def test_each_policy_leaves_its_files(tmp_path: Path, preset: str) -> None:
    import dataclasses

    knobs = dataclasses.replace(PRESETS[preset], years=2.0)
    done = simulate(load_simulation("threebody"), knobs, tmp_path)
    data = read_trajectory(tmp_path / "trajectory.nc")
    assert data.sizes["time"] == 21
    assert data["position"].attrs["units"] == "au"
    assert "steps of hermite" in done.findings[0]
    assert np.flatnonzero(np.isnan(data["mu"])).tolist() == [0]  # no step was taken before
    assert 0 <= float(data["policy_entropy"].max()) <= np.log(10) + 1e-9


def test_a_run_that_was_cut_off_ends_as_the_whole_one(tmp_path: Path) -> None:
    import dataclasses

    knobs = ThreeBodyKnobs("controlled", years=3.0)
    whole = read_trajectory(record(process(knobs), tmp_path / "whole"))
    made: Process = process(knobs)

    def dies(state: State) -> State:
        if state["number"][0] == 13:
            raise KeyboardInterrupt
        return made.advance(state)

    with pytest.raises(KeyboardInterrupt):
        record(dataclasses.replace(made, advance=dies), tmp_path / "cut", block_bytes=2_000)
    again = read_trajectory(record(made, tmp_path / "cut"))
    np.testing.assert_array_equal(again["position"], whole["position"])
    np.testing.assert_array_equal(again["mu"], whole["mu"])


@pytest.mark.parametrize(
    ("knobs", "match"),
    [
        (ThreeBodyKnobs("fixed", mu=0.0), "mu = 0"),
        (ThreeBodyKnobs(years=-1.0), "years = -1"),
        (ThreeBodyKnobs(seed=-3), "seed = -3"),
    ],
)
def test_a_knob_out_of_range_is_named(knobs: ThreeBodyKnobs, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        process(knobs)
