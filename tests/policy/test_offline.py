"""OREO against the reference trainer, the exact tree MDP, and bad input."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.offline import (
    importance_weights,
    kl_to_reference,
    oreo_policy_loss,
    oreo_value_loss,
)
from entropilot.policy.soft_bellman import (
    oreo_advantage,
    reward_to_go,
    soft_bellman_residual,
    suffix_log_ratio,
)
from entropilot.policy.surrogates import logprob_loss

LOSS, GRADIENT = 1e-12, 1e-11  # reference run in float64


class Reference:
    """The reference trainer's batch, its last position (which predicts nothing) dropped."""

    def __init__(self, g: dict[str, Any]) -> None:
        self.g = g
        self.beta = g["beta"]
        self.logits = torch.tensor(g["logits"], dtype=torch.float64).requires_grad_()
        self.ref_logits = torch.tensor(g["ref_logits"], dtype=torch.float64)
        self.tokens = torch.tensor(g["ids"])[:, 1:]
        self.action = torch.tensor(g["action_mask"]).bool()[:, 1:]
        self.state = torch.tensor(g["state_mask"]).bool()[:, :-1]
        self.steps = torch.tensor(g["step_state_mask"]).bool()[:, :-1]
        self.values = torch.tensor(g["values"], dtype=torch.float64)
        self.reward = torch.tensor(g["rewards"], dtype=torch.float64)
        self.logp = self.gathered(self.logits)
        self.ref_logp = self.gathered(self.ref_logits)

    def gathered(self, logits: Tensor) -> Tensor:
        width = self.tokens.shape[1]
        log_p = torch.log_softmax(logits[:, :width], -1)
        chosen = log_p.gather(-1, self.tokens[..., None])[..., 0]
        # what is masked must not matter, so it is nan
        return torch.where(self.action, chosen, math.nan)

    @property
    def suffix(self) -> Tensor:
        return suffix_log_ratio(self.logp, self.ref_logp, self.action)

    def policy_loss(self, **options: Any) -> Tensor:
        values = torch.where(self.action, self.values, math.nan)
        return oreo_policy_loss(
            self.logp, self.ref_logp, values, self.reward, self.action, beta=self.beta, **options
        )


@pytest.fixture
def ref(golden: Any) -> Reference:
    return Reference(golden("oreo"))


def check_gradient(loss: Tensor, leaf: Tensor, expected: list[Any]) -> None:
    (found,) = torch.autograd.grad(loss, leaf)
    wanted = torch.zeros_like(found)
    given = torch.tensor(expected, dtype=torch.float64)
    wanted[:, : given.shape[1]] = given
    assert torch.allclose(found, wanted, rtol=0, atol=GRADIENT)


def test_suffix_sums_equal_the_reference(ref: Reference) -> None:
    # the reference's masks are those of states, so that its sums also fill the padding before
    given = torch.tensor(ref.g["accumulated_logps"], dtype=torch.float64)
    base = torch.tensor(ref.g["ref_accumulated_logps"], dtype=torch.float64)
    width = given.shape[1]
    assert torch.allclose(ref.suffix[:, :width], given - base, rtol=0, atol=LOSS)


def test_value_loss_equals_the_reference(ref: Reference) -> None:
    values = ref.values.clone().requires_grad_()
    for state in (ref.state, None):
        loss = oreo_value_loss(values, ref.suffix, ref.reward, ref.action, state, beta=ref.beta)
        assert loss.item() == pytest.approx(ref.g["value_loss"], abs=LOSS)
        check_gradient(loss, values, ref.g["value_loss_grad_values"])
    loss = oreo_value_loss(values, ref.suffix, ref.reward, ref.action, ref.steps, beta=ref.beta)
    assert loss.item() == pytest.approx(ref.g["step_value_loss"], abs=LOSS)
    loss = oreo_value_loss(values, ref.suffix, ref.reward, ref.action, beta=ref.beta, clip_log=0.5)
    assert loss.item() == pytest.approx(ref.g["clip_log_0p5"]["loss"], abs=LOSS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("token_policy_loss", {}),
        ("response_policy_loss", {"level": "response"}),
        ("one_step_bellman_loss", {"one_step": True}),
        ("pcl_no_stopgrad_loss", {"pcl": True}),
    ],
)
def test_policy_losses_equal_the_reference(
    ref: Reference, name: str, options: dict[str, Any]
) -> None:
    loss = ref.policy_loss(**options)
    assert loss.item() == pytest.approx(ref.g[name]["loss"], abs=LOSS)
    check_gradient(loss, ref.logits, ref.g[name]["grad_logits"])


def test_step_level_equals_the_reference(ref: Reference) -> None:
    loss = ref.policy_loss(level="step", state_mask=ref.steps)
    assert loss.item() == pytest.approx(ref.g["step_policy_loss"]["loss"], abs=LOSS)
    check_gradient(loss, ref.logits, ref.g["step_policy_loss"]["grad_logits"])


def test_kl_and_weights_equal_the_reference(ref: Reference) -> None:
    width = ref.tokens.shape[1]
    logits, base = ref.logits[:, :width], ref.ref_logits[:, :width]
    exact = kl_to_reference(logits, base, ref.action)
    assert exact.item() == pytest.approx(ref.g["kl_reg_exact"]["value"], abs=LOSS)
    check_gradient(exact, ref.logits, ref.g["kl_reg_exact"]["grad_logits"])
    k3 = kl_to_reference(logits, base, ref.action, "k3", ref.tokens)
    assert k3.item() == pytest.approx(ref.g["kl_reg_k3"], abs=LOSS)
    weights = importance_weights(ref.logp, ref.ref_logp, ref.action)
    assert weights.tolist() == pytest.approx(ref.g["importance_weights"], abs=LOSS)


def test_importance_weights_answers_and_hinge_adds_for_right_ones(ref: Reference) -> None:
    plain = ref.policy_loss()
    assert ref.policy_loss(importance=torch.ones(4)).item() == plain.item()
    half = ref.policy_loss(importance=torch.full((4,), 0.5)).item()
    assert half == pytest.approx(plain.item() / 2, abs=LOSS)
    response = ref.policy_loss(level="response")
    right = ref.reward > 0
    added = ref.policy_loss(level="response", hinge=2.0, correct=right) - response
    expected = 2 * (-ref.suffix[right, 0]).clamp(min=0).mean()
    assert added.item() == pytest.approx(expected.item(), abs=LOSS)
    assert ref.policy_loss(level="response", hinge=2.0, correct=right & ~right).item() == (
        response.item()
    )


def test_the_policy_loss_is_a_policy_gradient_with_the_soft_advantage(ref: Reference) -> None:
    advantage = oreo_advantage(ref.logp, ref.ref_logp, ref.values, ref.reward, ref.action, ref.beta)
    assert not advantage.requires_grad
    per_token = logprob_loss(ref.logp, advantage, ref.action)
    surrogate = Aggregation("seq-mean-token-mean")(per_token, ref.action)
    (one,) = torch.autograd.grad(2 * ref.beta * surrogate, ref.logits, retain_graph=True)
    (two,) = torch.autograd.grad(ref.policy_loss(), ref.logits)
    assert torch.allclose(one, two, rtol=0, atol=1e-15)


@pytest.mark.parametrize("options", [{"pcl": True}, {"level": "response"}])
def test_gradients_equal_finite_differences(ref: Reference, options: dict[str, Any]) -> None:
    logp = torch.where(ref.action, ref.logp.detach(), 0)

    def loss(x: Tensor) -> Tensor:
        return oreo_policy_loss(
            x, ref.ref_logp, ref.values, ref.reward, ref.action, beta=0.3, **options
        )

    assert torch.autograd.gradcheck(loss, logp.requires_grad_())


def test_process_rewards_replace_the_reward_by_the_reward_to_go(ref: Reference) -> None:
    last = torch.zeros_like(ref.values)
    length = ref.values.shape[1]
    end = length - 1 - ref.action.flip(1).int().argmax(1)
    last[torch.arange(4), end] = ref.reward
    last = torch.where(ref.action, last, math.nan)
    togo = reward_to_go(last, ref.action)
    assert torch.equal(togo[ref.action], reward_to_go(ref.reward, ref.action)[ref.action])
    args = (ref.logp, ref.ref_logp, ref.values)
    for options in ({}, {"one_step": True}, {"level": "response"}):
        found = oreo_policy_loss(*args, last, ref.action, beta=ref.beta, **options)  # type: ignore[arg-type]
        assert found.item() == pytest.approx(ref.policy_loss(**options).item(), abs=LOSS)
    residual = soft_bellman_residual(*args, last, ref.action, ref.beta)
    summed = torch.where(ref.action, residual, 0).flip(1).cumsum(1).flip(1)
    advantage = oreo_advantage(*args, last, ref.action, ref.beta)
    assert torch.allclose(summed[ref.action], -advantage[ref.action], atol=1e-12)


class Tree:
    """All 81 answers of a tree with 3 actions and depth 4, random rewards at every node."""

    def __init__(self, beta: float = 0.3) -> None:
        draw = torch.Generator().manual_seed(0)
        n, depth = 3, 4
        reward = [torch.randn(n**d, n, generator=draw, dtype=torch.float64) for d in range(depth)]
        base = [torch.randn(n**d, n, generator=draw, dtype=torch.float64) for d in range(depth)]
        reference = [x.log_softmax(-1) for x in base]
        value = [torch.zeros(n**d, dtype=torch.float64) for d in range(depth + 1)]
        policy: list[Tensor] = [torch.empty(0)] * depth
        for d in reversed(range(depth)):
            q = reward[d] + value[d + 1].reshape(-1, n)
            value[d] = beta * (reference[d] + q / beta).logsumexp(-1)
            policy[d] = reference[d] + (q - value[d][:, None]) / beta
        paths = torch.tensor(list(itertools.product(range(n), repeat=depth)))
        node = torch.zeros(len(paths), dtype=torch.int64)
        rows: dict[str, list[Tensor]] = {k: [] for k in ("logp", "ref", "value", "reward")}
        for d in range(depth):
            a = paths[:, d]
            for key, table in (("logp", policy), ("ref", reference), ("reward", reward)):
                rows[key].append(table[d][node, a])
            rows["value"].append(value[d][node])
            node = node * n + a
        self.logp, self.ref, self.value, self.reward = (
            torch.stack(rows[k], 1) for k in ("logp", "ref", "value", "reward")
        )
        self.mask = torch.ones_like(self.logp).bool()
        self.beta = beta

    def residual(self, logp: Tensor, value: Tensor) -> Tensor:
        return soft_bellman_residual(logp, self.ref, value, self.reward, self.mask, self.beta)

    def losses(self, logp: Tensor, value: Tensor) -> tuple[float, float]:
        args = (logp, self.ref, value, self.reward, self.mask)
        suffix = suffix_log_ratio(logp, self.ref, self.mask)
        of_value = oreo_value_loss(value, suffix, self.reward, self.mask, beta=self.beta)
        return oreo_policy_loss(*args, beta=self.beta).item(), of_value.item()


def test_the_optimal_pair_of_a_tree_has_no_residual_and_no_other_pair_does() -> None:
    tree = Tree()
    assert tree.residual(tree.logp, tree.value).abs().max() < 1e-12
    assert max(tree.losses(tree.logp, tree.value)) < 1e-24
    worse = torch.log_softmax(torch.stack([tree.logp, tree.logp - 0.1]), 0)[0]
    for logp, value in ((tree.logp + worse, tree.value), (tree.logp, tree.value + 0.1)):
        assert tree.residual(logp, value).abs().max() > 1e-3
        assert min(tree.losses(logp, value)) > 1e-6


GOOD: dict[str, Any] = {
    "logprob": torch.tensor([[-1.0, -2.0], [-1.0, 0.0]]),
    "reference_logprob": torch.tensor([[-1.5, -1.0], [-1.0, 0.0]]),
    "values": torch.zeros(2, 2),
    "reward": torch.tensor([1.0, 0.0]),
    "action_mask": torch.tensor([[True, True], [True, False]]),
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reward": torch.ones(3)}, r"reward has shape \(3,\)"),
        ({"reward": torch.tensor([math.nan, 1.0])}, r"reward at \[0\] is nan"),
        ({"logprob": torch.ones(2, 2)}, "logprob of answer 0, token 0, is 1.*take log"),
        ({"reference_logprob": torch.full((2, 2), -math.inf)}, "reference_logprob of answer 0"),
        ({"logprob": torch.zeros(2, 3)}, r"logprob has shape \(2, 3\)"),
        ({"values": torch.zeros(2, 3)}, r"values have shape \(2, 3\)"),
        ({"action_mask": torch.ones(2, 2)}, "expected bool"),
        ({"action_mask": torch.tensor([[True, True], [False, False]])}, "answer 1 has no action"),
        ({"state_mask": torch.ones(2, 2)}, "state_mask has dtype"),
        ({"state_mask": torch.ones(2, 2).bool()}, "token 1 of answer 1, where no action"),
        ({"state_mask": torch.tensor([[True, True], [False, False]])}, "answer 1 has no state"),
        ({"level": "step"}, "needs state_mask"),
        ({"level": "response", "hinge": 1.0}, "needs correct"),
    ],
)
def test_bad_input_is_named(changed: dict[str, Any], message: str) -> None:
    oreo_policy_loss(**GOOD)
    with pytest.raises(InputError, match=message):
        oreo_policy_loss(**(GOOD | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beta": 0.0}, "beta is 0"),
        ({"level": "tokens"}, "did you mean 'token'"),
        ({"level": "step", "one_step": True}, "one_step works at the token level"),
        ({"hinge": 1.0}, "belongs to the response level"),
    ],
)
def test_settings_out_of_range_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        oreo_policy_loss(**(GOOD | changed))


def test_other_bad_input() -> None:
    mask, logits = GOOD["action_mask"], torch.zeros(2, 2, 3)
    with pytest.raises(InputError, match="same vocabulary"):
        kl_to_reference(logits, torch.zeros(2, 2, 4), mask)
    with pytest.raises(InputError, match="needs tokens"):
        kl_to_reference(logits, logits, mask, "k3")
    with pytest.raises(ConfigurationError, match="did you mean 'exact'"):
        kl_to_reference(logits, logits, mask, "exakt")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="clip_log"):
        oreo_value_loss(logits[..., 0], logits[..., 0], GOOD["reward"], mask, clip_log=0)
    values = GOOD["values"][..., None]
    assert oreo_policy_loss(**(GOOD | {"values": values})) == oreo_policy_loss(**GOOD)
