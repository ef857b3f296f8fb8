"""Statistics of a network on a rollout batch, with or without gradient.

Legend: B answers, T tokens, N tokens that count, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from entropilot.information._linear import linear
from entropilot.policy.models import PolicyModel
from entropilot.policy.statistics import PolicyStatistics, statistics_from_logits

#: Up to this vocabulary logits are stored; beyond it the head is fused and they never are.
STORED_VOCABULARY: Final = 1024

Prompts = Sequence[Sequence[int]]


def measure(
    policy: PolicyModel,
    prompts: Prompts,
    tokens: Tensor,
    mask: Tensor,
    *,
    wants: Iterable[str] = ("logprob", "entropy"),
    temperature: float = 1.0,
    top_p: float = 0.8,
    reference: PolicyModel | None = None,
) -> PolicyStatistics:
    """Statistics [B, T] of the distributions that predict the tokens of answers.

    A graph is built where torch's gradient mode is on. Positions off the mask are 0.

    Args:
        policy: the network.
        prompts: B prompts as token ids.
        tokens: [B, T] int64 answer tokens.
        mask: [B, T] bool, tokens that count.
        wants: fields of ``PolicyStatistics``.
        temperature: of the distributions.
        top_p: mass of the nucleus of ``nucleus_entropy``.
        reference: frozen network of ``kl_to_reference``.

    Returns:
        Statistics, [B, T].
    """
    hidden = policy.response_hidden(prompts, tokens, mask)
    wanted = frozenset(wants) - {"value"}
    targets = tokens[mask]
    if not _is_fused(policy, wanted):
        reference_logits = None
        if reference is not None and "kl_to_reference" in wanted:
            with torch.no_grad():
                states = reference.response_hidden(prompts, tokens, mask)
                reference_logits = head_logits(reference, states) / temperature
        logits = head_logits(policy, hidden) / temperature
        packed = statistics_from_logits(
            logits, targets, wants=wanted, top_p=top_p, reference_logits=reference_logits
        )
    else:
        packed = _fused(policy, hidden, targets, wanted, temperature, top_p)
    return packed.map(lambda value: unpack(value, mask))


def send_back(
    policy: PolicyModel,
    prompts: Prompts,
    tokens: Tensor,
    mask: Tensor,
    slopes: Mapping[str, Tensor],
    *,
    temperature: float = 1.0,
    top_p: float = 0.8,
    reference: PolicyModel | None = None,
) -> None:
    """Add to the gradients of a network, where dLoss/dstatistic of its statistics is known.

    A fused head then forms its gradients in the same pass as the logits: three products where
    ``measure`` and a backward take four.

    Args:
        policy: the network; its ``grad`` fields are added to.
        prompts: B prompts as token ids.
        tokens: [B, T] int64 answer tokens.
        mask: [B, T] bool, tokens that count.
        slopes: name of a statistic -> [B, T] dLoss/dstatistic.
        temperature: of the distributions.
        top_p: mass of the nucleus of ``nucleus_entropy``.
        reference: frozen network of ``kl_to_reference``.
    """
    if not slopes:
        return
    if not _is_fused(policy, frozenset(slopes)):
        found = measure(
            policy, prompts, tokens, mask, wants=slopes,
            temperature=temperature, top_p=top_p, reference=reference,
        )  # fmt: skip
        torch.autograd.backward([found.get(name) for name in slopes], list(slopes.values()))
        return
    from entropilot.information import head_gradients

    hidden = policy.response_hidden(prompts, tokens, mask)
    weight, bias = policy.head_weight, policy.head_bias
    gradients = head_gradients(
        hidden.detach(),
        weight,
        tokens[mask],
        {name: slope[mask] for name, slope in slopes.items()},
        bias=bias,
        temperature=temperature,
        n_vocab=policy.n_vocab,
        wants=(),
        top_p=top_p if "nucleus_entropy" in slopes else None,
        weight_gradient=weight.requires_grad,
    )
    _add_gradient(weight, gradients.weight)
    _add_gradient(bias, gradients.bias)
    if hidden.requires_grad:
        torch.autograd.backward(hidden, torch.as_tensor(gradients.hidden).to(hidden.dtype))


def head_logits(policy: PolicyModel, hidden: Tensor) -> Tensor:
    """Logits [N, V] in float32 or better."""
    logits = linear(hidden, policy.head_weight, policy.head_bias)
    logits = logits[..., : policy.n_vocab]
    return logits if logits.dtype == torch.float64 else logits.float()


def unpack(values: Tensor, mask: Tensor) -> Tensor:
    """[N] values of the tokens that count, in row-major order, as [B, T] with 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def _is_fused(policy: PolicyModel, wanted: frozenset[str]) -> bool:
    return policy.n_vocab > STORED_VOCABULARY and "kl_to_reference" not in wanted


def _add_gradient(parameter: Tensor | None, gradient: Any) -> None:
    if parameter is None or gradient is None or not parameter.requires_grad:
        return
    gradient = gradient.to(parameter.dtype)
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _fused(
    policy: PolicyModel,
    hidden: Tensor,
    targets: Tensor,
    wanted: frozenset[str],
    temperature: float,
    top_p: float,
) -> PolicyStatistics:
    from entropilot.information import head_statistics

    found = head_statistics(
        hidden,
        policy.head_weight,
        targets,
        bias=policy.head_bias,
        temperature=temperature,
        n_vocab=policy.n_vocab,
        wants=tuple(sorted(wanted | {"logprob"})),
        top_p=top_p if "nucleus_entropy" in wanted else None,
    )
    names = {field.name for field in dataclasses.fields(PolicyStatistics)}
    fields = {n: v for n, v in found._asdict().items() if n in names and n in wanted | {"logprob"}}
    return PolicyStatistics(**fields)
