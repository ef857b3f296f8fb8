"""Clip-Cov and KL-Cov: reference values, gradients, whole batches, states and bad input."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.covariance import masked_quantile_of, token_covariance
from entropilot.policy.covariance_clip import clip_cov, clip_cov_loss, clip_cov_mask
from entropilot.policy.covariance_penalty import kl_cov, kl_cov_loss, kl_cov_select
from entropilot.policy.objective import Objective, Prepared
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics, statistics_from_logits
from entropilot.policy.surrogates import clipped_ratio_loss
from entropilot.policy.term import Applied, Term

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
V = 11
# The references add 1e-8 to denominators of means, the newer verl to none of the loss.
TIGHT = {"rel": 1e-8, "abs": 1e-9}


@pytest.fixture
def case(golden: Callable[[str], Any]) -> Any:
    return golden("cov-clip")


@pytest.fixture
def inputs(case: Any) -> Inputs:
    logprob, old, advantages = (
        torch.tensor(case["inputs"][name], dtype=torch.float64)
        for name in ("logp", "old_logp", "advantages")
    )
    return logprob, old, advantages, torch.tensor(case["inputs"]["mask"]).bool()


def poisoned(inputs: Inputs) -> Inputs:
    """The same batch with nan wherever no token counts, and gradient in the log-probs."""
    *values, mask = inputs
    logprob, old, advantages = (torch.where(mask, v, torch.nan) for v in values)
    return logprob.requires_grad_(), old, advantages, mask


def check(loss: Tensor, inputs: Inputs, expected: Any) -> None:
    logprob, *_, mask = inputs
    total = Aggregation()(loss, mask)
    (gradient,) = torch.autograd.grad(total, logprob)
    assert total.item() == pytest.approx(expected["loss"], **TIGHT)
    wanted = torch.tensor(expected["grad_logp"], dtype=torch.float64)
    torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", ["", "_eps0.2"])
@pytest.mark.parametrize("source", ["prime", "verl"])
def test_clip_cov_that_drops_every_candidate(
    case: Any, inputs: Inputs, kind: str, source: str
) -> None:
    expected = case["cases"][f"clip_cov_deterministic{kind}_{source}"]
    batch = poisoned(inputs)
    loss, metrics = clip_cov_loss(
        *batch,
        ratio=expected["clip_cov_ratio"],
        lb=expected["lb"],
        ub=expected["ub"],
        eps_low=expected["clip_low"],
        eps_high=expected["clip_high"],
    )
    check(loss, batch, expected)
    names = ("clipfrac", "ppo_kl") if source == "prime" else ("actor/pg_clipfrac", "actor/ppo_kl")
    fraction, kl = (expected["metrics"][name] for name in names)
    assert metrics["clip_fraction"] == pytest.approx(fraction, **TIGHT)
    assert metrics["approx_kl"] == pytest.approx(kl, **TIGHT)
    assert metrics["n_dropped"] == metrics["n_candidates"]


def test_clip_cov_draws_the_tokens_that_the_reference_draws(case: Any, inputs: Inputs) -> None:
    expected = case["cases"]["clip_cov_random_verl"]
    settings: dict[str, Any] = {
        "ratio": expected["clip_cov_ratio"],
        "lb": expected["lb"],
        "ub": expected["ub"],
    }
    batch = poisoned(inputs)
    generator = torch.Generator().manual_seed(expected["seed"])
    loss, metrics = clip_cov_loss(*batch, **settings, generator=generator)
    check(loss, batch, expected)
    assert metrics["n_candidates"] == len(expected["candidates_row_col"])
    assert metrics["n_dropped"] == expected["quota"]
    assert metrics["clip_fraction"] == pytest.approx(
        expected["metrics"]["actor/pg_clipfrac"], **TIGHT
    )
    mask = inputs[-1]
    generator.manual_seed(expected["seed"])
    keep = clip_cov_mask(*inputs, **settings, generator=generator)
    dropped = (mask & ~keep).nonzero().tolist()
    assert sorted(dropped) == sorted(expected["dropped_row_col"])
    assert not keep[~mask].any()


@pytest.mark.parametrize("ratio", [(0.002, "0.2"), (0.05, "5")])
@pytest.mark.parametrize("coef", [1.0, 0.1])
@pytest.mark.parametrize("source", ["prime_kpercent", "verl_ratio"])
def test_kl_cov(
    case: Any, inputs: Inputs, ratio: tuple[float, str], coef: float, source: str
) -> None:
    number = ratio[1] if source.startswith("prime") else str(ratio[0])
    expected = case["cases"].get(f"kl_cov_{source}{number}_coef{coef}")
    if expected is None:
        assert ratio[0] == 0.002
        assert coef == 0.1  # the only combination that was not recorded
        return
    batch = poisoned(inputs)
    loss, metrics = kl_cov_loss(*batch, ratio=ratio[0], coef=coef)
    check(loss, batch, expected)
    (abs_kl,) = expected["metrics"].values()
    assert metrics["abs_kl"] == pytest.approx(abs_kl, **TIGHT)
    assert metrics["n_selected"] == max(int(ratio[0] * case["n_valid"]), 1)
    assert metrics["inactive"] == 0.0


def batch(seed: int = 0, n: int = 8, t: int = 12, shift: float = 0.3) -> tuple[Rollouts, Tensor]:
    """Rollouts of two groups, and logits of the policy after an update or more."""
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, t, V, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, V, (n, t), generator=g)
    mask = torch.arange(t) < torch.randint(4, t + 1, (n, 1), generator=g)
    old = statistics_from_logits(logits, tokens).logprob
    reward = (torch.arange(n) % 3 == 0).double()
    moved = logits + shift * torch.randn(n, t, V, generator=g, dtype=torch.float64)
    return Rollouts(tokens, mask, old, reward, torch.arange(n) // (n // 2)), moved


def evaluate(
    term: Term, prepared: Prepared, now: PolicyStatistics, state: Any = None, seed: int = 0
) -> tuple[Any, Tensor]:
    """Output of an objective with this surrogate, and dLoss/dlogprob."""
    leaves = now.leaves()
    objective = Objective(surrogate=term)
    generator = torch.Generator().manual_seed(seed)
    output = objective.loss(prepared, leaves, state, generator=generator)
    output.loss.backward()
    assert leaves.logprob.grad is not None
    return output, leaves.logprob.grad


TERMS = (
    clip_cov(0.1, lb=0.2, eps_low=0.2, eps_high=0.2),
    clip_cov(0.1, lb="quantile:0.7", ub=float("inf")),
    kl_cov(0.2),
    kl_cov(0.2, penalty="k2"),
    kl_cov(0.2, penalty="k3"),
)
IDS = [f"{t.name}-{i}" for i, t in enumerate(TERMS)]


@pytest.mark.parametrize("term", TERMS, ids=IDS)
def test_gradient_is_that_of_finite_differences(term: Term) -> None:
    rollouts, logits = batch()
    prepared = Objective().prepare(rollouts)
    now = statistics_from_logits(logits, rollouts.tokens)
    output, gradient = evaluate(term, prepared, now)
    chosen = output.metrics.get("clip-cov/n_dropped", output.metrics.get("kl-cov/n_selected"))
    assert chosen > 0
    for row, token in rollouts.mask.nonzero()[::4].tolist():
        step = torch.zeros_like(now.logprob)
        step[row, token] = 1e-6
        up, down = (
            evaluate(term, prepared, PolicyStatistics(now.logprob + s))[0].loss
            for s in (step, -step)
        )
        torch.testing.assert_close((up - down) / 2e-6, gradient[row, token], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("term", TERMS, ids=IDS)
@pytest.mark.parametrize("n_shards", [1, 2, 4])
def test_statistics_measured_in_shards_select_the_same_tokens(term: Term, n_shards: int) -> None:
    rollouts, logits = batch(1)
    prepared = Objective().prepare(rollouts)
    parts = [
        statistics_from_logits(z, y)
        for z, y in zip(logits.chunk(n_shards), rollouts.tokens.chunk(n_shards), strict=True)
    ]
    joined = PolicyStatistics(torch.cat([part.logprob for part in parts]))
    whole = statistics_from_logits(logits, rollouts.tokens)
    expected, expected_gradient = evaluate(term, prepared, PolicyStatistics(whole.logprob))
    found, gradient = evaluate(term, prepared, joined)
    assert torch.equal(found.per_token_loss, expected.per_token_loss)
    assert torch.equal(gradient, expected_gradient)


def test_choosing_in_each_shard_apart_gives_another_set() -> None:
    rollouts, logits = batch(1)
    advantages = Objective().prepare(rollouts).advantages
    logprob = statistics_from_logits(logits, rollouts.tokens).logprob
    whole = kl_cov_select(logprob, advantages, rollouts.mask, ratio=0.1)
    apart = [
        kl_cov_select(*part, ratio=0.1)
        for part in zip(logprob.chunk(4), advantages.chunk(4), rollouts.mask.chunk(4), strict=True)
    ]
    assert not torch.equal(torch.cat(apart), whole)


@pytest.mark.parametrize("term", TERMS, ids=IDS)
def test_padding_and_order_of_answers_change_nothing(term: Term) -> None:
    rollouts, logits = batch(2)
    # With every candidate dropped no draw depends on the order.
    whole = clip_cov(1.0, lb=0.2) if term.name == "clip-cov" else term
    prepared = Objective().prepare(rollouts)
    now = statistics_from_logits(logits, rollouts.tokens)
    loss, gradient = evaluate(whole, prepared, now)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(5))
    moved, moved_gradient = evaluate(whole, prepared.select(order), now.select(order))
    torch.testing.assert_close(moved.loss, loss.loss)
    torch.testing.assert_close(moved_gradient, gradient[order])

    def padded(value: Tensor, fill: float) -> Tensor:
        return torch.cat([value, torch.full_like(value[:, :3], fill)], 1)

    wide = Rollouts(
        padded(rollouts.tokens, 0),
        padded(rollouts.mask, False),
        padded(rollouts.old_logprob, torch.nan),
        rollouts.reward,
        rollouts.group,
    )
    first, first_gradient = evaluate(term, prepared, now)
    found, found_gradient = evaluate(
        term, Objective().prepare(wide), PolicyStatistics(padded(now.logprob, torch.nan))
    )
    torch.testing.assert_close(found.loss, first.loss)
    torch.testing.assert_close(found_gradient[:, :12], first_gradient)
    assert not found_gradient[:, 12:].any()


@pytest.mark.parametrize("term", TERMS, ids=IDS)
def test_batch_with_every_token_dropped_is_zero(term: Term) -> None:
    rollouts, logits = batch()
    nothing = Term("none", lambda view, state: Applied(torch.zeros_like(view.mask), state))
    objective = Objective(masks=(nothing,), surrogate=term)
    now = statistics_from_logits(logits, rollouts.tokens).leaves()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = objective.loss(objective.prepare(rollouts), now)
    output.loss.backward()
    assert output.loss.item() == 0.0
    assert now.logprob.grad is not None
    assert not now.logprob.grad.any()


def test_selection_looks_at_the_shrunk_mask() -> None:
    rollouts, logits = batch(3)
    prepared = Objective().prepare(rollouts)
    logprob = statistics_from_logits(logits, rollouts.tokens).logprob
    best = kl_cov_select(logprob, prepared.advantages, rollouts.mask, ratio=1e-6)
    drop = Term("drop", lambda view, state: Applied(~best, state))
    objective = Objective(masks=(drop,), surrogate=kl_cov(1e-6, coef=100.0))
    leaves = PolicyStatistics(logprob).leaves()
    output = objective.loss(prepared, leaves)
    kept = rollouts.mask & ~best
    expected, _ = kl_cov_loss(
        logprob, rollouts.old_logprob, prepared.advantages, kept, ratio=1e-6, coef=100.0
    )
    torch.testing.assert_close(output.per_token_loss, expected)


def test_strictly_on_policy_kl_cov_is_the_plain_loss_and_says_so_once() -> None:
    rollouts, logits = batch(shift=0.0)
    prepared = Objective().prepare(rollouts)
    now = PolicyStatistics(statistics_from_logits(logits, rollouts.tokens).logprob)
    plain = Objective()
    leaves = now.leaves()
    expected = plain.loss(prepared, leaves).loss
    expected.backward()
    term = kl_cov(0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a first idle update is as it should be
        output, gradient = evaluate(term, prepared, now)
    with pytest.warns(UserWarning, match="no effect on the first update") as seen:
        again, _ = evaluate(term, prepared, now, json.loads(json.dumps(output.state)))
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once a run
        evaluate(term, prepared, now, json.loads(json.dumps(again.state)))
    torch.testing.assert_close(output.loss, expected.detach())
    torch.testing.assert_close(gradient, leaves.logprob.grad)
    assert output.metrics["kl-cov/inactive"] == again.metrics["kl-cov/inactive"] == 1.0
    dropped, clip_gradient = evaluate(clip_cov(0.1, lb=0.2), prepared, now)
    assert dropped.metrics["clip-cov/n_dropped"] > 0
    assert not torch.allclose(clip_gradient, gradient)  # Clip-Cov acts here


def test_rounding_of_log_probs_is_no_change_of_policy() -> None:
    rollouts, logits = batch(shift=0.0)
    prepared = Objective().prepare(rollouts)
    exact = statistics_from_logits(logits, rollouts.tokens).logprob
    noise = 1e-6 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0))
    output, gradient = evaluate(kl_cov(0.5), prepared, PolicyStatistics(exact + noise))
    _, plain = evaluate(kl_cov(0.5), prepared, PolicyStatistics(exact))
    assert output.metrics["kl-cov/inactive"] == 1.0
    torch.testing.assert_close(gradient, plain, rtol=1e-5, atol=1e-7)


def test_kl_cov_that_acts_does_not_warn_and_pulls_towards_the_old_policy() -> None:
    rollouts, logits = batch()
    prepared = Objective().prepare(rollouts)
    now = PolicyStatistics(statistics_from_logits(logits, rollouts.tokens).logprob)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output, gradient = evaluate(kl_cov(0.2, coef=3.0), prepared, now)
    _, without = evaluate(kl_cov(0.2, coef=0.0), prepared, now)
    mask = rollouts.mask
    selected = kl_cov_select(now.logprob, prepared.advantages, mask, ratio=0.2)
    pull = (gradient - without) * mask.sum() / 3.0
    gap = now.logprob - rollouts.old_logprob
    torch.testing.assert_close(pull, torch.where(selected, gap.sign(), 0))
    share = output.metrics["kl-cov/selected_fraction"]
    assert share == pytest.approx(selected.sum().item() / mask.sum().item())


def test_equal_advantages_leave_plain_ppo() -> None:
    rollouts, logits = batch()
    logprob = statistics_from_logits(logits, rollouts.tokens).logprob
    advantages, mask = torch.full((8, 1), 0.7, dtype=torch.float64), rollouts.mask
    for lb in (1.0, "quantile:0.5"):
        loss, metrics = clip_cov_loss(
            logprob, rollouts.old_logprob, advantages, mask, lb=lb, eps_low=0.2, eps_high=0.2
        )
        plain, _ = clipped_ratio_loss(logprob, rollouts.old_logprob, advantages, mask)
        assert metrics["n_candidates"] == 0
        assert torch.equal(loss, plain)


def test_narrow_log_probs_go_with_wide_advantages() -> None:
    rollouts, logits = batch()
    now = statistics_from_logits(logits, rollouts.tokens).logprob
    advantages = Objective().prepare(rollouts).advantages
    for dtype in (torch.float32, torch.bfloat16):
        logprob, old = now.to(dtype).requires_grad_(), rollouts.old_logprob.to(dtype)
        loss, _ = kl_cov_loss(logprob, old, advantages, rollouts.mask, ratio=0.2)
        loss.sum().backward()
        assert logprob.grad is not None
        assert torch.isfinite(logprob.grad).all()
        assert clip_cov_loss(logprob, old, advantages, rollouts.mask)[0].isfinite().all()


def test_bound_may_be_a_quantile_of_the_batch() -> None:
    rollouts, logits = batch(4)
    advantages = Objective().prepare(rollouts).advantages
    logprob = statistics_from_logits(logits, rollouts.tokens).logprob
    arguments = (logprob, rollouts.old_logprob, advantages, rollouts.mask)
    covariance = token_covariance(logprob, advantages, rollouts.mask)
    q = masked_quantile_of(covariance, rollouts.mask, 0.9)
    by_name, metrics = clip_cov_loss(*arguments, ratio=1.0, lb="quantile:0.9")
    by_number, _ = clip_cov_loss(*arguments, ratio=1.0, lb=q)
    assert metrics["lb"] == q
    assert metrics["n_candidates"] > 0
    assert torch.equal(by_name, by_number)


def test_names_of_verl_are_taken() -> None:
    term = clip_cov(clip_cov_ratio=0.02, clip_cov_lb=0.5, clip_cov_ub=4.0)
    assert (term.settings["ratio"], term.settings["lb"], term.settings["ub"]) == (0.02, 0.5, 4.0)
    term = kl_cov(kl_cov_ratio=0.2, ppo_kl_coef=0.5)
    assert (term.settings["ratio"], term.settings["coef"]) == (0.2, 0.5)
    with pytest.raises(ConfigurationError, match="they are one setting"):
        kl_cov(0.1, kl_cov_ratio=0.2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: clip_cov(0.0), "ratio is 0.0"),
        (lambda: clip_cov(1.5), "ratio is 1.5"),
        (lambda: clip_cov(lb=5.0), "lb must be below ub"),
        (lambda: clip_cov(lb="quantile:1.5"), "quantile:q"),
        (lambda: clip_cov(lb="top"), "quantile:q"),
        (lambda: clip_cov(eps_low=1.5), "eps_low is in"),
        (lambda: kl_cov(-0.1), "ratio is -0.1"),
        (lambda: kl_cov(coef=-1.0), "coef is -1.0"),
        (lambda: kl_cov(penalty="k5"), "unknown penalty 'k5'"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Term], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_clip_cov_and_kl_cov_can_not_be_combined() -> None:
    with pytest.raises(ConfigurationError, match="exactly one surrogate"):
        Objective(surrogate=(clip_cov(), kl_cov()))  # type: ignore[arg-type]
