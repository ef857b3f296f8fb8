"""One battery for every term of an objective: a new method is one line in ``CASES``.

Each term is put into its slot of an otherwise plain objective and must hold what all terms promise:
a neutral setting changes nothing, neither the order of answers nor padding matters, nothing to
choose from gives finite numbers, gradients are finite where policies are extreme, its state goes
through JSON, and a batch that goes through the network in parts gives what the whole gives.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

import entropilot.policy
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.advantages import group_normalised, leave_one_out, whitened
from entropilot.policy.covariance_clip import clip_cov
from entropilot.policy.covariance_penalty import kl_cov
from entropilot.policy.discriminator import clip_b, clip_v
from entropilot.policy.entropy_bonus import (
    adaptive_entropy_bonus,
    cosine_decay,
    entropy_bonus,
)
from entropilot.policy.entropy_change_weights import entropy_change_weights
from entropilot.policy.forking_tokens import forking_tokens
from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective, Prepared
from entropilot.policy.phase_entropy_reward import phase_entropy_reward
from entropilot.policy.reference_kl import reference_penalty
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.selective_entropy import selective_entropy_control
from entropilot.policy.soft_bellman_terms import (
    soft_bellman_advantage,
    soft_bellman_surrogate,
    soft_bellman_value_loss,
)
from entropilot.policy.statistics import DIFFERENTIABLE, PolicyStatistics
from entropilot.policy.step_potential_advantage import step_potential_advantage
from entropilot.policy.surrogates import (
    clipped_ratio,
    logprob_surrogate,
    sequence_ratio,
    stop_gradient_clip,
)
from entropilot.policy.term import Applied, Term, View
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.updating import update

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings have tests beside each method

Slot = Literal["rewards", "advantages", "after", "masks", "weights", "surrogate", "regularisers"]
V, K = 9, 3


@dataclass(frozen=True)
class Case:
    """A term at settings where it acts.

    Args:
        term: made anew for each test.
        slot: of the objective; "after" is an advantage term after the group advantage.
        neutral: the same method at a setting where it does nothing; None where it has none.
        plain: what the neutral objective equals.
    """

    term: Callable[[], Term]
    slot: Slot
    neutral: Callable[[], Term] | None = None
    plain: Callable[[], Objective] = Objective


def plain(*advantages: Term, **fields: Any) -> Callable[[], Objective]:
    return lambda: Objective(**({"advantages": advantages} if advantages else {}), **fields)


CASES = {
    "pear": Case(
        lambda: phase_entropy_reward(0.5), "rewards", lambda: phase_entropy_reward(1e9, floor=0.0)
    ),
    "group": Case(lambda: group_normalised("none"), "advantages"),
    "rloo": Case(leave_one_out, "advantages"),
    "whitened": Case(whitened, "after"),
    "spae": Case(
        step_potential_advantage,
        "advantages",
        lambda: step_potential_advantage(0.0, 0.0, drop_constant_groups=False),
        plain(group_normalised("none"), whitened()),
    ),
    "soft-bellman-advantage": Case(
        soft_bellman_advantage,
        "advantages",
        lambda: soft_bellman_advantage(1e-12),
        plain(group_normalised("none")),
    ),
    "clip-b": Case(lambda: clip_b(0.3, 0.3), "masks", lambda: clip_b(1e6, 1e6)),
    "clip-v": Case(lambda: clip_v(0.5, 0.5, 1.0), "masks", lambda: clip_v(1e6, 1e6)),
    "steer": Case(
        lambda: entropy_change_weights(0.5), "weights", lambda: entropy_change_weights(1.0)
    ),
    "steer-linear": Case(
        lambda: entropy_change_weights(0.8, 1.2, "linear", scale_quantile=0.9),
        "weights",
        lambda: entropy_change_weights(1.0, 1.0, "linear"),
    ),
    "steer-exact": Case(
        lambda: entropy_change_weights(0.5, mapping="clip", estimator="exact"),
        "weights",
        lambda: entropy_change_weights(1.0, mapping="clip", estimator="exact"),
    ),
    "forking": Case(lambda: forking_tokens(0.3), "weights", lambda: forking_tokens(1.0)),
    "clipped-ratio": Case(
        lambda: clipped_ratio(0.1, 0.1, 3.0), "surrogate", lambda: clipped_ratio(0.2, 0.2, 1e9)
    ),
    "sequence-ratio": Case(sequence_ratio, "surrogate"),
    "sequence-ratio-mean": Case(lambda: sequence_ratio(gradient="mean"), "surrogate"),
    "stop-gradient-clip": Case(stop_gradient_clip, "surrogate"),
    "logprob": Case(logprob_surrogate, "surrogate"),
    "clip-cov": Case(
        lambda: clip_cov(1.0, 0.0, 100.0),
        "surrogate",
        lambda: clip_cov(1.0, 1e8, 1e9),
        plain(surrogate=clipped_ratio(1.0, 1.0)),
    ),
    "kl-cov": Case(
        lambda: kl_cov(0.3, 1.0),
        "surrogate",
        lambda: kl_cov(0.3, 0.0),
        plain(surrogate=clipped_ratio(1.0, 1e9)),
    ),
    "soft-bellman": Case(soft_bellman_surrogate, "surrogate"),
    "reference-kl": Case(
        lambda: reference_penalty(0.1), "regularisers", lambda: reference_penalty(0.0)
    ),
    "soft-bellman-value": Case(
        soft_bellman_value_loss, "regularisers", lambda: soft_bellman_value_loss(0.0)
    ),
    "siren": Case(
        lambda: selective_entropy_control(coef=1.0, adaptive_rate=0.1),
        "regularisers",
        lambda: selective_entropy_control(coef=0.0),
    ),
    "entropy-bonus": Case(
        lambda: entropy_bonus(0.1, cosine_decay(3, 0.5)),
        "regularisers",
        lambda: entropy_bonus(0.0),
    ),
    "adaptive-bonus": Case(
        lambda: adaptive_entropy_bonus(1.5, 0.1),
        "regularisers",
        lambda: adaptive_entropy_bonus(1.5, 0.0, high=0.0),
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def objective(slot: Slot, term: Term) -> Objective:
    if slot == "surrogate":
        return Objective(surrogate=term)
    if slot == "after":
        return Objective(advantages=(group_normalised("none"), term))
    return Objective(**{slot: (term,)})  # type: ignore[arg-type]


def batch(seed: int = 0, n: int = 8, t: int = 7) -> tuple[Rollouts, PolicyStatistics]:
    """Rollouts of two groups with all that a term may read; nan wherever no token counts."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    mask = torch.arange(t) < torch.randint(3, t + 1, (n, 1), generator=g)
    logits = 1.5 * normal(n, t, V)
    log_p = torch.log_softmax(logits, -1)
    p = log_p.exp()
    tokens = torch.randint(0, V, (n, t), generator=g)
    logprob = log_p.gather(-1, tokens[..., None])[..., 0]
    entropy = -(p * log_p).sum(-1)

    def known(values: Tensor) -> Tensor:
        return torch.where(mask, values, torch.nan)

    step_id = torch.where(mask, torch.arange(t) * K // t, -1)
    valid = torch.arange(K) <= step_id.max(1, keepdim=True).values
    potential = torch.where(valid, torch.tanh(normal(n, K)), torch.nan)
    correct = torch.arange(n) % 3 == 0
    rollouts = Rollouts(
        tokens=tokens,
        mask=mask,
        old_logprob=known((logprob + 0.2 * normal(n, t)).clamp(max=-1e-3)),
        reward=correct.double(),
        group=torch.arange(n) // (n // 2),
        entropy=known(entropy),
        reference_logprob=known((logprob + 0.3 * normal(n, t)).clamp(max=-1e-3)),
        correct=correct,
        step_id=step_id,
        step_potential=potential,
        step_valid=valid,
        think=mask & (torch.arange(t) < 2),
        answer=mask & (torch.arange(t) >= 2),
        truncated=mask.all(1),
    )
    now = PolicyStatistics(
        logprob=logprob,
        entropy=entropy,
        varentropy=(p * (log_p + entropy[..., None]) ** 2).sum(-1),
        nucleus_entropy=0.8 * entropy,
        sum_p2=(p * p).sum(-1),
        sum_p2_logp=(p * p * log_p).sum(-1),
        kl_to_reference=normal(n, t) ** 2,
        value=0.5 * normal(n, t),
    )
    return rollouts, now.map(known)


def moved(now: PolicyStatistics, seed: int) -> PolicyStatistics:
    """The statistics a little later in training."""
    g = torch.Generator().manual_seed(seed)
    shift = 0.2 * torch.rand(now.logprob.shape, generator=g, dtype=torch.float64)
    return now.map(lambda value: value - shift * value.abs())


Outcome = tuple[Tensor, dict[str, Tensor]]


def outcome(
    chosen: Objective, rollouts: Rollouts, now: PolicyStatistics, state: Any = None
) -> Outcome:
    """Loss and dLoss/dstatistic of one update."""
    found, _ = outcome_and_state(chosen, rollouts, now, state)
    return found


def outcome_and_state(
    chosen: Objective, rollouts: Rollouts, now: PolicyStatistics, state: Any = None
) -> tuple[Outcome, Any]:
    leaves = now.leaves()
    generator = torch.Generator().manual_seed(0)
    prepared = chosen.prepare(rollouts, state, generator=generator)
    output = chosen.loss(prepared, leaves, generator=generator)
    output.loss.backward()  # type: ignore[no-untyped-call]
    slopes = {}
    for name in DIFFERENTIABLE:
        leaf = getattr(leaves, name)
        slopes[name] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return (output.loss.detach(), slopes), output.state


def same(found: Outcome, expected: Outcome, change: Callable[[Tensor], Tensor]) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-9, atol=1e-12)
    for name, slope in expected[1].items():
        torch.testing.assert_close(found[1][name], change(slope), rtol=1e-9, atol=1e-12)


def fields_of(value: Any) -> Iterator[tuple[str, Tensor]]:
    for field in dataclasses.fields(value):
        found = getattr(value, field.name)
        if found is not None:
            yield field.name, found


def constructors() -> dict[str, Callable[..., Term]]:
    """Public functions of the policy floor that give a term."""
    found: dict[str, Callable[..., Term]] = {}
    package = entropilot.policy
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if ".hosts" in module.name:
            continue  # they need the trainers that they plug into
        for name, member in vars(importlib.import_module(module.name)).items():
            is_own = getattr(member, "__module__", None) == module.name
            if not (inspect.isfunction(member) and is_own) or name.startswith("_"):
                continue
            if member.__annotations__.get("return") in ("Term", Term):
                found[name] = member
    return found


def test_every_constructor_is_in_the_table() -> None:
    tried = {case.term().name for case in CASES.values()}
    built = constructors()
    assert len(built) >= 20
    for name, make in built.items():
        required = [
            p.name
            for p in inspect.signature(make).parameters.values()
            if p.default is p.empty and p.kind is not p.VAR_KEYWORD
        ]
        term = make(**dict.fromkeys(required, 0.1))
        assert term.name in tried, f"{name} is in no case: add a line to CASES"


@pytest.mark.parametrize("name", sorted(constructors()))
def test_docstring_says_when_it_does_nothing(name: str) -> None:
    text = inspect.getdoc(constructors()[name]) or ""
    assert "When this does nothing:" in text


@every_case
def test_term_acts(case: Case) -> None:
    """At its settings in the table it differs from the plain objective in one of three updates."""
    rollouts, now = batch()
    state: Any = None
    differs = False
    for number in range(3):
        at = moved(now, number)
        found, state = outcome_and_state(objective(case.slot, case.term()), rollouts, at, state)
        expected = outcome(Objective(), rollouts, at)
        differs |= any(not torch.equal(found[1][n], expected[1][n]) for n in expected[1])
    assert differs


@every_case
def test_neutral_setting_changes_nothing(case: Case) -> None:
    if case.neutral is None:
        pytest.skip("this method has no neutral setting")
    rollouts, now = batch()
    found = outcome(objective(case.slot, case.neutral()), rollouts, now)
    same(found, outcome(case.plain(), rollouts, now), lambda slope: slope)


@every_case
def test_order_of_answers_changes_nothing(case: Case) -> None:
    rollouts, now = batch()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    chosen = objective(case.slot, case.term())
    expected = outcome(chosen, rollouts, now)
    found = outcome(chosen, rollouts.select(order), now.select(order))
    same(found, expected, lambda slope: slope[order])


@every_case
@pytest.mark.parametrize("seed", range(3))
def test_padding_changes_nothing(case: Case, seed: int) -> None:
    """Much of it, so that a mean or a deviation that counts it moves a threshold past a token."""
    rollouts, now = batch(seed)
    chosen = objective(case.slot, case.term())
    expected = outcome(chosen, rollouts, now)
    for slope in expected[1].values():
        assert not slope[~rollouts.mask].any()

    def padded(value: Tensor) -> Tensor:
        fill: Any = torch.nan if value.is_floating_point() else -1
        fill = False if value.dtype == torch.bool else fill
        return torch.cat([value, value.new_full((len(value), 50), fill)], 1)

    wide = {name: padded(v) if v.ndim == 2 else v for name, v in fields_of(rollouts)}
    found = outcome(chosen, Rollouts(**wide), now.map(padded))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-9, atol=1e-12)
    for name, slope in expected[1].items():
        torch.testing.assert_close(found[1][name][:, :-50], slope, rtol=1e-9, atol=1e-12)
        assert not found[1][name][:, -50:].any()


@every_case
def test_nothing_to_choose_from_gives_finite_numbers(case: Case) -> None:
    rollouts, now = batch()
    drop_all = Term("drop-all", lambda view, state: Applied(torch.zeros_like(view.mask), state))
    chosen = objective(case.slot, case.term())
    emptied = dataclasses.replace(chosen, masks=(drop_all, *chosen.masks))
    loss, slopes = outcome(emptied, rollouts, now)
    assert bool(torch.isfinite(loss))
    assert all(bool(torch.isfinite(slope).all()) for slope in slopes.values())
    if case.slot == "regularisers":  # these see the mask of the rollouts: hand them an empty one
        leaves = now.map(lambda value: torch.where(rollouts.mask, value, 0)).leaves()
        nothing = torch.zeros_like(rollouts.mask)
        zeros = torch.zeros_like(now.logprob)
        term = case.term()
        if term.name in ("reference-kl", "soft-bellman-value"):
            return  # their aggregation refuses a batch without tokens, by name
        view = View(rollouts, leaves, rollouts.scores, zeros, nothing)
        assert float(term.apply(view, term.init(view)).value.detach()) == 0.0


@every_case
def test_two_answers_of_one_token_are_finite(case: Case) -> None:
    rollouts, now = batch()
    two = torch.tensor([0, 1])
    steps = ("step_potential", "step_valid")
    fields = {
        name: value[:, :1] if value.ndim == 2 and name not in steps else value
        for name, value in fields_of(rollouts.select(two))
    }
    small = now.select(two).map(lambda value: value[:, :1])
    loss, slopes = outcome(objective(case.slot, case.term()), Rollouts(**fields), small)
    assert bool(torch.isfinite(loss))
    assert all(bool(torch.isfinite(slope).all()) for slope in slopes.values())


@every_case
def test_gradient_is_finite_where_policies_are_extreme(case: Case) -> None:
    rollouts, now = batch()
    sure = now.logprob.clone()
    sure[0], sure[1], sure[2] = 0.0, -90.0, -1e-9
    entropy = now.get("entropy").clone()
    entropy[:3] = 0.0
    old = rollouts.old_logprob.clone()
    old[0], old[1], old[2] = -90.0, -1e-3, 0.0  # ratios that ran away, up and down
    far = rollouts.replace(old_logprob=torch.where(rollouts.mask, old, torch.nan))
    extreme = dataclasses.replace(
        now,
        logprob=sure,
        entropy=entropy,
        nucleus_entropy=entropy,
        sum_p2=torch.where(entropy == 0, 1.0, now.get("sum_p2")),
        sum_p2_logp=torch.where(entropy == 0, 0.0, now.get("sum_p2_logp")),
    )
    loss, slopes = outcome(objective(case.slot, case.term()), far, extreme)
    assert bool(torch.isfinite(loss))
    assert all(bool(torch.isfinite(slope).all()) for slope in slopes.values())


@every_case
def test_state_goes_through_json(case: Case) -> None:
    rollouts, now = batch()
    chosen = objective(case.slot, case.term())
    kept: Any = None
    saved: Any = None
    for number in range(4):
        at = moved(now, number)
        expected, kept = outcome_and_state(chosen, rollouts, at, kept)
        saved = json.loads(json.dumps(saved))
        found, saved = outcome_and_state(objective(case.slot, case.term()), rollouts, at, saved)
        assert torch.equal(found[0], expected[0])
        assert json.dumps(saved) == json.dumps(kept)


@every_case
def test_batch_in_parts_selects_what_the_whole_selects(case: Case) -> None:
    """The network sees a few answers at a time, the term sees all of them."""
    chosen = objective(case.slot, case.term())
    if "value" in chosen.needs:
        pytest.skip("the small policy has no value head")
    rollouts, _ = batch()
    filled = {
        name: value.nan_to_num().float() if value.is_floating_point() else value
        for name, value in fields_of(rollouts)
    }
    config = TransformerConfig(V, width=16, heads=2, context=16)
    policy = SmallPolicy(SmallTransformer.seeded(config, 0))
    generator = torch.Generator().manual_seed(0)
    prepared: Prepared = chosen.prepare(Rollouts(**filled), generator=generator)
    gradients, metrics = [], []
    for micro_tokens in (10**6, 20):
        optimizer = torch.optim.SGD(policy.parameters(), lr=0.0)
        done = update(
            policy,
            optimizer,
            chosen,
            prepared,
            [(1, 2)] * 8,
            prepared.state,
            TrainSettings(micro_tokens=micro_tokens, clip_norm=0),
            generator=torch.Generator().manual_seed(0),
        )
        kept = [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
        gradients.append(torch.cat(kept))
        metrics.append(done.metrics)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)  # float32 sums
    for name, value in metrics[0].items():
        assert metrics[1][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
