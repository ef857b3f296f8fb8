"""The two functions that value search asks for, from models of this project.

Legend: N texts, L tokens of the longest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import torch
from torch import nn

from entropilot.errors import ConfigurationError
from entropilot.models.decoding import Decoder
from entropilot.policy.rollout.sampling import HasDecoder, sample_rollouts
from entropilot.policy.value_search import Continuation, Generate, Tokens, Value


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

    A text is read once for all its continuations. Draws depend on the seed, the text and how often
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


def network_value(value: nn.Module, rows_per_batch: int = 1024) -> Value:
    """Value at the last token of each text.

    Args:
        value: (tokens [N, L], valid [N, L]) -> [N, L], such as ``ValueNetwork``.
        rows_per_batch: texts a pass.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> from entropilot.policy.value_network import ValueNetwork
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
