"""Choices and means are over the batch of all processes: two give what one would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import entropilot


@pytest.mark.slow
def test_two_processes_minimise_the_objective_of_the_whole_batch(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    script = Path(__file__).parent / "two_processes.py"
    source = str(Path(entropilot.__file__).parent.parent)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node=2", str(script), str(tmp_path)),
        ],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("FOUND")]
    assert lines, run.stderr
    found = json.loads(lines[0].removeprefix("FOUND"))
    assert found["n_processes"] == 2
    assert len(found["rows"]) == 4
    for row, norm in zip(found["rows"], found["norms"], strict=True):
        assert row["trl"] == pytest.approx(row["built_in"], abs=1e-6)
        assert norm == pytest.approx(row["norm"], rel=1e-4)
    ours, theirs = found["states"]
    assert ours["siren"] == pytest.approx(theirs["siren"], rel=1e-6)
