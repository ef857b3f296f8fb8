"""StepMix and EpsMix: golden values, safety, what simulation and single steps share, bad input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.learning.conservative_explorer import ConservativeExplorer, kind_names
from entropilot.learning.exploration_run import estimate_episodes, simulate
from entropilot.learning.offline_baseline import offline_baseline
from entropilot.learning.safe_mixtures import eps_mixture, mixture_policy, step_mixture
from entropilot.learning.tabular_mdp import TabularMDP
from entropilot.learning.value_bounds import evaluate_policy, optimistic_plan, widths


def random_mdp(seed: int, S: int = 4, A: int = 3, H: int = 3) -> TabularMDP:
    rng = np.random.default_rng(seed)
    return TabularMDP(rng.dirichlet(np.ones(S), (H, S, A)), rng.random((H, S, A)))


def soft_baseline(mdp: TabularMDP, eta: float = 10.0) -> np.ndarray:
    weights = np.exp(eta * (mdp.optimal().Q - mdp.optimal().Q.max(-1, keepdims=True)))
    return weights / weights.sum(-1, keepdims=True)


def counts_of(mdp: TabularMDP, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    visits = rng.integers(0, n + 1, mdp.r.shape)
    return np.stack([
        rng.multinomial(v, p) for v, p in zip(visits.ravel(), mdp.P.reshape(-1, mdp.P.shape[-1]))
    ]).reshape(mdp.P.shape)  # fmt: skip


@pytest.fixture
def case(golden: Callable[[str], Any]) -> dict[str, Any]:
    found: dict[str, Any] = golden("stepmix")
    return found


def test_widths_are_golden(case: dict[str, Any]) -> None:
    for row in case["betas"]:
        wide, narrow = widths(row["n"], case["S"], case["A"], case["H"], case["delta"])
        assert wide == pytest.approx(row["beta"], rel=1e-12)
        assert narrow == pytest.approx(row["beta_star"], rel=1e-12)


@pytest.mark.parametrize("which", [0, 1])
def test_plans_bounds_and_choices_are_golden(case: dict[str, Any], which: int) -> None:
    run, delta = case["runs"][which], case["delta"]
    N, r, base = (np.array(case[k]) for k in ("counts", "r", "baseline"))
    mdp, scale, H = TabularMDP(np.array(case["P"]), r), run["bonus_scale"], case["H"]
    plan = optimistic_plan(N, r, delta, scale)
    assert plan.policy.tolist() == run["optimistic_policy"]
    np.testing.assert_allclose(plan.upper, run["v_upper"], rtol=1e-10)
    np.testing.assert_allclose(plan.lower, run["v_lower"], rtol=1e-10)
    low = []
    for row in run["candidates"]:
        j = row["h0"]
        pi = mixture_policy(base, plan.policy, j, 1.0)
        bounds = evaluate_policy(N, r, pi, delta, fixed=j == H, bonus_scale=scale)
        assert bounds.lower[0, 0] == pytest.approx(row["lower"], rel=1e-10, abs=1e-14)
        assert bounds.upper[0, 0] == pytest.approx(row["upper"], rel=1e-10)
        assert mdp.value(pi) == pytest.approx(row["true"], rel=1e-10)
        low.append(bounds.lower[0, 0])
    for row in run["selection"]:
        gamma = row["gamma"]
        found = step_mixture(low, gamma)
        assert (found.kind, found.h0) == (row["kind"], row["h0"])
        assert found.rho == pytest.approx(row["rho"], rel=1e-10)
        coin = eps_mixture(low[0], low[-1], gamma)
        assert coin.eps == pytest.approx(row["eps"], rel=1e-10)
        value = mdp.value(mixture_policy(base, plan.policy, found.h0, found.rho))
        assert value == pytest.approx(row["value"], rel=1e-10)
        new = mdp.value(mixture_policy(base, plan.policy, 0, 0.0))
        mean = coin.eps * mdp.value(base) + (1 - coin.eps) * new
        if "epsmix_value" in row:  # of mixtures
            assert mean == pytest.approx(row["epsmix_value"], rel=1e-10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explorer = ConservativeExplorer(r, base, gamma, delta, bonus_scale=scale, counts=N)
        mine = explorer.certificate
        np.testing.assert_allclose(mine["low"], low, rtol=1e-12)
        assert (mine["kind"], mine["h0"]) == (row["kind"], row["h0"])
        np.testing.assert_allclose(
            explorer.policy(), mixture_policy(base, plan.policy, found.h0, found.rho)
        )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([3, 100, 10_000, 10**6]))
def test_bounds_hold_the_true_values_and_mixtures_are_linear(seed: int, n: int) -> None:
    mdp = random_mdp(seed)
    base, N, H = soft_baseline(mdp), counts_of(mdp, n, seed), len(mdp.r)
    plan = optimistic_plan(N, mdp.r, 0.1)
    best = mdp.optimal().V[0, 0]
    assert plan.lower[0, 0] - 1e-12 <= best <= plan.upper[0, 0] + 1e-12
    values = []
    for j in range(H + 1):
        pi = mixture_policy(base, plan.policy, j, 1.0)
        bounds = evaluate_policy(N, mdp.r, pi, 0.1, fixed=j == H)
        values.append(mdp.value(pi))
        assert bounds.lower[0, 0] - 1e-12 <= values[-1] <= bounds.upper[0, 0] + 1e-12
    for j in range(1, H + 1):
        rho = (seed % 97) / 97
        mixed = mdp.value(mixture_policy(base, plan.policy, j, rho))
        assert mixed == pytest.approx(rho * values[j] + (1 - rho) * values[j - 1], abs=1e-12)


def test_bounds_close_when_visits_grow() -> None:
    mdp = random_mdp(1)
    N = np.round(mdp.P * 1e13).astype(np.int64)
    found = evaluate_policy(N, mdp.r, soft_baseline(mdp), 0.1, fixed=True)
    value = mdp.value(soft_baseline(mdp))
    assert found.lower[0, 0] == pytest.approx(value, abs=1e-4)
    assert found.upper[0, 0] == pytest.approx(value, abs=1e-4)


def test_the_smallest_candidate_is_taken_though_bounds_do_not_rise() -> None:
    assert step_mixture([0.1, 0.6, 0.2, 0.9], 0.5) == ("mixture", 1, pytest.approx(0.8))
    assert step_mixture([0.1, 0.6, 0.2, 0.4], 0.5).kind == "baseline"
    assert step_mixture([0.0, 0.0], 0.0).kind == "optimistic"
    assert eps_mixture(0.1, 0.2, 0.5) == ("baseline", 1.0)
    assert kind_names(np.array([1])) == ["mixture"]


def quiet(*args: Any, **settings: Any) -> ConservativeExplorer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ConservativeExplorer(*args, **settings)


@pytest.mark.parametrize("method", ["stepmix", "epsmix"])
def test_simulated_exploration_is_safe_and_learns(method: Any) -> None:
    mdp = random_mdp(0)
    base = soft_baseline(mdp)
    gamma = 0.9 * mdp.value(base)
    explorer = quiet(mdp.r, base, gamma, method=method, bonus_scale=0.02)
    trace = simulate(mdp, explorer, 60_000, seed=1)
    free = simulate(
        mdp, quiet(mdp.r, base, gamma, method="bpi-ucbvi", bonus_scale=0.02), 60_000, seed=1
    )
    assert trace.violations == 0 < free.violations
    assert trace.episodes == explorer.episodes == 60_000
    assert explorer.N.sum() == 60_000 * len(mdp.r)
    np.testing.assert_array_equal(explorer.totals, explorer.N.sum(-1))
    assert len(trace.value) == len(trace.kind) == len(trace.regret) == 60_000
    assert trace.regret[-1] == pytest.approx(trace.total_regret)
    always = 60_000 * (trace.optimum - mdp.value(base))
    assert trace.total_regret < always
    assert trace.first("baseline") == 0
    assert trace.first("mixture") is not None
    assert set(trace.kind[:10]) == {"baseline"}
    assert trace.value.min() >= gamma - 1e-9
    assert "0 of them" in trace.summary()
    assert (trace.entropy >= 0).all()
    assert trace.entropy[-1] < trace.entropy[0]
    assert trace.h0.shape == trace.rho.shape == (60_000,)


def test_simulation_is_the_seeds_and_counts_are_the_processs() -> None:
    mdp = random_mdp(3)
    base = soft_baseline(mdp)
    runs = []
    for seed in (5, 5, 6):
        explorer = quiet(mdp.r, base, 0.5, method="baseline")
        simulate(mdp, explorer, 100_000, seed=seed)
        runs.append(explorer)
    np.testing.assert_array_equal(runs[0].N, runs[1].N)
    assert not np.array_equal(runs[0].N, runs[2].N)
    N = runs[0].N
    seen = N.sum(-1) > 2000
    found = N / np.maximum(N.sum(-1, keepdims=True), 1)
    error = np.abs(found - mdp.P).max(-1)[seen]
    assert error.max() < 5 * np.sqrt(0.25 / 2000)
    share = N[0, 0].sum(-1) / N[0, 0].sum()
    np.testing.assert_allclose(share, base[0, 0], atol=0.01)


@pytest.mark.parametrize("method", ["stepmix", "epsmix"])
def test_stepping_by_hand_is_safe_too(method: Any) -> None:
    mdp = random_mdp(4, S=2, A=2, H=2)
    base, rng = soft_baseline(mdp), np.random.default_rng(0)
    gamma = 0.8 * mdp.value(base)
    explorer = quiet(mdp.r, base, gamma, method=method, bonus_scale=0.02, seed=3)
    kinds = set()
    for _ in range(2500):
        pi = explorer.policy()
        states, actions = mdp.rollout(pi, 1, rng)
        explorer.observe(states[0], actions[0])
        kinds.add(explorer.certificate["kind"])
        if method == "stepmix":
            assert mdp.value(pi) >= gamma - 1e-9
    assert len(kinds) > 1
    assert explorer.episodes == 2500
    np.testing.assert_array_equal(explorer.totals, explorer.N.sum(-1))
    assert "No value is proven" in explorer.summary()


def test_replanning_every_episode_agrees_with_the_kernel() -> None:
    mdp = random_mdp(5)
    base = soft_baseline(mdp)
    gamma = 0.9 * mdp.value(base)
    explorer = quiet(mdp.r, base, gamma, bonus_scale=0.02, replan=1)
    trace = simulate(mdp, explorer, 3000, seed=2)
    assert (trace.lengths == 1).all()
    last = quiet(mdp.r, base, gamma, bonus_scale=0.02, counts=explorer.N)
    again = simulate(mdp, explorer, 1, seed=2)
    assert KIND_OF(last) == again.kind[0]
    assert last.certificate["rho"] == again.rho[0]
    assert mdp.value(last.policy()) == pytest.approx(again.value[0], abs=1e-12)


def KIND_OF(explorer: ConservativeExplorer) -> str:  # noqa: N802
    return str(explorer.certificate["kind"])


def test_sentences_say_what_is_proven() -> None:
    r, one = np.array([[[0.5, 0.9]]]), [[[1.0, 0.0]]]
    explorer = ConservativeExplorer(r, one, 0.45)
    assert "assumed" in explorer.summary()
    explorer.observe([0, 0], [0])
    assert "baseline with probability 0.900" in explorer.summary()
    assert "with probability 0.9 in all episodes" in explorer.summary()
    coin = ConservativeExplorer(r, one, 0.45, method="epsmix", counts=np.array([[[[1], [0]]]]))
    assert "the baseline with probability 0.900, else" in coin.summary()
    seen = np.array([[[[1], [1]]]])
    sure = ConservativeExplorer(r, one, 0.45, counts=seen)
    assert "the optimistic policy alone" in sure.summary()
    assert sure.certificate["proven"] == 0.9
    assert ConservativeExplorer(r, one, 0.0).certificate["kind"] == "optimistic"
    free = ConservativeExplorer(r, one, 0.45, method="bpi-ucbvi")
    assert "nothing holds" in free.summary()
    assert "assumed" in ConservativeExplorer(r, one, 0.45, method="baseline").summary()


def test_random_starts_and_estimates() -> None:
    mdp = random_mdp(6)
    spread = TabularMDP(mdp.P, mdp.r, np.array([0.1, 0.2, 0.3, 0.4]))
    base = soft_baseline(spread)
    gamma = 0.9 * spread.value(base)
    explorer = quiet(spread.r, base, gamma, bonus_scale=0.02, s1=spread.start)
    assert simulate(spread, explorer, 5000, seed=0).violations == 0
    assert explorer.N[0].sum((1, 2)) / 5000 == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)
    early = estimate_episodes(spread, base, 0.8 * spread.value(base), bonus_scale=0.02)
    late = estimate_episodes(spread, base, 0.95 * spread.value(base), bonus_scale=0.02)
    assert early is not None
    assert late is not None
    assert early < late
    assert estimate_episodes(spread, base, gamma, limit=10) is None
    with pytest.raises(InputError, match="starts elsewhere"):
        simulate(spread, quiet(spread.r, base, gamma), 10)


def test_offline_baseline_is_below_its_value_and_improves() -> None:
    mdp = random_mdp(7)
    rng = np.random.default_rng(0)
    uniform = np.full(mdp.r.shape, 1 / mdp.r.shape[2])
    lowers = []
    for n in (100, 10_000, 200_000):
        logs = mdp.rollout(uniform, n, rng)
        found = offline_baseline(logs, mdp.r, 0.1)
        assert found.lower <= mdp.value(found.policy) + 1e-12
        lowers.append(found.lower)
        assert offline_baseline(logs, mdp.r, 0.1, split=True).lower <= found.lower + 0.2
    assert lowers == sorted(lowers)
    assert mdp.value(found.policy) > 0.9 * mdp.optimal().V[0, 0]
    with pytest.raises(InputError, match="below gamma = 2.9, after 200000 trajectories"):
        offline_baseline(logs, mdp.r, 0.1, gamma=2.9)
    warm = quiet(mdp.r, found.policy, 0.3, counts=np.zeros_like(mdp.P, int),
                 baseline_from_counts=True)  # fmt: skip
    assert not warm.is_baseline_fixed


GOOD = random_mdp(8)
BASE = soft_baseline(GOOD)


def spoilt(change: Callable[[np.ndarray], None], array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    change(copy)
    return copy


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: TabularMDP(spoilt(lambda p: p[1, 2, 0].__imul__(1.1), GOOD.P), GOOD.r),
            r"P\[h=1, s=2, a=0\] has the sum 1.1",
        ),
        (
            lambda: TabularMDP(
                spoilt(lambda p: p[0, 1, 2].__setitem__(slice(2), [-0.5, 1.5]), GOOD.P), GOOD.r
            ),
            r"P\[h=0, s=1, a=2\]",
        ),
        (lambda: TabularMDP(GOOD.P[0], GOOD.r), "expected .H, S, A, S."),
        (lambda: TabularMDP(GOOD.P, GOOD.r * 3), "rescale"),
        (lambda: TabularMDP(GOOD.P, GOOD.r, 9), "expected a state from 0 to 3"),
        (lambda: TabularMDP(GOOD.P, GOOD.r, [0.5, 0.1, 0.1, 0.1]), "distribution over 4"),
        (lambda: ConservativeExplorer(GOOD.r, BASE * 0.9, 0.5), r"baseline\[h=0, s=0\]"),
        (lambda: ConservativeExplorer(GOOD.r, BASE, 3.5), "no return exceeds H = 3"),
        (
            lambda: simulate(GOOD, ConservativeExplorer(GOOD.r, BASE, 2.9), 10),
            "violates the constraint by",
        ),
        (
            lambda: ConservativeExplorer(GOOD.r, BASE, 0.5, counts=np.zeros_like(GOOD.P)),
            "whole numbers",
        ),
        (lambda: optimistic_plan(np.full(GOOD.P.shape, -1), GOOD.r, 0.1), "can't be negative"),
        (lambda: optimistic_plan(np.zeros((1, 2, 2, 2), int), GOOD.r, 0.1), "beside r"),
        (
            lambda: ConservativeExplorer(GOOD.r, BASE, 0.5).observe([0, 0], [0, 0, 0]),
            r"expected \(4,\)",
        ),
        (
            lambda: ConservativeExplorer(GOOD.r, BASE, 0.5).observe([0, 0, 9, 0], [0, 0, 0]),
            "from 0 to 3",
        ),
        (
            lambda: ConservativeExplorer(GOOD.r, BASE, 0.5).observe([0, 0, 1, 0], [0, 0, 7]),
            "from 0 to 2",
        ),
        (lambda: mixture_policy(BASE, np.full((3, 4), 7), 1, 0.5), "outside 0 to 2"),
        (lambda: mixture_policy(BASE, BASE, 4, 0.5), "expected 0 to H"),
        (lambda: step_mixture([0.5], 0.1), "H \\+ 1 bounds"),
        (
            lambda: offline_baseline((np.empty((0, 4), int), np.empty((0, 3), int)), GOOD.r),
            "no trajectories",
        ),
    ],
)
def test_bad_input_is_named(run: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: ConservativeExplorer(GOOD.r, BASE, 0.5, delta=1.0), "delta is 1"),
        (lambda: ConservativeExplorer(GOOD.r, BASE, 0.5, method="stepmx"), "did you mean"),
        (lambda: ConservativeExplorer(GOOD.r, BASE, 0.5, bonus_scale=0.0), "bonus_scale is 0"),
        (lambda: ConservativeExplorer(GOOD.r, BASE, 0.5, replan=0), "replan is 0"),
        (lambda: simulate(GOOD, ConservativeExplorer(GOOD.r, BASE, 0.5), 0), "episodes is 0"),
        (lambda: evaluate_policy(GOOD.P.astype(int), GOOD.r, BASE, 2.0, True), "delta is 2"),
    ],
)
def test_bad_settings_say_the_mend(run: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run()


def test_warnings_of_what_is_not_proven() -> None:
    with pytest.warns(UserWarning, match="no longer proven"):
        ConservativeExplorer(GOOD.r, BASE, 0.5, bonus_scale=0.5)
    with pytest.warns(UserWarning, match="nothing but the baseline"):
        simulate(GOOD, ConservativeExplorer(GOOD.r, BASE, GOOD.value(BASE)), 10)
    with pytest.raises(BrokenNumbersError):
        step_mixture([np.nan, 1.0], 0.5)
    with pytest.raises(BrokenNumbersError):
        eps_mixture(np.nan, 1.0, 0.5)
