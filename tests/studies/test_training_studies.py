"""Studies that train: a smoke run of each, a figure, and judges that can say no."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import entropilot.studies
from entropilot.studies.registry import load_study

RECORDED = Path(entropilot.studies.__file__).parent / "recorded"
NAMES = (
    *("siren", "cov-clip", "entropy-dynamics", "steer"),
    *("diversity-precision", "pear", "spae", "oreo"),
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTROPILOT_CACHE", str(tmp_path_factory.getbasetemp() / "starts"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_smoke_run_can_be_stored_judged_and_drawn(name: str) -> None:
    study = load_study(name)
    shares: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a start policy that gets nothing right
        measured = study.measure("smoke", 0, lambda share, _doing: shares.append(share))
    stored = json.loads(json.dumps(measured))
    findings = study.judge([stored])
    assert any(f.holds is False for f in findings)  # an untrained policy shows no effect
    assert study.draw([stored]).axes
    assert shares
    assert max(shares) <= 1.0


def recorded(name: str) -> list[dict[str, Any]]:
    file = RECORDED / f"{name}.quick.json"
    return [seed["measurement"] for seed in json.loads(file.read_text())["seeds"]]


@pytest.mark.parametrize("name", [*NAMES, "invisible-leash"])
def test_recorded_numbers_are_three_seeds_and_can_be_judged(name: str) -> None:
    measurements = recorded(name)
    assert len(measurements) == 3
    findings = load_study(name).judge(measurements)
    assert sum(f.holds is not None for f in findings) >= 4
    assert load_study(name).draw(measurements).axes


def test_swapped_arms_turn_the_verdict_of_siren() -> None:
    study = load_study("siren")
    measurements = recorded("siren")
    first = study.judge(measurements)[0]
    for m in measurements:
        arms = m["arms"]
        arms["SIREN"], arms["GRPO"] = arms["GRPO"], arms["SIREN"]
    assert study.judge(measurements)[0].holds is not first.holds


def test_swapped_sides_turn_the_verdict_of_entropy_dynamics() -> None:
    study = load_study("entropy-dynamics")
    measurements = recorded("entropy-dynamics")
    before = study.judge(measurements)[0].holds
    for m in measurements:
        arms = m["arms"]
        arms["A > 0, S > 0"], arms["A > 0, S < 0"] = arms["A > 0, S < 0"], arms["A > 0, S > 0"]
    assert before is True
    assert study.judge(measurements)[0].holds is False
