"""Statistics of a network on a rollout batch, with or without gradient.

Legend: B answers, T tokens, N tokens that count, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

import torch
from torch import Tensor

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
    if policy.n_vocab <= STORED_VOCABULARY or "kl_to_reference" in wanted:
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


def head_logits(policy: PolicyModel, hidden: Tensor) -> Tensor:
    """Logits [N, V] in float32 or better."""
    logits = torch.nn.functional.linear(hidden, policy.head_weight, policy.head_bias)
    logits = logits[..., : policy.n_vocab]
    return logits if logits.dtype == torch.float64 else logits.float()


def unpack(values: Tensor, mask: Tensor) -> Tensor:
    """[N] values of the tokens that count, in row-major order, as [B, T] with 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


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
