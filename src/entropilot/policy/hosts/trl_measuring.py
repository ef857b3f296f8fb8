"""Statistics of the current policy inside TRL's GRPOTrainer.

TRL measures log-probs and entropies in its fused head and nothing else. What else a term reads
(nucleus entropy, sums of squares) is measured from the same hidden states, caught on their way to
the head, without a second forward pass and without logits.

Legend: B answers, P prompt tokens, C completion tokens, D width, V vocabulary. Nats.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, ModelError
from entropilot.policy.statistics import PolicyStatistics
from entropilot.policy.training.measuring import unpack

FREE: Final = frozenset({"logprob", "entropy"})  # what TRL's own head gives
MEASURABLE: Final = (*FREE, "varentropy", "nucleus_entropy", "sum_p2", "sum_p2_logp")
_HEAD_GAP: Final = 0.1  # nats; a rounded head is nearer, a soft cap or a scale is not


class Measured(NamedTuple):
    """Statistics [B, C] of a batch of TRL's, and the loss of its experts."""

    now: PolicyStatistics
    auxiliary: Tensor | None  # load balancing of a mixture of experts


def measure_inputs(
    trainer: Any,
    model: Any,
    inputs: Mapping[str, Any],
    wants: frozenset[str],
    top_p: float,
    *,
    rows: int | None = None,
) -> Measured:
    """Statistics of the completions of one of TRL's batches; a graph where gradients are on.

    Args:
        trainer: a ``GRPOTrainer``.
        model: the network as the trainer wraps it.
        inputs: a batch as TRL prepares it.
        wants: fields of ``PolicyStatistics``, of ``MEASURABLE``.
        top_p: mass of the nucleus.
        rows: answers side by side; None takes all.

    Raises:
        ModelError: the model changes its logits after the head.
        ConfigurationError: the head's weights are not there (ZeRO stage 3).
    """
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    n = inputs["completion_ids"].shape[1]
    measure = trainer._get_per_token_logps_and_entropies
    known = inspect.signature(measure).parameters
    extra = wants - FREE
    states: list[Tensor] = []
    with ExitStack() as stack:
        if extra:
            states = stack.enter_context(_hidden_states(trainer, model))
        logprob, entropy, auxiliary = measure(
            model,
            ids,
            attention,
            n,
            batch_size=rows,
            compute_entropy=True,
            compute_aux_loss=bool(getattr(trainer, "aux_loss_enabled", False)),
            **{name: value for name, value in inputs.items() if name in known},
        )
    if not extra:
        return Measured(PolicyStatistics(logprob=logprob, entropy=entropy), auxiliary)
    mask = answer_mask(inputs)
    hidden = torch.cat([state[:, -n - 1 : -1] for state in states])
    now = _from_hidden(trainer, model, hidden, inputs["completion_ids"], mask, wants, top_p)
    gap = (now.logprob - logprob).detach()[mask].abs()
    if gap.numel() and float(gap.mean()) > _HEAD_GAP:
        kind = type(_causal(trainer, model)).__name__
        raise ModelError(
            f"the log-probs of {kind} are {float(gap.mean()):.3g} nats off those of its hidden "
            "states times its head (a soft cap or a scale), so "
            f"{', '.join(sorted(extra))} can't be measured; use a recipe that reads log-probs and "
            "entropies only"
        )
    return Measured(now, auxiliary)


def answer_mask(inputs: Mapping[str, Any]) -> Tensor:
    """[B, C] bool, completion tokens that count: not padding, not the output of a tool."""
    mask: Tensor = inputs["completion_mask"]
    if "tool_mask" in inputs:
        mask = mask * inputs["tool_mask"]
    return mask.bool()


def _from_hidden(
    trainer: Any,
    model: Any,
    hidden: Tensor,
    tokens: Tensor,
    mask: Tensor,
    wants: frozenset[str],
    top_p: float,
) -> PolicyStatistics:
    from entropilot.information import head_statistics

    wanted = wants | FREE
    head = _causal(trainer, model).get_output_embeddings()
    weight, bias = (_whole(value) for value in (head.weight, getattr(head, "bias", None)))
    found = head_statistics(
        hidden[mask],
        weight,
        tokens[mask],
        bias=bias,
        temperature=trainer.temperature,
        wants=tuple(sorted(wanted)),
        top_p=top_p if "nucleus_entropy" in wanted else None,
    )
    return PolicyStatistics(**{name: unpack(getattr(found, name), mask) for name in wanted})


@contextmanager
def _hidden_states(trainer: Any, model: Any) -> Iterator[list[Tensor]]:
    """Collects the last hidden states [B, P+C, D] of every pass through the network."""
    seen: list[Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        seen.append(output[0])

    with _causal(trainer, model).base_model.register_forward_hook(keep):
        yield seen


def _causal(trainer: Any, model: Any) -> Any:
    """The transformers model beneath wrappers and adapters."""
    plain = trainer.accelerator.unwrap_model(model)
    return plain.get_base_model() if hasattr(plain, "peft_config") else plain


def _whole(weight: Any) -> Any:
    """A parameter of the head, gathered where it is sharded."""
    if weight is None:
        return None
    if hasattr(weight, "full_tensor"):
        return weight.full_tensor()
    if weight.numel() == 0:
        raise ConfigurationError(
            "the weights of the head are sharded away (ZeRO stage 3), so only log-probs and "
            "entropies are measured; use ZeRO stage 2 or FSDP, or a recipe that reads no more"
        )
    return weight
