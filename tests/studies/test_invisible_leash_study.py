from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest

from entropilot.studies.answer_policies import (
    draw_answers,
    make_problems,
    softmax,
    train_by_groups,
)
from entropilot.studies.invisible_leash import STUDY
from entropilot.studies.study import verdict


@pytest.fixture(scope="module")
def recorded():
    path = resources.files("entropilot.studies") / "recorded" / "invisible-leash.quick.json"
    return json.loads(path.read_text())


@pytest.mark.slow
def test_smoke_run_is_plain_json_and_is_judged_and_drawn():
    measurement = STUDY.measure("smoke", 0, lambda share, what: None)
    assert json.loads(json.dumps(measurement)) == measurement
    findings = STUDY.judge([measurement])
    assert verdict(findings) in ("holds", "in part", "not here")
    assert len(STUDY.draw([measurement]).axes) == 4


def test_recorded_run_has_the_promised_form(recorded):
    assert (recorded["slug"], recorded["scale"]) == (STUDY.slug, "quick")
    assert [x["seed"] for x in recorded["seeds"]] == [0, 1, 2]
    findings = STUDY.judge([x["measurement"] for x in recorded["seeds"]])
    assert all(f.holds is not None for f in findings)
    assert sum(f.statement.startswith("Transformer") for f in findings) == 4


def test_recorded_figure_is_drawn(recorded):
    figure = STUDY.draw([x["measurement"] for x in recorded["seeds"]])
    assert len(figure.axes) == 4
    assert all(axes.get_xlabel() for axes in figure.axes)
    transformer = next(a for a in figure.axes if a.get_title().startswith("Transformer"))
    assert transformer.get_title().endswith("1 of 3 seeds")
    assert len(transformer.lines) == 6  # base and RL, a line a seed
    simulated = [{k: v for k, v in x["measurement"].items() if k != "transformer"}
                 for x in recorded["seeds"]]  # fmt: skip
    assert len(STUDY.draw(simulated).axes) == 3


def test_a_table_never_lowers_a_single_right_answer():
    rng = np.random.default_rng(0)
    problems = make_problems(50, 6, 1, spread=1.0, advantage=0.0, rng=rng)
    pi = train_by_groups(
        problems, n_updates=100, group=8, batch=20, step=0.5, features=None, rng=rng
    )
    # The advantages of a group sum to 0, so wrong ones that were drawn pay for the right one.
    assert (pi[problems.right] >= problems.base[problems.right] - 1e-12).all()


def test_shared_features_let_problems_interfere():
    rng = np.random.default_rng(0)
    problems = make_problems(200, 6, 1, spread=1.0, advantage=0.5, rng=rng)
    pi = train_by_groups(problems, n_updates=200, group=8, batch=64, step=1.0, features=20, rng=rng)
    change = pi[problems.right] - problems.base[problems.right]
    assert change.mean() > 0
    assert (change < -0.05).any()


def test_drawn_answers_have_the_right_shares():
    pi = softmax(np.log([[0.2, 0.5, 0.3]]))
    answers = draw_answers(pi, 100_000, np.random.default_rng(0))
    shares = np.bincount(answers[0], minlength=3) / 100_000
    np.testing.assert_allclose(shares, pi[0], atol=0.007)  # 4 standard errors
