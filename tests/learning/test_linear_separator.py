"""The estimator in scikit-learn's own checks, and the torch twin beside the numpy one."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.learning.linear_separator import LinearSeparator
from entropilot.learning.logistic_descent import logistic_gd
from entropilot.learning.perceptrons import batch_perceptron

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
Y = np.where(X @ [1.0, -2.0, 0.5, 0.3] > 0, "yes", "no")


def test_estimator_separates_and_names_classes() -> None:
    model = LinearSeparator(step_size=10.0).fit(X, Y)
    assert model.separated_
    assert model.score(X, Y) == 1.0
    assert model.coef_.shape == (1, 4)
    assert model.set_params(step_size=1.0).get_params()["step_size"] == 1.0
    assert "step_size=1.0" in repr(model)
    with pytest.raises(ConfigurationError, match="did you mean 'step_size'"):
        model.set_params(stepsize=1.0)
    with pytest.raises(InputError, match="3 class"):
        model.fit(X[:3], [0, 1, 2])
    with pytest.raises(InputError, match="expecting 4 features"):
        model.predict(X[:, :2])
    with pytest.warns(UserWarning, match="opposite labels"):
        LinearSeparator(max_iter=5).fit([[1.0], [1.0], [2.0]], [0, 1, 1])


def test_scikit_learn_takes_it() -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    if not hasattr(checks, "estimator_checks_generator"):
        pytest.skip("scikit-learn is too old to ask for tags")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = checks.check_estimator(LinearSeparator(max_iter=500), on_fail=None)
    failed = {r["check_name"]: str(r["exception"]) for r in found if r["status"] == "failed"}
    assert not failed
    assert sum(r["status"] == "passed" for r in found) > 30


def test_scikit_learn_searches_over_it() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    pipeline = pytest.importorskip("sklearn.pipeline")
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler
    both = pipeline.make_pipeline(scaler(), LinearSeparator())
    search = selection.GridSearchCV(both, {"linearseparator__step_size": [1.0, 100.0]}, cv=3)
    assert search.fit(X, Y).best_score_ > 0.8


torch = pytest.importorskip("torch")


def samples() -> tuple[Any, Any]:
    return torch.tensor(X), torch.tensor(np.where(Y == "yes", 1, -1))


def test_torch_steps_are_the_normalised_descent() -> None:
    from entropilot.learning.logistic_step import LogisticStep

    x, y = samples()
    theta = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    step = LogisticStep(torch.optim.SGD([theta], lr=2.0))
    betas = []
    for _ in range(5):
        step.zero_grad()
        logits = x @ theta
        torch.nn.functional.softplus(-y * logits).mean().backward()
        betas.append(step.step(logits, y))
    expected = logistic_gd(
        X, y.numpy(), 2.0, normalized=True, stop=None, max_iter=5, record="trace"
    )
    np.testing.assert_allclose(theta.detach(), expected.theta, rtol=1e-10)
    np.testing.assert_allclose(betas, expected.trace["beta"][:5], rtol=1e-10)
    assert step.optimizer.param_groups[0]["lr"] == 2.0
    step.load_state_dict(step.state_dict())


def test_torch_error_probability_of_many_classes() -> None:
    from entropilot.learning.logistic_step import LogisticStep, log_error_probability

    logits, labels = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    p = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(log_error_probability(logits, labels).exp(), 1 - p)
    binary = log_error_probability(logits[:, :2], labels % 2)
    single = log_error_probability(logits[:, 1] - logits[:, 0], labels % 2)
    torch.testing.assert_close(binary, single)
    w = torch.zeros(1, requires_grad=True)
    w.grad = torch.zeros(1)
    assert LogisticStep(torch.optim.SGD([w], lr=1.0)).step(torch.tensor([9e3]), torch.ones(1)) > 1
    assert w.item() == 0
    for bad, message in (
        ((torch.zeros(2), torch.zeros(3)), "expected"),
        ((torch.zeros(2), torch.tensor([2, 3])), "expected -1 and 1"),
        ((torch.zeros(2, 3), torch.tensor([0, 3])), "K - 1"),
    ):
        with pytest.raises(InputError, match=message):
            log_error_probability(*bad)
    with pytest.raises(BrokenNumbersError, match="nan"):
        log_error_probability(torch.tensor([torch.nan]), torch.tensor([1]))
    with pytest.raises(ConfigurationError, match="Optimizer"):
        LogisticStep(torch.nn.Linear(1, 1))


def test_generalised_step_of_a_linear_model_is_the_batch_perceptron() -> None:
    from entropilot.learning.logistic_step import generalised_perceptron_step

    x, y = samples()
    for normalized in (False, True):
        model = torch.nn.Linear(4, 1, bias=False).double()
        torch.nn.init.zeros_(model.weight)
        counts = []
        for _ in range(6):
            counts.append(generalised_perceptron_step(model, x, y, normalized=normalized))
        run = batch_perceptron(
            X, y.numpy(), normalized=normalized, first_step="full", record="iterates"
        )
        done = min(6, run.iterations)
        np.testing.assert_allclose(
            model.weight.detach()[0], run.iterates[done], rtol=1e-9, atol=1e-12
        )
        assert counts[0] == 50
    with pytest.raises(ConfigurationError, match="step_size"):
        generalised_perceptron_step(model, x, y, step_size=0.0)
    with pytest.raises(InputError, match="-1 and 1"):
        generalised_perceptron_step(model, x, (y + 1) // 2)
