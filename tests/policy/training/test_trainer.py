"""The trainer: the same after a kill, whatever the memory knob, and honest when it must stop."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from entropilot.errors import ConfigurationError
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import NonFiniteError, Objective, Prepared
from entropilot.policy.tasks.modular_paths import ModularPaths
from entropilot.policy.term import Applied, State, Term, View
from entropilot.policy.training.bound_task import BoundTask, bind_token_task
from entropilot.policy.training.checkpoints import checkpoints
from entropilot.policy.training.metrics_log import MEANINGS, METRICS_NAME, read_metrics
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Trainee
from entropilot.policy.training.trainer import train
from entropilot.policy.training.training_step import draw_batch
from entropilot.policy.training.updating import NonFiniteLossError, micro_batches, update

SMALL = TrainSettings(
    steps=7,
    n_prompts=4,
    n_answers=4,
    n_eval_problems=4,
    n_eval_answers=4,
    evaluate_every=3,
    checkpoint_every=2,
)
TIMES = {"seconds", "seconds_rollout", "tokens_per_second"}


def task() -> BoundTask:
    return bind_token_task(ModularPaths(modulus=5, n_steps=2))


def policy(seed: int = 0) -> SmallPolicy:
    config = TransformerConfig(ModularPaths(5, 2).n_vocab, width=16, heads=2, context=16)
    return SmallPolicy(SmallTransformer.seeded(config, seed))


def graded_by_first_token(bound: BoundTask) -> BoundTask:
    """A task that an untrained policy can learn something from."""

    def grade(problems: Any, tokens: torch.Tensor, mask: torch.Tensor) -> Any:
        found = bound.grade(problems, tokens, mask)
        reward = (tokens[:, 0] % 2).float()
        return found._replace(reward=reward, correct=reward > 0)

    return dataclasses.replace(bound, grade=grade)


def trainee(objective: Objective | None = None, **change: Any) -> Trainee:
    chosen = objective or Objective()
    fields: dict[str, Any] = {"settings": SMALL} | change
    bound = graded_by_first_token(task())
    return Trainee(policy(), bound, lambda _step: chosen, **fields)


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


class Killed(BaseException):
    """As sudden as a signal."""


@pytest.mark.parametrize("attempt", range(3))
def test_run_that_was_killed_ends_bit_equal(tmp_path: Path, attempt: int) -> None:
    whole = trainee()
    expected = train(whole, tmp_path / "whole")
    at = random.Random(attempt).randrange(1, SMALL.steps)

    def kill(row: Mapping[str, Any]) -> None:
        if row["step"] == at:
            raise Killed

    with pytest.raises(Killed):
        train(trainee(), tmp_path / "cut", progress=kill)
    resumed = trainee()
    rows = train(resumed, tmp_path / "cut").rows
    assert comparable(rows) == comparable(expected.rows)
    assert comparable(read_metrics(tmp_path / "cut" / METRICS_NAME)) == comparable(expected.rows)
    for name, weight in whole.policy.state_dict().items():
        assert torch.equal(resumed.policy.state_dict()[name], weight), name


def test_run_with_products_of_another_library_ends_bit_equal(tmp_path: Path) -> None:
    """Sizes at which ``linear`` may leave torch's own products; see ``information._linear``."""

    def large() -> Trainee:
        settings = dataclasses.replace(SMALL, steps=4, n_prompts=16, n_answers=8)
        config = TransformerConfig(ModularPaths(5, 2).n_vocab, width=64, context=16)
        network = SmallPolicy(SmallTransformer.seeded(config, 0))
        return dataclasses.replace(trainee(), policy=network, settings=settings)

    def kill(row: Mapping[str, Any]) -> None:
        if row["step"] == 3:
            raise Killed

    whole, resumed = large(), large()
    expected = train(whole, tmp_path / "whole").rows
    with pytest.raises(Killed):
        train(large(), tmp_path / "cut", progress=kill)
    assert comparable(train(resumed, tmp_path / "cut").rows) == comparable(expected)
    for name, weight in whole.policy.state_dict().items():
        assert torch.equal(resumed.policy.state_dict()[name], weight), name


def test_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = train(trainee(), tmp_path)
    calls: list[int] = []
    again = train(trainee(), tmp_path, progress=lambda row: calls.append(row["step"]))
    assert calls == []
    assert again.rows == first.rows


def test_rows_hold_what_they_promise(tmp_path: Path) -> None:
    rows = train(trainee(), tmp_path).rows
    assert [row["step"] for row in rows] == list(range(SMALL.steps + 1))
    wanted = {"reward", "entropy", "length", "covariance", "logprob_gap", "dead_tokens", "loss"}
    wanted |= {"temperature", "logprob_gap/missing_mass", "tokens_all_wrong", "tokens_all_right"}
    assert all(wanted <= set(row) for row in rows[1:])
    evaluated = [row["step"] for row in rows if "eval/pass@1" in row]
    assert evaluated == [0, 3, 6, 7]
    named = set().union(*rows)
    unknown = {n for n in named - set(MEANINGS) if not n.startswith("eval/")}
    assert not unknown
    assert all(row["logprob_gap"] < 1e-5 for row in rows[1:])


def test_reward_rises_on_a_task_that_can_be_learned() -> None:
    settings = TrainSettings(
        steps=30, n_prompts=8, n_answers=8, learning_rate=3e-3, n_eval_problems=4
    )
    rows = train(trainee(settings=settings)).rows
    assert rows[-1]["reward"] > rows[1]["reward"] + 0.2


def prepared(objective: Objective) -> tuple[Prepared, list[tuple[int, ...]]]:
    batch = draw_batch(trainee(), 0)
    return objective.prepare(batch.rollouts), list(batch.prompts)


@pytest.mark.parametrize("stored", [1024, 0])
def test_memory_knob_does_not_change_the_gradient(
    stored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entropilot.policy.training.measuring.STORED_VOCABULARY", stored)

    def half(view: View, state: State) -> Applied:  # a choice over the whole batch
        limit = view.policy.logprob.detach()[view.mask].median()
        return Applied((view.policy.logprob.detach() > limit).float(), state)

    objective = Objective(
        weights=(Term("half", half),),
        regularisers=(
            Term(
                "entropy",
                lambda view, state: Applied(-view.policy.get("entropy")[view.mask].mean(), state),
                needs=frozenset({"entropy"}),
            ),
        ),
    )
    found = []
    for micro_tokens in (10**6, 60, 1):
        network = policy()
        batch, prompts = prepared(objective)
        settings = TrainSettings(micro_tokens=micro_tokens, clip_norm=0)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        update(network, optimizer, objective, batch, prompts, {}, settings)
        found.append(
            torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        )
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-6)
    assert found[0].abs().max() > 0


def test_micro_batches_hold_every_row_once() -> None:
    lengths = torch.tensor([3, 9, 1, 4, 4])
    parts = micro_batches(lengths, [[0]] * 5, 10)
    assert sorted(torch.cat(parts).tolist()) == [0, 1, 2, 3, 4]
    assert all(int((lengths[rows] + 1).sum()) <= 10 for rows in parts)


def test_nan_stops_the_run_names_the_term_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    calls = []

    def breaks(view: View, state: State) -> Applied:
        calls.append(1)
        value = view.policy.logprob.sum() * 0
        return Applied(value * torch.nan if len(calls) > 6 else value, state)

    objective = Objective(regularisers=(Term("breaks", breaks),))
    with pytest.raises(NonFiniteError, match="'breaks'"):
        train(trainee(objective), tmp_path)
    kept = checkpoints(tmp_path / "checkpoints")
    assert kept[-1].step == 2
    assert [row["step"] for row in read_metrics(tmp_path / METRICS_NAME)] == [0, 1, 2, 3]


def test_network_that_broke_is_said_and_its_checkpoint_taken_away(tmp_path: Path) -> None:
    chosen = trainee(settings=dataclasses.replace(SMALL, checkpoint_every=1))

    @torch.no_grad()
    def breaks(row: dict[str, Any]) -> None:
        if row["step"] == 3:  # finite weights whose products are not
            for parameter in chosen.policy.parameters():
                parameter.fill_(3e38)

    chosen = dataclasses.replace(chosen, listeners=(breaks,))
    with pytest.raises(
        NonFiniteLossError, match=r"in step 4 .* Lower train\.learning_rate.*step 2\."
    ):
        train(chosen, tmp_path)
    assert [c.step for c in checkpoints(tmp_path / "checkpoints")] == [2]


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    train(trainee(), tmp_path, identity={"recipe": "grpo", "seed": 0})
    with pytest.raises(ConfigurationError, match=r"differs in recipe\)"):
        train(trainee(), tmp_path, identity={"recipe": "siren", "seed": 0})


@pytest.mark.parametrize("right", [False, True])
def test_groups_that_teach_nothing_are_counted_with_the_tokens_they_cost(right: bool) -> None:
    bound = task()

    def grade(problems: Any, tokens: torch.Tensor, mask: torch.Tensor) -> Any:
        found = bound.grade(problems, tokens, mask)
        return found._replace(reward=found.reward * 0 + right, correct=found.correct.fill_(right))

    hopeless = dataclasses.replace(bound, grade=grade)
    rows = train(
        Trainee(policy(), hopeless, lambda _step: Objective(), TrainSettings(steps=1, n_prompts=2))
    ).rows
    assert rows[1]["frac_all_wrong_groups"] == float(not right)
    assert rows[1]["frac_all_right_groups"] == float(right)
    assert rows[1]["tokens_all_wrong"] == (0 if right else rows[1]["n_tokens"])
    assert rows[1]["tokens_all_right"] == (rows[1]["n_tokens"] if right else 0)
    assert rows[1]["dead_tokens"] == 1.0
    assert rows[1]["grad_norm"] == 0.0


def test_out_of_memory_names_the_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr("entropilot.policy.training.training_step.update", full)
    with pytest.raises(ConfigurationError, match=r"train\.micro_tokens to 4096"):
        train(trainee())
