from __future__ import annotations

import numpy as np

from entropilot.studies.answer_policies import (
    draw_answers,
    make_problems,
    softmax,
    train_by_groups,
)
from entropilot.studies.invisible_leash import STUDY


def test_the_recorded_run_has_its_transformers(recorded):
    findings = STUDY.judge(recorded("invisible-leash"))
    assert all(f.holds is not None for f in findings)
    assert sum(f.statement.startswith("Transformer") for f in findings) == 4


def test_the_figure_has_a_panel_more_with_transformers(recorded):
    measurements = recorded("invisible-leash")
    figure = STUDY.draw(measurements)
    assert len(figure.axes) == 4
    transformer = next(a for a in figure.axes if a.get_title().startswith("Transformer"))
    assert transformer.get_title().endswith("1 of 3 seeds")
    assert len(transformer.lines) == 6  # base and RL, a line a seed
    simulated = [{k: v for k, v in m.items() if k != "transformer"} for m in measurements]
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
