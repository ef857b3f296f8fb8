"""A run: the same files whether it was stopped or not; another experiment is left alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from entropilot.errors import ConfigurationError, InputError
from entropilot.experiments import (
    DIAGNOSIS_FILE,
    ExperimentConfig,
    load_config,
    plan_diagnosis,
    run_diagnosis,
)
from entropilot.traces.parquet import read_parquet
from entropilot.traces.summary import Summary
from entropilot.traces.table import Traces


def config(folder: Path, **changes: object) -> ExperimentConfig:
    values = {
        "model.name": "tiny",
        "task.n_problems": 5,
        "sampling.n_samples": 2,
        "sampling.max_tokens": 6,
        "sampling.rows_per_batch": 4,
        "run.folder": str(folder),
    }
    return load_config(DIAGNOSIS_FILE, overrides=values | changes)


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


class Killed(BaseException):
    """Stands for a signal: no handler of ordinary errors sees it."""


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [1, 4, 9, 14])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path, stop_after: int) -> None:
    whole = run_diagnosis(config(tmp_path / "whole"))
    steps = 0

    def kill(_share: float, _message: str) -> None:
        nonlocal steps
        steps += 1
        if steps > stop_after:
            raise Killed

    with pytest.raises(Killed):
        run_diagnosis(config(tmp_path / "cut"), progress=kill)
    cut = run_diagnosis(config(tmp_path / "cut"))
    one, other = files(whole.folder), files(cut.folder)
    for some in (one, other):  # they hold the folder's own name
        some.pop("experiment.json")
        numbers = json.loads(some["summary.json"])
        numbers["experiment"].pop("run")
        some["summary.json"] = json.dumps(numbers).encode()
    assert one == other


def test_finished_chunks_are_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_diagnosis(config(tmp_path))

    def unwanted(*_args: object, **_options: object) -> None:
        raise AssertionError("the model was loaded again")

    monkeypatch.setattr("entropilot.experiments.diagnosis_run.load_model", unwanted)
    again = run_diagnosis(config(tmp_path))
    assert again.traces.rows.equals(first.traces.rows)


def test_what_a_run_leaves(tmp_path: Path) -> None:
    seen: list[object] = []

    def render(
        asked: ExperimentConfig, traces: Traces, summary: Summary, folder: Path
    ) -> Sequence[Path]:
        seen.append((asked, len(traces), len(summary)))
        page = folder / "report.html"
        page.write_text("a report")
        return [page]

    result = run_diagnosis(config(tmp_path), render=render)
    assert seen == [(config(tmp_path), 10, 10)]
    assert [f.name for f in result.files] == ["traces.parquet", "summary.json", "report.html"]
    traces = read_parquet(result.folder / "traces.parquet")
    assert len(traces) == 10
    assert traces.rows["group"].n_unique() == 5
    assert traces.rows["correct"].null_count() == 0
    assert traces.tokens.entropy is not None
    numbers = json.loads((result.folder / "summary.json").read_text())
    assert numbers["n_answers"] == 10
    assert numbers["n_right"] == traces.rows["correct"].sum()
    assert not [f for f in result.folder.rglob("*") if f.name.endswith(".part")]


def test_another_experiment_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    run_diagnosis(config(tmp_path))
    before = files(tmp_path)
    for change in ({"sampling.temperature": 0.1}, {"run.seed": 3}):
        with pytest.raises(ConfigurationError, match=r"another experiment .*(sampling|run.seed)"):
            run_diagnosis(config(tmp_path, **change))
        with pytest.raises(ConfigurationError, match="another experiment"):
            plan_diagnosis(config(tmp_path, **change))
    assert files(tmp_path) == before
    run_diagnosis(config(tmp_path, **{"report.title": "New"}))  # the report may change


def test_a_broken_chunk_is_named(tmp_path: Path) -> None:
    result = run_diagnosis(config(tmp_path))
    chunk = result.folder / "chunks" / "00001.parquet"
    chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(InputError, match=r"00001.parquet of an earlier run.*Delete that file"):
        run_diagnosis(config(tmp_path))
    chunk.unlink()
    assert len(run_diagnosis(config(tmp_path)).traces) == 10


def test_plan_says_what_is_done(tmp_path: Path) -> None:
    asked = config(tmp_path)
    before = plan_diagnosis(asked)
    assert (before.n_answers, before.n_chunks, before.n_chunks_done) == (10, 3, 0)
    assert not tmp_path.joinpath("diagnosis").exists()
    run_diagnosis(asked)
    assert plan_diagnosis(asked).n_chunks_done == 3
    assert "3 chunks are done" in " ".join(plan_diagnosis(asked).sentences)


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        run_diagnosis(config(tmp_path / "file"))
