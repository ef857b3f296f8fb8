"""Engines for SPAE's probes on models in this process: one pass an answer, or one a probe.

``TreeProbes`` reads an answer once with all its probes as branches: T + sum of branch tokens
instead of one prefix a probe. ``SeparateProbes`` is the plain form, to compare with.

Legend: L tokens of a chain, M tokens of an answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropilot.models.tree_attention import (
    Integers,
    TreeForward,
    tree_mask,
    tree_positions,
)
from entropilot.policy.probing import Forced, ProbeItem


@dataclass(frozen=True)
class SeparateProbes:
    """One pass for each probe, and for each token that is sampled.

    Args:
        forward: the model, from ``language_model_forward`` or ``small_transformer_forward``.
        temperature: of sampling; the distributions themselves are those at temperature 1.
        end: token ids that end a continuation, such as the closing brace.

    Examples:
        >>> from entropilot.models.loaders import load_model
        >>> from entropilot.models.tree_attention import language_model_forward
        >>> engine = SeparateProbes(language_model_forward(load_model("tiny")))
        >>> engine.forced([ProbeItem(0, 0, (72, 105), 2, (32,), (65, 66))])[0].logprob.shape
        torch.Size([2])
    """

    forward: TreeForward
    temperature: float = 0.6  # the reference script's
    end: tuple[int, ...] = ()

    def forced(self, items: Sequence[ProbeItem]) -> list[Forced]:
        """Log-probs and entropies along each item's answer."""
        rows = self._branches([(item, item.suffix, item.answer) for item in items])
        return [_forced(z, item.answer) for z, item in zip(rows, items, strict=True)]

    def sampled_entropies(
        self,
        items: Sequence[ProbeItem],
        n: int,
        max_new: int,
        generator: torch.Generator | None = None,
    ) -> list[list[Tensor]]:
        """Entropies along n sampled continuations of each item's context."""
        texts: list[list[int]] = [[] for _ in range(n * len(items))]
        entropies: list[list[Tensor]] = [[] for _ in texts]
        live = list(range(len(texts)))
        for _ in range(max_new):
            # the last position of suffix + text predicts the next token; (0,) asks for one row
            asked = [(items[i // n], items[i // n].suffix + tuple(texts[i]), (0,)) for i in live]
            rows = self._branches(asked)
            for i, z in zip(live, rows, strict=True):
                log_p = torch.log_softmax(z[0], -1)
                entropies[i].append(_entropy(log_p))
                p = torch.softmax(z[0] / self.temperature, -1)
                texts[i].append(int(torch.multinomial(p, 1, generator=generator)))
            live = [i for i in live if texts[i][-1] not in self.end]
            if not live:
                break
        return [
            [torch.stack(entropies[i]) for i in range(k * n, (k + 1) * n)]
            for k in range(len(items))
        ]

    def _branches(
        self, asked: Sequence[tuple[ProbeItem, tuple[int, ...], tuple[int, ...]]]
    ) -> list[Tensor]:
        """Logits [M, V] that predict the tokens of an answer after an item's text and a suffix."""
        found = []
        for item, suffix, answer in asked:
            ids = np.array(item.chain[: item.end] + suffix + answer[:-1], dtype=np.int64)
            rows = np.arange(len(ids) - len(answer), len(ids))
            found.append(torch.from_numpy(self.forward(ids, rows, None, None)).double())
        return found


@dataclass(frozen=True)
class TreeProbes(SeparateProbes):
    """One pass for all probes of an answer, and one for each token position that is sampled.

    Equal to ``SeparateProbes`` within rounding; arguments as there.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> from entropilot.models.tree_attention import small_transformer_forward
        >>> network = SmallTransformer.seeded(TransformerConfig(9), 0)
        >>> engine = TreeProbes(small_transformer_forward(network), end=(8,))
        >>> items = [ProbeItem(0, k, (1, 2, 3), k + 1, (7,), (4,)) for k in range(3)]
        >>> len(engine.forced(items))
        3
    """

    def _branches(
        self, asked: Sequence[tuple[ProbeItem, tuple[int, ...], tuple[int, ...]]]
    ) -> list[Tensor]:
        found: list[Tensor] = []
        for _, group in groupby(asked, key=lambda one: (one[0].row, one[0].chain)):
            together = list(group)
            chain = np.array(together[0][0].chain, dtype=np.int64)
            tails = [np.array(suffix + answer[:-1], np.int64) for _, suffix, answer in together]
            ends = np.array([item.end for item, _, _ in together])
            wanted = np.array([len(answer) for _, _, answer in together])
            logits = self._tree(chain, ends, tails, wanted)
            found.extend(torch.from_numpy(z).double() for z in logits)
        return found

    def _tree(
        self, chain: Integers, ends: Integers, tails: list[Integers], wanted: Integers
    ) -> list[NDArray[np.float32]]:
        sizes = np.array([len(tail) for tail in tails])
        if not sizes.min():  # a branch without tokens would be predicted by the chain itself
            return [
                self.forward(
                    np.append(chain[:e], t), np.arange(e + len(t) - m, e + len(t)), None, None
                )
                for e, t, m in zip(ends, tails, wanted, strict=True)
            ]
        last = len(chain) + np.cumsum(sizes)
        rows = np.concatenate([np.arange(b - m, b) for b, m in zip(last, wanted, strict=True)])
        logits = self.forward(
            np.concatenate([chain, *tails]),
            rows,
            tree_positions(len(chain), ends, sizes),
            tree_mask(len(chain), ends, sizes),
        )
        return np.split(logits, np.cumsum(wanted)[:-1])


def _forced(logits: Tensor, answer: tuple[int, ...]) -> Forced:
    log_p = torch.log_softmax(logits, -1)
    chosen = log_p.gather(-1, torch.tensor(answer)[:, None])[:, 0]
    return Forced(chosen, _entropy(log_p))


def _entropy(log_p: Tensor) -> Tensor:
    p = log_p.exp()
    return -((p * torch.where(p > 0, log_p, 0)).sum(-1).clamp(max=0))
