"""The metrics file survives a kill in the middle of a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from entropilot.errors import InputError
from entropilot.policy.training.metrics_log import (
    ALIASES,
    MEANINGS,
    append_metrics,
    canonical_name,
    keep_steps,
    read_metrics,
)


def test_rows_come_back_and_nan_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, {"step": 1, "loss": 0.1})
    append_metrics(path, {"step": 2, "loss": float("nan")})
    assert read_metrics(path) == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": None}]


def test_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
    assert [row["step"] for row in keep_steps(path, 1)] == [1]
    assert path.read_text() == '{"step": 1}\n'


def test_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(InputError, match="line 2, is no JSON"):
        read_metrics(path)


def test_what_is_no_metrics_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\xfe\n')
    with pytest.raises(InputError, match=r"is no text \(byte 12\); give a metrics.jsonl"):
        read_metrics(path)
    path.write_text('{"a": ' + "[" * 100_000 + '\n{"step": 1}\n')
    with pytest.raises(InputError, match="line 1, is no JSON"):
        read_metrics(path)


@pytest.mark.parametrize("step", ['"two"', "null", "true", "[1]", "NaN", "1e400", "9" * 400])
def test_a_step_that_is_no_number_is_an_error(tmp_path: Path, step: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": {step}, "loss": 1.0}}\n')
    with pytest.raises(InputError, match=r"line 1: step is .*, expected a finite number"):
        read_metrics(path)


def test_every_alias_means_a_quantity_that_is_documented() -> None:
    assert set(ALIASES.values()) <= set(MEANINGS)
    assert canonical_name("actor/entropy_loss") == "entropy"
    assert canonical_name("reward") == "reward"
