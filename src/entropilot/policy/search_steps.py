"""The two functions that value search asks for, from models of this project.

Legend: N texts, L tokens of the longest.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import torch
from torch import nn

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import auc
from entropilot.models.decoding import Decoder
from entropilot.models.prefix_cache import PrefixCache
from entropilot.policy.rollout.sampling import HasDecoder, sample_rollouts
from entropilot.policy.value_network import ValueNetwork
from entropilot.policy.value_search import Continuation, Generate, Tokens, Value

_WEAK: Final = 0.75  # AUC


def step_sampler(
    policy: HasDecoder | Decoder,
    *,
    step_ends: Collection[int],
    end: int,
    max_tokens: int,
    seed: int,
    temperature: float = 1.0,
    max_length: int | None = None,
) -> Generate:
    """Continue texts by one step: up to a step end, the end token, or ``max_tokens`` tokens.

    A text is read once for all its continuations; with a ``RememberingDecoder`` only what it has
    more than the texts of the call before. Draws depend on the seed, the text and how often
    it was asked for in the same call, so a search can be repeated exactly.

    Args:
        policy: a policy with a ``decoder()``, or a decoder.
        step_ends: tokens that end a step.
        end: the token that ends an answer.
        max_tokens: longest step, >= 1.
        seed: of all draws.
        temperature: of sampling; the paper has 1.
        max_length: tokens of prompt and answer, such as the context. A text without room for a step
            ends where it is, cut short. None: no limit, and too long a text is an error.

    Raises:
        ConfigurationError: no step ends, or the end token among them.

    Examples:
        >>> from entropilot.models.decoding import TransformerDecoder
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> decoder = TransformerDecoder(SmallTransformer.seeded(TransformerConfig(9), 0))
        >>> generate = step_sampler(decoder, step_ends={7}, end=8, max_tokens=5, seed=0)
        >>> [len(found) for found in generate([(1, 2), (3,)], 4)]
        [4, 4]
    """
    if not step_ends or end in step_ends:
        raise ConfigurationError(
            f"step_ends are {sorted(step_ends)} and the end token is {end}; expected at least one "
            "step end, and the end token not among them"
        )

    def generate(texts: Sequence[Tokens], n: int) -> list[list[Continuation]]:
        room = [max_length is None or len(t) + max_tokens <= max_length for t in texts]
        going = [text for text, fits in zip(texts, room, strict=True) if fits]
        found = iter(sampled(going, n) if going else ())
        cut = Continuation((), True)
        return [next(found) if fits else [cut] * n for fits in room]

    def sampled(texts: list[Tokens], n: int) -> list[list[Continuation]]:
        asked: Counter[Tokens] = Counter()
        names = []
        for text in texts:
            names.append(f"{','.join(map(str, text))}#{asked[text]}")
            asked[text] += 1
        samples = sample_rollouts(
            policy, texts, n, max_tokens=max_tokens, eos=[*step_ends, end], seed=seed,
            temperature=temperature, names=names,
        )  # fmt: skip
        rows = [
            tuple(tokens[:size].tolist())
            for tokens, size in zip(samples.tokens, samples.mask.sum(1).tolist(), strict=True)
        ]
        steps = [Continuation(row, row[-1] == end) for row in rows]
        return [steps[i * n : (i + 1) * n] for i in range(len(texts))]

    return generate


def remembering_value(value: ValueNetwork) -> Value:
    """As ``network_value``, but each call reads only what its texts have more than the last ones.

    For a search: its candidates begin with texts that were scored a step before. Make a new one
    after the weights have changed.

    Args:
        value: on a ``SmallTransformer``.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> network = ValueNetwork(SmallTransformer.seeded(TransformerConfig(9), 0), 0.5)
        >>> remembering_value(network)([(1, 2), (3,)])
        [0.5, 0.5]
    """
    cache = PrefixCache(value.trunk)

    @torch.inference_mode()
    def values(texts: Sequence[Tokens]) -> list[float]:
        found: list[float] = value.of_hidden(cache.read(texts)).tolist() if texts else []
        return found

    return values


def value_auc(value: Value, texts: Sequence[Tokens], right: Sequence[bool]) -> float:
    """How well values tell right texts from wrong ones; say it beside every result of a search.

    Args:
        value: of texts.
        texts: for example answers up to their last step.
        right: whether each turned out right.

    Returns:
        Area under the ROC curve; nan where all are right or all are wrong. Below 0.75 it warns.

    Raises:
        InputError: another number of verdicts than of texts.

    Examples:
        >>> value_auc(lambda texts: [t[0] for t in texts], [(1,), (2,), (3,)], [False, True, True])
        1.0
    """
    if len(texts) != len(right):
        raise InputError(f"there are {len(texts)} texts and {len(right)} verdicts; expected pairs")
    labels = np.array(right, dtype=bool)
    if len(set(labels.tolist())) < 2:
        return float("nan")
    found = float(auc(np.array(value(texts)), labels))
    if found < _WEAK:
        warnings.warn(
            f"the value tells right from wrong with an AUC of {found:.2f} only; a search by it "
            f"gains nothing below {_WEAK}. Train it longer, on more answers",
            stacklevel=2,
        )
    return found


def network_value(value: nn.Module, rows_per_batch: int = 1024) -> Value:
    """Value at the last token of each text.

    Args:
        value: (tokens [N, L], valid [N, L]) -> [N, L], such as ``ValueNetwork``.
        rows_per_batch: texts a pass.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> network = ValueNetwork(SmallTransformer.seeded(TransformerConfig(9), 0), 0.5)
        >>> network_value(network)([(1, 2), (3,)])
        [0.5, 0.5]
    """

    @torch.inference_mode()
    def values(texts: Sequence[Tokens]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(texts), rows_per_batch):
            part = texts[start : start + rows_per_batch]
            size = torch.tensor([len(text) for text in part])
            valid = torch.arange(int(size.max())) < size[:, None]
            tokens = torch.zeros(valid.shape, dtype=torch.int64)
            tokens[valid] = torch.tensor([t for text in part for t in text])
            out = value(tokens, valid).gather(1, size[:, None] - 1)[:, 0]
            found += out.tolist()
        return found

    return values
