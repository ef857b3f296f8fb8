"""An objective inside TRL's GRPOTrainer.

    Trainer = objective_trainer(find_recipe("siren").objective({"coef": 1.0}))
    Trainer(model=..., reward_funcs=..., args=GRPOConfig(...), train_dataset=...).train()

TRL draws the answers and calls the reward functions. All else is the objective's: its reward and
advantage terms run where TRL turns rewards into advantages, over the whole rollout batch; its loss
is evaluated once an optimizer step, over all micro-batches of all processes. So a choice of tokens,
a square of a mean or a schedule does not depend on how the batch is cut for memory; with gradient
accumulation that costs one more forward pass without gradient.

The state of the terms is saved in TRL's checkpoints (``entropilot_objective.json``) and restored
from them. Metrics go where TRL's go, under the names that ``MEANINGS`` explains.

Legend: B answers, C completion tokens.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import deque
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from entropilot.errors import ConfigurationError, require
from entropilot.policy.hosts.host_state import load_state, save_state
from entropilot.policy.hosts.tensors import check_measured
from entropilot.policy.hosts.trl_advantages import Annotate, exchange_advantages
from entropilot.policy.hosts.trl_measuring import MEASURABLE
from entropilot.policy.hosts.trl_updates import Part, evaluation_loss, open_window, part_loss
from entropilot.policy.objective import Objective, ObjectiveState

SUPPORTED: Final = "trl >= 1.16, < 2"

#: What of GRPOTrainer is overridden or called.
_HOOKS: Final = (
    *("_generate_and_score_completions", "_calculate_rewards", "_compute_loss"),
    *("_get_per_token_logps_and_entropies", "_save_checkpoint", "_load_optimizer_and_scheduler"),
)
#: Settings of GRPOConfig that the objective replaces.
_REPLACED: Final = (
    *("loss_type", "epsilon", "epsilon_high", "delta", "importance_sampling_level"),
    *("scale_rewards", "multi_objective_aggregation", "top_entropy_quantile", "entropy_coef"),
    *("use_adaptive_entropy", "off_policy_mask_threshold"),
)


def objective_trainer(objective: Objective, *, annotate: Annotate | None = None) -> Any:
    """A subclass of ``trl.GRPOTrainer`` that trains for the objective.

    It takes the arguments of ``GRPOTrainer``. Settings of ``GRPOConfig`` that the objective
    replaces (``loss_type``, ``epsilon``, ``scale_rewards``, ``entropy_coef``, ...) are warned of
    where they are set. Terms that act off-policy only (KL-Cov, clip-higher) need several updates a
    rollout: ``steps_per_generation`` above ``gradient_accumulation_steps``, or ``num_iterations``.

    Args:
        objective: nothing is on unless it is named, a KL to the reference included.
        annotate: fills in fields of the rollouts (phases, verdicts, step potentials) that reward or
            advantage terms read. Entropies are there.

    Raises:
        MissingExtraError: TRL is not installed.
        ConfigurationError: this release of TRL is not supported, or a term needs a statistic that
            can't be measured in TRL.
    """
    trl = require("trl", extra="trl", purpose="training with TRL")
    _check_release(trl)
    check_measured(objective, MEASURABLE, host="TRL")

    class ObjectiveTrainer(trl.GRPOTrainer):  # type: ignore[misc, name-defined]
        objective_state: ObjectiveState

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.objective_state = {}
            self._parts: deque[Part] = deque()
            self._n_done = 0  # micro-batches of this optimizer step
            _warn_of_replaced(self.args, objective)

        def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
            rewards: Tensor = super()._calculate_rewards(*args, **kwargs)
            self._rewards_seen = rewards
            return rewards

        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
            batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
            n = self.num_generations if self.model.training else self.num_generations_eval
            if n > 1:
                state = exchange_advantages(
                    *(self, objective, batch, self._rewards_seen, n, self.objective_state),
                    annotate,
                )
                if self.model.training:
                    self.objective_state = state
            return batch

        def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
            if not self.model.training:
                return evaluation_loss(self, objective, model, inputs, self.objective_state)
            if not self._parts:
                parts, self.objective_state = open_window(
                    self, objective, model, inputs, self.objective_state, self._n_done
                )
                self._parts.extend(parts)
            self._n_done = (self._n_done + 1) % self.current_gradient_accumulation_steps
            return part_loss(self, objective, model, inputs, self._parts.popleft())

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            if self.args.should_save:  # before TRL's own, so that no checkpoint of its lacks it
                name = f"checkpoint-{self.state.global_step}"
                folder = Path(self._get_output_dir(trial=trial)) / name
                save_state(folder, objective, self.objective_state)
            super()._save_checkpoint(model, trial)

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            super()._load_optimizer_and_scheduler(checkpoint)
            if checkpoint is not None:
                self.objective_state = load_state(Path(checkpoint), objective)

    return ObjectiveTrainer


def _check_release(trl: Any) -> None:
    missing = [name for name in _HOOKS if not hasattr(trl.GRPOTrainer, name)]
    if missing:
        raise ConfigurationError(
            f"TRL {trl.__version__} has no GRPOTrainer.{missing[0]}, through which an objective "
            f"runs; supported are {SUPPORTED}. Run: pip install 'entropilot[trl]'"
        )


def _warn_of_replaced(args: Any, objective: Objective) -> None:
    plain = {field.name: field.default for field in dataclasses.fields(type(args))}
    changed = [
        f"{name}={getattr(args, name)!r}"
        for name in _REPLACED
        if name in plain and getattr(args, name) != plain[name]
    ]
    if args.beta and not any(term.name == "reference-kl" for term in objective.terms):
        changed.append(f"beta={args.beta!r} (add the term reference_penalty({args.beta!r}))")
    if changed:
        warnings.warn(
            f"these settings of GRPOConfig have no effect, since the objective decides what they "
            f"do: {', '.join(changed)}. The objective is {objective.describe()}",
            stacklevel=3,
        )
