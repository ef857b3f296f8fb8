"""What the studies on digit sums share: arms side by side, looked at on fresh problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.phase_entropy_reward import phase_entropy
from entropilot.policy.rollout.sampling import sample_rollouts
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.step_potential import overchecking
from entropilot.policy.training.bound_task import bind_token_task
from entropilot.policy.training.evaluation import EVAL_SEED
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.step_probes import probe_batch
from entropilot.policy.training.trainee import Annotate, Batch
from entropilot.studies.study import Measurement, Progress, Scale
from entropilot.studies.training_arms import SUMS, part, run_arm, sums_start

TASK: Final = bind_token_task(SUMS)
LEARNING_RATE: Final = 4e-4  # of all arms
ENDS_LATER: Final = 0.9  # potential above which the answer is there


@dataclass(frozen=True)
class Sizes:
    """What a scale runs."""

    updates: int  # rollout batches
    n_prompts: int
    n_fresh: int  # problems of a look, one answer each
    looks: tuple[int, ...]  # rollout batches after which the policy is looked at
    warm_up: int


SIZES: Final[dict[Scale, Sizes]] = {
    "smoke": Sizes(2, 4, 40, (0, 2), 20),
    "quick": Sizes(40, 48, 1000, (0, 2, 5, 10, 20, 30, 40), 900),
    "full": Sizes(200, 128, 4000, (0, 5, 10, 20, 40, 100, 200), 900),
}


def settings_of(scale: Scale, seed: int) -> TrainSettings:
    """The same for every arm."""
    size = SIZES[scale]
    return TrainSettings(
        steps=size.updates,
        n_prompts=size.n_prompts,
        n_answers=8,
        n_updates=2,
        learning_rate=LEARNING_RATE,
        evaluate_every=0,
        n_eval_problems=16,
        n_eval_answers=8,
        seed=seed,
    )


def look(policy: SmallPolicy, n: int, seed: int) -> dict[str, Any]:
    """One answer to each of ``n`` fresh problems, and what they say; probed at every step."""
    batch = fresh_batch(policy, n, seed)
    rollouts = batch.rollouts
    tokens, mask = rollouts.tokens, rollouts.mask
    probes = probe_batch(SUMS, batch)
    assert rollouts.step_id is not None
    assert rollouts.correct is not None
    over = overchecking(
        probes.potential, probes.valid, rollouts.step_id, mask, rollouts.correct, ENDS_LATER
    )
    assert rollouts.entropy is not None
    assert rollouts.think is not None
    assert rollouts.answer is not None
    h_think, h_answer = phase_entropy(rollouts.entropy, rollouts.think, rollouts.answer)
    lengths = rollouts.lengths.double().numpy()
    return {
        "accuracy": float(rollouts.correct.double().mean()),
        "tokens": float(lengths.mean()),
        "checks": float(SUMS.n_checks(tokens.numpy(), mask.numpy()).mean()),
        "h_think": float(h_think.mean()),
        "h_answer": float(h_answer.mean()),
        "right_to_wrong": float(over.right_to_wrong.double().mean()),
        "checking_tokens": float(over.checking_tokens.double().mean()),
        "length_entropy_correlation": float(np.corrcoef(lengths, h_think.numpy())[0, 1]),
    }


def fresh_batch(policy: SmallPolicy, n: int, seed: int) -> Batch:
    """One answer to each of ``n`` problems that training has not drawn, graded and annotated."""
    problems = list(TASK.problems(n, EVAL_SEED))
    prompts = [TASK.encode(problem) for problem in problems]
    samples = sample_rollouts(
        policy, prompts, 1, max_tokens=TASK.max_tokens, eos=TASK.eos, seed=seed
    )
    graded = TASK.grade(problems, samples.tokens, samples.mask)
    rollouts = Rollouts(
        samples.tokens,
        samples.mask,
        samples.logprob,
        graded.reward,
        torch.arange(n),
        entropy=samples.entropy,
        correct=graded.correct,
        **TASK.annotate(samples.tokens, samples.mask),
    )
    return Batch(policy, problems, prompts, rollouts, graded)


def measure_arms(
    scale: Scale,
    seed: int,
    progress: Progress,
    arms: Mapping[str, tuple[Objective, Annotate | None]],
    *,
    keep: Sequence[str] = (),
) -> tuple[Measurement, SmallPolicy]:
    """Every arm from the same start on the same prompts.

    Returns:
        ``{"looks": [...], "arms": {name: {..., "looks": [look of each]}}}`` and the start policy.
    """
    size = SIZES[scale]
    progress(0.0, "warming up the start policy")
    start = sums_start(seed, steps=size.warm_up)
    measured: dict[str, Any] = {}
    for number, (name, (objective, annotate)) in enumerate(arms.items()):
        looks: list[dict[str, Any]] = []

        def watch(step: int, policy: SmallPolicy, looks: list[dict[str, Any]] = looks) -> None:
            if step in size.looks:
                looks.append(look(policy, size.n_fresh, seed))

        row, _ = run_arm(
            start,
            TASK,
            objective,
            settings_of(scale, seed),
            annotate=annotate,
            keep=keep,
            watch=watch,
            progress=part(progress, number, len(arms), f"training '{name}'"),
        )
        measured[name] = {**row, "looks": looks}
    return {"looks": list(size.looks), "n_fresh": size.n_fresh, "arms": measured}, start


def at(measurement: Measurement, arm: str, update: int, name: str) -> float:
    """A number of an arm after some updates; the nearest earlier look where there is none."""
    looks: list[int] = measurement["looks"]
    index = max(i for i, step in enumerate(looks) if step <= update)
    return float(measurement["arms"][arm]["looks"][index][name])


def at_each_seed(
    measurements: Sequence[Measurement], arm: str, update: int, name: str
) -> list[float]:
    """``at`` of every seed."""
    return [at(m, arm, update, name) for m in measurements]
