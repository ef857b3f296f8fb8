"""Objectives in TRL: whole tiny runs, replayed batch by batch through the built-in trainer."""

from __future__ import annotations

import copy
import json
import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from entropilot.errors import ConfigurationError, ModelError
from entropilot.models.tiny import tiny_parts
from entropilot.policy.entropy_bonus import entropy_bonus, linear_decay
from entropilot.policy.hosts import trl as host
from entropilot.policy.hosts.host_state import STATE_FILE
from entropilot.policy.language_policy import LanguagePolicy
from entropilot.policy.objective import Objective
from entropilot.policy.phases import phase_masks
from entropilot.policy.recipe_table import find_recipe
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics
from entropilot.policy.term import Applied, Term
from entropilot.policy.training.measuring import measure
from entropilot.policy.training.metrics_log import MEANINGS
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.updating import update

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]

OBJECTIVES = {
    "grpo": find_recipe("grpo").objective(),
    "clip-higher": find_recipe("clip-higher").objective(),
    "kl-cov": find_recipe("kl-cov").objective({"ratio": 0.1}),
    "siren": find_recipe("siren").objective({"coef": 1.0}),
    "bonus": Objective(regularisers=(entropy_bonus(0.1, linear_decay(4)),)),
    "steer": find_recipe("steer").objective(),
    "clip-v": find_recipe("clip-v").objective({"mu": 1.0}),
}


@pytest.fixture(scope="module")
def trl() -> Any:
    pytest.importorskip("datasets", reason="datasets is not installed")
    return pytest.importorskip("trl", reason="TRL is not installed")


def letters(completions: list[str], **_: Any) -> list[float]:
    """Share of letters and digits in an answer."""
    return [sum(c.isascii() and c.isalnum() for c in text) / 8 for text in completions]


def trainer_of(trl: Any, objective: Objective, folder: Path, **given: Any) -> Any:
    from datasets import Dataset

    annotate, reward, model = (given.pop(n, None) for n in ("annotate", "reward", "model"))
    settings = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "steps_per_generation": 4,  # two updates a rollout batch
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "max_grad_norm": 1e9,
    }
    plain, tokenizer = tiny_parts()
    tokenizer.pad_token = tokenizer.eos_token
    return host.objective_trainer(objective, annotate=annotate)(
        model=model or plain,
        reward_funcs=reward or letters,
        args=trl.GRPOConfig(output_dir=str(folder), **(settings | given)),
        train_dataset=Dataset.from_dict({"prompt": [f"{i:0{1 + i % 3}}=" for i in range(16)]}),
        processing_class=tokenizer,
    )


class Replay:
    """The batches of a TRL run, sent through the built-in objective and update."""

    def __init__(self, trainer: Any, objective: Objective) -> None:
        self.trainer, self.objective = trainer, objective
        self.state: dict[str, Any] = {}
        self.losses: list[tuple[float, float]] = []  # TRL's and the built-in one
        self.norms: list[float] = []
        self.value = 0.0
        plain = trainer._compute_loss
        trainer._compute_loss = lambda model, inputs: self.heard(plain, model, inputs)

    def heard(self, plain: Any, model: Any, inputs: dict[str, Any]) -> Any:
        step = self.trainer._step % 2
        if step == 0:
            expected = self.built_in(model)
        loss = plain(model, inputs)
        self.value = float(loss.detach()) + (self.value if step else 0.0)
        if step == 0:
            self.losses.append((0.0, expected))
        self.losses[-1] = (self.value, self.losses[-1][1])
        return loss

    def built_in(self, model: Any) -> float:
        buffered, first = self.trainer._buffered_inputs, self.trainer._step % 4
        whole = {
            name: torch.cat([part[name] for part in buffered])
            for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        }
        prompts = [
            row[keep.bool()].tolist()
            for row, keep in zip(whole["prompt_ids"], whole["prompt_mask"], strict=True)
        ]
        tokens, mask = whole["completion_ids"], whole["completion_mask"].bool()
        policy = LanguagePolicy(copy.deepcopy(model), n_vocab=257)
        if first == 0:  # a fresh rollout batch
            with torch.no_grad():
                old = measure(policy, prompts, tokens, mask, wants=("logprob",)).logprob
            texts = self.trainer.processing_class.batch_decode(
                [t[m].tolist() for t, m in zip(tokens, mask, strict=True)],
                skip_special_tokens=True,
            )
            names = list(dict.fromkeys(map(tuple, prompts)))
            group = torch.tensor([names.index(tuple(p)) for p in prompts])
            reward = torch.tensor(letters(texts))
            rollouts = Rollouts(tokens, mask, old, reward, group)
            self.prepared = self.objective.prepare(rollouts, self.state)
            self.state = self.prepared.state
        rows = torch.arange(8) + 4 * first
        done = update(
            policy,
            torch.optim.SGD(policy.parameters(), lr=0.0),
            self.objective,
            self.prepared.select(rows),
            [prompts[i] for i in rows.tolist()],
            self.state,
            TrainSettings(clip_norm=0.0),
        )
        self.state = done.state
        self.norms.append(done.metrics["grad_norm"])
        return done.metrics["loss"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_update_has_the_loss_and_gradient_of_the_built_in_trainer(
    name: str, trl: Any, tmp_path: Path
) -> None:
    objective = OBJECTIVES[name]
    trainer = trainer_of(trl, objective, tmp_path)
    replay = Replay(trainer, objective)
    trainer.train()
    assert len(replay.losses) == 4
    for theirs, ours in replay.losses:
        assert theirs == pytest.approx(ours, abs=1e-6)
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert [row["grad_norm"] for row in rows] == pytest.approx(replay.norms, rel=1e-4)
    assert [row["loss"] for row in rows] == pytest.approx([a for a, _ in replay.losses], abs=1e-6)
    assert json.loads(json.dumps(trainer.objective_state)) == {
        term: pytest.approx(state, rel=1e-6) if state else state
        for term, state in replay.state.items()
    }
    logged = set(rows[0])
    assert {"entropy", "covariance", "surrogate/loss", "kept_fraction"} <= logged & set(MEANINGS)
    if objective.regularisers:
        assert any(key.startswith(f"{objective.regularisers[0].name}/") for key in logged)


def test_adapter_is_trained_as_by_the_built_in_trainer(trl: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    base, _ = tiny_parts()
    torch.manual_seed(0)
    adapter = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, adapter)
    trainer = trainer_of(trl, OBJECTIVES["siren"], tmp_path, model=model, max_steps=2)
    replay = Replay(trainer, OBJECTIVES["siren"])
    trainer.train()
    for theirs, ours in replay.losses:
        assert theirs == pytest.approx(ours, abs=1e-6)
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert [row["grad_norm"] for row in rows] == pytest.approx(replay.norms, rel=1e-4)


def test_resumed_run_ends_as_the_uninterrupted_one(trl: Any, tmp_path: Path) -> None:
    objective = Objective(
        regularisers=(*OBJECTIVES["siren"].regularisers, *OBJECTIVES["bonus"].regularisers)
    )
    settings = {"save_strategy": "steps", "save_steps": 2}
    whole = trainer_of(trl, objective, tmp_path / "whole", **settings)
    whole.train()
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    kept = json.loads((checkpoint / STATE_FILE).read_text())["state"]
    assert kept["entropy-bonus"] == {"update": 2}
    resumed = trainer_of(trl, objective, tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert resumed.objective_state == whole.objective_state
    assert resumed.objective_state["entropy-bonus"] == {"update": 4}
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_reward_terms_and_annotations_run(trl: Any, tmp_path: Path) -> None:
    """A term shapes the reward; another reads entropies and phases that ``annotate`` made."""
    seen: list[Rollouts] = []

    def annotate(rollouts: Rollouts) -> Rollouts:
        phases = phase_masks(rollouts.tokens, ord("e"), rollouts.mask)
        seen.append(rollouts)
        return rollouts.replace(
            think=phases.think, answer=phases.answer, correct=rollouts.reward > 0.5
        )

    halve = Term("halve", lambda view, state: Applied(view.reward / 2, state))
    objective = Objective(rewards=(halve, *find_recipe("pear").objective().rewards))
    trainer = trainer_of(trl, objective, tmp_path, annotate=annotate, max_steps=1)
    trainer.train()
    (rollouts,) = seen
    assert rollouts.entropy is not None
    assert float(rollouts.entropy[rollouts.mask].mean()) > 1
    assert rollouts.group.tolist() == [g for g in range(4) for _ in range(4)]
    row = trainer.state.log_history[0]
    assert "pear/h_think" in row
    assert row["shaped_reward"] != row["reward"]


def test_advantage_terms_take_the_place_of_trls(trl: Any, tmp_path: Path) -> None:
    batches: list[dict[str, Any]] = []
    objective = find_recipe("rloo").objective()
    trainer = trainer_of(trl, objective, tmp_path, max_steps=1)
    plain = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda x: batches.append(plain(x)) or batches[-1]
    trainer.train()
    batch = batches[0]
    reward = batch["objective_reward"].view(4, 4)
    expected = ((reward - reward.mean(1, keepdim=True)) * 4 / 3).flatten()
    assert batch["advantages"].shape == batch["completion_mask"].shape
    torch.testing.assert_close(batch["advantages"][:, 0], expected)
    assert list(trainer._logs["advantages"]) == pytest.approx(expected.tolist(), abs=1e-6)


def test_answers_that_nobody_could_judge_are_left_out(trl: Any, tmp_path: Path) -> None:
    def reward(completions: list[str], **_: Any) -> list[float | None]:
        return [None if i % 4 == 0 else float(i % 2) for i in range(len(completions))]

    batches: list[dict[str, Any]] = []
    trainer = trainer_of(trl, Objective(), tmp_path, max_steps=1, reward=reward)
    plain = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda x: batches.append(plain(x)) or batches[-1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All reward functions returned None")
        trainer.train()
    row = batches[0]["advantages"][:4, 0]
    torch.testing.assert_close(row, torch.tensor([0.0, 0.5773, -1.1547, 0.5773]), atol=1e-3, rtol=0)


def test_update_without_a_token_changes_nothing_and_says_so(trl: Any, tmp_path: Path) -> None:
    trainer = trainer_of(
        trl, Objective(), tmp_path, max_steps=1, mask_truncated_completions=True,
        max_completion_length=2,
    )  # fmt: skip
    trainer.model.generation_config.suppress_tokens = [256]  # no answer ends by itself
    before = [p.clone() for p in trainer.model.parameters()]
    with pytest.warns(UserWarning, match="no token counts in a whole update"):
        trainer.train()
    for a, b in zip(before, trainer.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_term_that_never_acts_says_so_in_the_run(trl: Any, tmp_path: Path) -> None:
    trainer = trainer_of(
        trl, OBJECTIVES["kl-cov"], tmp_path, steps_per_generation=2, max_steps=3
    )  # strictly on policy
    with pytest.warns(UserWarning, match="With one update a rollout it never acts"):
        trainer.train()
    assert all(r["kl-cov/inactive"] == 1 for r in trainer.state.log_history if "loss" in r)


def test_evaluation_leaves_the_state_alone(trl: Any, tmp_path: Path) -> None:
    trainer = trainer_of(trl, OBJECTIVES["siren"], tmp_path, per_device_eval_batch_size=4)
    found = trainer.evaluate(trainer.train_dataset.select(range(2)))
    assert trainer.objective_state == {}
    assert math.isfinite(found["eval_loss"])
    logged = trainer.state.log_history[-1]
    assert logged["eval_siren/selected_entropy"] > 0


def test_replaced_settings_are_named(trl: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"no effect.*loss_type='dr_grpo', epsilon=0.3"):
        trainer_of(trl, Objective(), tmp_path, loss_type="dr_grpo", epsilon=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trainer_of(trl, Objective(), tmp_path)


def test_release_without_a_hook_is_refused_with_the_range(monkeypatch: Any) -> None:
    old = SimpleNamespace(__version__="0.9.0", GRPOTrainer=type("GRPOTrainer", (), {}))
    monkeypatch.setattr(host, "require", lambda *_a, **_k: old)
    with pytest.raises(ConfigurationError, match=r"TRL 0.9.0 has no .*supported are trl >= 1.16"):
        host.objective_trainer(Objective())


def test_statistic_that_trl_cannot_have_is_refused_before_a_run(trl: Any) -> None:
    term = Term("value", lambda view, state: Applied(view.mask, state), needs=frozenset({"value"}))
    with pytest.raises(ConfigurationError, match="value needs value"):
        host.objective_trainer(Objective(masks=(term,)))


def test_model_that_changes_its_logits_after_the_head_is_refused(trl: Any, tmp_path: Path) -> None:
    model, _ = tiny_parts()
    model.config.final_logit_softcapping = 1.0
    trainer = trainer_of(trl, OBJECTIVES["siren"], tmp_path, model=model, max_steps=1)
    with pytest.raises(ModelError, match="soft cap or a scale"):
        trainer.train()


def test_statistics_beside_trls_own_are_exact(trl: Any, tmp_path: Path) -> None:
    """Nucleus entropy and sums of squares against a softmax of the logits."""
    from entropilot.policy.hosts.trl_measuring import MEASURABLE, measure_inputs
    from entropilot.policy.statistics import statistics_from_logits

    trainer = trainer_of(trl, Objective(), tmp_path, temperature=0.7)
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 256, (4, 9), generator=g)
    inputs = {
        "prompt_ids": ids[:, :3],
        "prompt_mask": torch.ones(4, 3).long(),
        "completion_ids": ids[:, 3:],
        "completion_mask": (torch.arange(6) < torch.tensor([[6], [1], [3], [5]])).long(),
        "tool_mask": torch.tensor([1, 0, 1, 1, 1, 1]).expand(4, 6),
    }
    wants = frozenset(MEASURABLE)
    found = measure_inputs(trainer, trainer.model, inputs, wants, 0.6).now
    mask = inputs["completion_mask"].bool() & inputs["tool_mask"].bool()
    logits = trainer.model(ids).logits[:, 2:-1] / 0.7
    exact: PolicyStatistics = statistics_from_logits(logits, ids[:, 3:], wants=wants, top_p=0.6)
    for name in MEASURABLE:
        torch.testing.assert_close(found.get(name)[mask], exact.get(name)[mask], atol=1e-5, rtol=0)
        assert not found.get(name)[~mask].any()
