"""Hidden states of a Hugging Face causal language model at the tokens of answers, with gradient.

Two ways that give the same numbers. *Whole*: prompt and answer in one sequence. *Shared*: what all
prompts begin with is read once, each prompt once, and the keys and values are repeated for its
answers; gradients of the answers add up in them. It pays where prompts are long beside the answers,
as few-shot prompts are. Padding stands on the right, where causal attention never looks.

Reading a prompt once is written three times, because three networks let different things be shared.
Here only a whole pass can be called, so the sharing goes through the model's own cache, a pass a
level: common beginning, prompts, answers. ``shared_states`` takes attention of our own transformer
apart and does prompts and answers in one pass. ``llama_states`` calls each layer's parts itself and
needs no padding outside of attention. What they have in common stands here (``prompt_plan``,
``different_prompts``, ``runs``, ``right_padded``) and in ``length_buckets``.

Legend: B answers, P different prompts, T tokens of the longest answer, N answer tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropilot.models.causal_decoding import SHARED_TOKENS, cache_argument, common_prefix
from entropilot.models.length_buckets import length_buckets

#: What a pass through the network costs besides its tokens, in tokens.
PER_PASS: Final = 64
#: Prompts are shared where that leaves at most this share of the tokens.
WORTH_SHARING: Final = 0.8

Ids = Sequence[int]


class _Read(NamedTuple):
    """Sequences that were read: what later tokens attend to."""

    layers: list[tuple[Tensor, Tensor]]  # keys and values [P, heads, L, d] of each layer
    here: Tensor  # [P, L] bool; False at padding
    length: Tensor  # [P] int64


class PromptPlan(NamedTuple):
    """Which prompts are there, and what they have in common."""

    prompts: list[Ids]  # P, all different
    owner: NDArray[np.int64]  # [B] prompt of each answer
    common: list[int]  # tokens that all prompts begin with


def answer_states(
    body: Any, prompts: Sequence[Ids], tokens: Tensor, lengths: Tensor, *, share: bool | None = None
) -> Tensor:
    """Hidden states [N, D] that predict the tokens of answers, answer after answer.

    Args:
        body: a transformers model without its head, such as ``LlamaModel``.
        prompts: B lists of token ids, none empty.
        tokens: [B, T] int64; any id after the end of an answer.
        lengths: [B] int64 tokens of each answer, in [0, T].
        share: read what prompts have in common once; None: where it saves a fifth of the tokens
            and the model's cache allows it. The results agree up to rounding.

    Examples:
        >>> from entropilot.models.tiny import tiny_parts
        >>> body = tiny_parts()[0].model
        >>> answers = torch.tensor([[7, 8, 9], [5, 0, 0]])
        >>> answer_states(body, [[1, 2]] * 2, answers, torch.tensor([3, 1])).shape
        torch.Size([4, 16])
    """
    n = lengths.cpu().numpy()
    plan = prompt_plan(prompts)
    if share is None:
        share = pays_to_share(plan, n) and _is_plain(body)
    if share:
        return _shared(body, plan, tokens, n)
    return states_in_buckets(
        lambda padded: body(input_ids=padded, use_cache=False).last_hidden_state,
        prompts,
        tokens,
        lengths,
    )


def states_in_buckets(
    run: Callable[[Tensor], Tensor],
    prompts: Sequence[Ids],
    tokens: Tensor,
    lengths: Tensor,
    *,
    per_pass: int = PER_PASS,
) -> Tensor:
    """Hidden states [N, D] that predict the tokens of answers, whatever the causal network.

    Sequences of similar length go through it side by side, padded on the right, where causal
    attention never looks: no mask, and positions that count from 0.

    Args:
        run: token ids [b, L] -> hidden states [b, L, D].
        prompts: B lists of token ids, none empty.
        tokens: [B, T] int64; any id after the end of an answer.
        lengths: [B] int64 tokens of each answer, in [0, T].
        per_pass: what a pass costs besides its tokens, in tokens.
    """
    n = lengths.cpu().numpy()
    found = _Collected(n, tokens.device)
    before = np.array([len(prompt) for prompt in prompts])
    used = np.flatnonzero(n)
    answers = tokens.tolist()
    for group in length_buckets((before + n)[used], per_pass):
        rows = used[group]
        ids = [[*prompts[r], *answers[r][: n[r] - 1]] for r in rows.tolist()]
        padded = right_padded(ids, tokens.device)
        first = np.arange(len(rows)) * padded.shape[1] + before[rows] - 1
        found.add(run(padded).flatten(0, 1), runs(first, n[rows]), runs(found.first[rows], n[rows]))
    return found.ordered()


def answer_lengths(mask: Tensor) -> Tensor:
    """Tokens of each answer up to the last that counts, [B] int64.

    Tokens before it that don't count, such as what a tool wrote, are still read.

    Args:
        mask: [B, T] bool.

    Examples:
        >>> mask = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0]]).bool()
        >>> answer_lengths(mask).tolist()
        [3, 0]
    """
    place = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (mask * place).amax(1)


def states_that_count(states: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    """Of the states at all answer tokens those at tokens that count, [N, D] in row-major order.

    Args:
        states: [sum of lengths, D], answer after answer.
        mask: [B, T] bool.
        lengths: ``answer_lengths(mask)``.

    Examples:
        >>> mask = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0]]).bool()
        >>> states = torch.arange(5.0)[:, None]
        >>> states_that_count(states, mask, answer_lengths(mask))[:, 0].tolist()
        [0.0, 2.0, 4.0]
    """
    read = torch.arange(mask.shape[1], device=mask.device) < lengths[:, None]
    counts = mask[read]
    return states if bool(counts.all()) else states[counts]


def different_prompts(prompts: Sequence[Ids]) -> tuple[list[Ids], NDArray[np.int64]]:
    """The different prompts, in the order of their first use, and which of them each answer has.

    Examples:
        >>> different, owner = different_prompts([[1, 2], [3], [1, 2]])
        >>> different, owner.tolist()
        ([(1, 2), (3,)], [0, 1, 0])
    """
    numbers: dict[tuple[int, ...], int] = {}
    owner = [numbers.setdefault(tuple(prompt), len(numbers)) for prompt in prompts]
    return list(numbers), np.asarray(owner, np.int64)


def prompt_plan(prompts: Sequence[Ids]) -> PromptPlan:
    """What the prompts of answers have in common.

    Examples:
        >>> plan = prompt_plan([[1, 2], [3], [1, 2]])
        >>> plan.prompts, plan.owner.tolist()
        ([(1, 2), (3,)], [0, 1, 0])
    """
    different, owner = different_prompts(prompts)
    common = common_prefix(different) if len(different) > 1 else []
    if len(common) < SHARED_TOKENS:
        common = []
    return PromptPlan(different, owner, common)


def pays_to_share(plan: PromptPlan, n: NDArray[np.int64]) -> bool:
    """Whether reading what prompts share once leaves at most ``WORTH_SHARING`` of the tokens.

    Args:
        plan: of the prompts.
        n: [B] tokens of each answer.

    Examples:
        >>> pays_to_share(prompt_plan([[1] * 9] * 8), np.full(8, 10))
        True
    """
    answers = int(np.maximum(n - 1, 0).sum())
    whole = sum(len(plan.prompts[i]) for i in plan.owner) + answers
    saved = len(plan.common) * (len(plan.prompts) - 1)
    shared = sum(map(len, plan.prompts)) - saved + answers
    return shared <= WORTH_SHARING * whole


def _is_plain(body: Any) -> bool:
    """Whether the cache of a model is keys and values of all tokens, and nothing else."""
    try:
        from transformers.cache_utils import DynamicCache, DynamicLayer

        layers = DynamicCache(config=body.config).layers
    except (ImportError, TypeError, AttributeError):  # an old version of transformers
        return False
    return all(type(layer) is DynamicLayer for layer in layers)


class _Collected:
    """Rows of states as they come, put in the order of the answers at the end."""

    def __init__(self, n: NDArray[np.int64], device: torch.device) -> None:
        self.first = np.cumsum(n) - n  # place of the first token of each answer
        self.device = device
        self.states: list[Tensor] = []
        self.places: list[NDArray[np.int64]] = []

    def add(self, states: Tensor, rows: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Rows of states [M, D] that belong to the places."""
        index = torch.from_numpy(rows).to(self.device)
        self.states.append(states.index_select(0, index))
        self.places.append(places)

    def ordered(self) -> Tensor:
        """[N, D]."""
        order = torch.from_numpy(np.argsort(np.concatenate(self.places))).to(self.device)
        return torch.cat(self.states).index_select(0, order)


def runs(first: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers first[i], first[i] + 1, ..., n[i] of them, one run after another.

    Examples:
        >>> runs(np.array([5, 0]), np.array([2, 3])).tolist()
        [5, 6, 0, 1, 2]
    """
    start = np.cumsum(n) - n
    runs: NDArray[np.int64] = np.repeat(first - start, n) + np.arange(n.sum())
    return runs


def _shared(body: Any, plan: PromptPlan, tokens: Tensor, n: NDArray[np.int64]) -> Tensor:
    found = _Collected(n, tokens.device)
    answers = tokens.tolist()
    skip = len(plan.common)
    root = None
    if skip:
        root = _read(body, None, None, [plan.common], tokens.device)[1]
    own = [list(prompt[skip:]) for prompt in plan.prompts]
    for bucket in length_buckets([len(ids) for ids in own], PER_PASS):
        parent = None if root is None else np.zeros(len(bucket), np.int64)
        ids = [own[p] for p in bucket]
        states, level = _read(body, root, parent, ids, tokens.device)
        last = np.arange(len(bucket)) * states.shape[1] + np.array([len(x) for x in ids]) - 1
        place = np.full(len(plan.prompts), -1)
        place[bucket] = np.arange(len(bucket))
        rows = np.flatnonzero((place[plan.owner] >= 0) & (n > 0))
        found.add(states.flatten(0, 1), last[place[plan.owner[rows]]], found.first[rows])
        longer = rows[n[rows] > 1]
        for group in length_buckets(n[longer], PER_PASS):
            some = longer[group]
            shown = [answers[r][: n[r] - 1] for r in some.tolist()]
            states, _ = _read(body, level, place[plan.owner[some]], shown, tokens.device)
            first = np.arange(len(some)) * states.shape[1]
            found.add(
                states.flatten(0, 1),
                runs(first, n[some] - 1),
                runs(found.first[some] + 1, n[some] - 1),
            )
    return found.ordered()


def _read(
    body: Any,
    before: _Read | None,
    parent: NDArray[np.int64] | None,
    rows: Sequence[Ids],
    device: torch.device,
) -> tuple[Tensor, _Read]:
    """Read rows, each after the sequence ``parent`` of those read before; states [R, L, D]."""
    from transformers import DynamicCache

    cache = DynamicCache(config=body.config)
    tokens = right_padded(rows, device)
    length = torch.tensor([len(row) for row in rows], device=device)
    here = torch.arange(tokens.shape[1], device=device) < length[:, None]
    position = torch.arange(tokens.shape[1], device=device).expand_as(tokens)
    seen = None
    if before is not None and parent is not None:
        index = torch.from_numpy(parent).to(device)
        for layer, (keys, values) in enumerate(before.layers):
            cache.update(keys.index_select(0, index), values.index_select(0, index), layer)
        start = before.length[index]
        position = position + start[:, None]
        here = torch.cat([before.here[index], here], 1)
        length = length + start
        seen = here.long()
    out = body(
        input_ids=tokens,
        use_cache=True,
        position_ids=position,
        attention_mask=seen,
        **cache_argument(body, cache),
    )
    layers = [(layer.keys, layer.values) for layer in cache.layers]
    return out.last_hidden_state, _Read(layers, here, length)


def right_padded(rows: Sequence[Ids], device: torch.device) -> Tensor:
    """Token ids [R, L] with zeros after the shorter rows."""
    width = max(map(len, rows))
    padded = [[*row, *[0] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int64, device=device)
