"""Every study of the registry through one battery; what is special to one has its own file.

A new study is in the battery as soon as it is registered, and is one line of ``VERDICTS``.
"""

from __future__ import annotations

import copy
import json
import warnings
from typing import Any, Final

import pytest
from matplotlib.figure import Figure

from entropilot.studies.registry import load_study, study_names
from entropilot.studies.runner import plain
from entropilot.studies.store import RECORDED, Store, StudyRun
from entropilot.studies.study import Finding, Measurement, Verdict, verdict

# What the recorded quick run of each says. Another verdict is news: it belongs in the changelog.
VERDICTS: Final[dict[str, Verdict]] = {
    "boltzmann-gas": "in part",
    "cov-clip": "in part",
    "denoising-curriculum": "in part",
    "diversity-precision": "holds",
    "dse": "in part",
    "entropy-dynamics": "holds",
    "epiplexity": "holds",
    "fish-school": "in part",
    "ghosts": "in part",
    "instability": "holds",
    "invisible-leash": "in part",
    "lr-perceptron": "in part",
    "neural-collapse": "in part",
    "oreo": "in part",
    "passuntil": "in part",
    "pear": "in part",
    "reasoning-utility": "in part",
    "siren": "holds",
    "ska": "in part",
    "spae": "holds",
    "statmech": "holds",
    "steer": "in part",
    "stepmix": "holds",
    "stepnet": "in part",
    "three-body": "in part",
}
# Smoke runs that take seconds; those of the others are marked slow.
FAST: Final = ("boltzmann-gas", "fish-school", "statmech")
NEEDS: Final = {"three-body": "stable_baselines3"}
# Smoke runs on planted or small input, which say themselves that they prove nothing.
CLAIM_NOTHING: Final = ("boltzmann-gas", "instability", "reasoning-utility")
# An untrained policy shows no effect, and a judge that calls it one can't say no.
UNTRAINED: Final = (
    *("cov-clip", "diversity-precision", "entropy-dynamics", "oreo"),
    *("pear", "siren", "spae", "steer"),
)

SMOKE: Final = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in study_names()
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start policies are trained once for all tests, and never taken from the user's cache."""
    monkeypatch.setenv("ENTROPILOT_CACHE", str(tmp_path_factory.getbasetemp() / "starts"))


def stored(name: str) -> StudyRun:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}")
    return Store(RECORDED).own(name, "quick")


def judged(name: str, measurements: list[Measurement]) -> list[Finding]:
    """The findings, which depend on the numbers alone and leave them as they are."""
    study, before = load_study(name), copy.deepcopy(measurements)
    findings = study.judge(measurements)
    assert measurements == before
    assert study.judge(measurements) == findings
    statements = [finding.statement for finding in findings]
    assert len(set(statements)) == len(statements)
    for finding in findings:
        assert finding.statement
        assert finding.measured
        assert finding.expected or finding.holds is None  # nothing is expected of what was not run
        assert finding.holds in (True, False, None)  # never a numpy bool: it has no JSON form
    json.dumps([finding.holds for finding in findings])
    return findings


def drawn(name: str, measurements: list[Measurement]) -> Figure:
    """The figure, whose panels say what they show."""
    before = copy.deepcopy(measurements)
    figure = load_study(name).draw(measurements)
    assert measurements == before
    assert figure.axes
    for axes in (a for a in figure.axes if a.axison):  # one that is off holds a note
        assert axes.get_xlabel() or axes.get_ylabel() or axes.get_title() or axes.get_title("left")
    return figure


@pytest.mark.parametrize("name", SMOKE)
def test_a_smoke_run_is_stored_judged_and_drawn(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}")
    shares: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a start policy that gets nothing right
        measured: dict[str, Any] = plain(
            load_study(name).measure("smoke", 0, lambda share, _doing: shares.append(share))
        )
    assert json.loads(json.dumps(measured)) == measured
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    findings = judged(name, [measured])
    assert (verdict(findings) == "not run") == (name in CLAIM_NOTHING)
    if name in CLAIM_NOTHING:
        assert all(finding.holds is not False for finding in findings)
    if name in UNTRAINED:
        assert any(finding.holds is False for finding in findings)
    drawn(name, [measured])


def test_every_study_has_its_recorded_verdict() -> None:
    assert sorted(VERDICTS) == sorted(study_names())


@pytest.mark.parametrize("name", study_names())
def test_the_recorded_run_is_judged_and_drawn(name: str) -> None:
    run = stored(name)
    assert (run.slug, run.scale) == (name, "quick")
    assert [seed.seed for seed in run.seeds] == [0, 1, 2]
    findings = judged(name, run.measurements)
    assert verdict(findings) == VERDICTS[name]
    drawn(name, run.measurements)


@pytest.mark.parametrize("name", study_names())
def test_one_recorded_seed_alone_is_judged_and_drawn(name: str) -> None:
    one = stored(name).measurements[:1]
    assert judged(name, one)
    drawn(name, one)
