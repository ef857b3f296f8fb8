"""An objective inside TRL's GRPOTrainer.

TRL draws, rewards and normalises by group as it is configured; the loss of every update is the
objective's. Log-probs and entropies are those that TRL measures.
"""

from __future__ import annotations

from typing import Any

from entropilot.errors import require
from entropilot.policy.hosts.tensors import host_loss
from entropilot.policy.objective import Objective, ObjectiveState


def objective_trainer(objective: Objective) -> Any:
    """A subclass of ``trl.GRPOTrainer`` that minimises the objective.

        Trainer = objective_trainer(find_recipe("clip-higher").objective())
        Trainer(model=..., reward_funcs=..., args=GRPOConfig(...), train_dataset=...).train()

    The loss is the mean over micro-batches of the objective on each: choices over the batch are
    over the micro-batch, as TRL has no other. The state of terms lives as long as the trainer.

    Args:
        objective: reward and advantage terms do not run; TRL's do.

    Raises:
        MissingExtraError: TRL is not installed.
        ConfigurationError: a term needs a statistic that TRL does not measure.
    """
    trl = require("trl", extra="trl", purpose="training with TRL")

    class ObjectiveTrainer(trl.GRPOTrainer):  # type: ignore[misc, name-defined]
        objective_state: ObjectiveState = {}  # noqa: RUF012 - exchanged, never changed in place

        def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
            import torch

            ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
            attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
            mask = inputs["completion_mask"]
            if "tool_mask" in inputs:
                mask = mask * inputs["tool_mask"]
            logprob, entropy, *_ = self._get_per_token_logps_and_entropies(
                model, ids, attention, inputs["completion_ids"].size(1), compute_entropy=True
            )
            old = inputs.get("old_per_token_logps")
            output = host_loss(
                objective,
                logprob=logprob,
                old_logprob=logprob.detach() if old is None else old,
                advantages=inputs["advantages"],
                mask=mask,
                entropy=entropy,
                reference_logprob=inputs.get("ref_per_token_logps"),
                state=self.objective_state,
            )
            self.objective_state = output.state
            mode = "train" if self.model.training else "eval"
            for name, value in output.metrics.items():
                self._metrics[mode][name].append(value)
            parts = self.current_gradient_accumulation_steps if mode == "train" else 1.0
            return output.loss / parts

    return ObjectiveTrainer
