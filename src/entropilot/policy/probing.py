"""SPAE's probe: what would the policy answer after each reasoning step? (arXiv 2601.03823)

At the end of every step the thinking is cut short with a suffix that asks for the answer. How
probable the right answer is then is the step's accuracy, how certain the policy is its confidence.
Everything is measured with the policy that sampled and carries no gradient.

Legend: B answers, T tokens, K steps, M tokens of a right answer, N continuations of L tokens.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.phases import check_mask, find_tag
from entropilot.policy.step_potential import step_potential

SUFFIX: Final = "**Final Answer**\n\\boxed{"  # the reference script's, one newline
DELIMITER: Final = ".\n\n"
MISSING: Final = -10.0  # log-prob the reference script takes for a token outside the top 20


class StepSplit(NamedTuple):
    """Steps of answers by token."""

    step_id: Tensor  # [B, T] int64: 0..K-1 probed step, K tail, -1 summary, -2 outside the mask
    boundaries: Tensor  # [B, K] int64: last token of each step, -1 where there is none


@dataclass(frozen=True)
class ProbeItem:
    """One question to the policy: how likely is the answer after so much of a text and a suffix?"""

    row: int
    step: int
    chain: tuple[int, ...]  # prompt and answer up to the last probed step, shared by a row's items
    end: int  # tokens of the chain that are read
    suffix: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def context(self) -> tuple[int, ...]:
        """The text that is read before the answer."""
        return self.chain[: self.end] + self.suffix


class Forced(NamedTuple):
    """What the policy thinks of a right answer that is put in its mouth."""

    logprob: Tensor  # [M] nats, of the answer's tokens
    entropy: Tensor  # [M] nats, of the distributions they are taken from


class ProbeEngine(Protocol):
    """Whatever can run probes: see ``probe_engines``."""

    def forced(self, items: Sequence[ProbeItem]) -> list[Forced]:
        """Log-probs and entropies along each item's answer."""

    def sampled_entropies(
        self, items: Sequence[ProbeItem], n: int, max_new: int, generator: torch.Generator | None
    ) -> list[list[Tensor]]:
        """Entropies [L] along n sampled continuations of each item's context."""


class Probes(NamedTuple):
    """What probing an answer's steps gave, [B, K] each; 0 where invalid."""

    accuracy: Tensor
    confidence: Tensor
    potential: Tensor
    valid: Tensor  # bool, which steps were probed


def delimiter_ids(texts: Sequence[str], delimiter: str = DELIMITER) -> tuple[int, ...]:
    r"""Token ids whose text ends with the delimiter: each of them ends a step.

    Args:
        texts: text of every token id, in order.
        delimiter: what a step ends with.

    Raises:
        ConfigurationError: no token ends with it.

    Examples:
        >>> delimiter_ids(["a", ".\n\n", "b.\n\n", "\n"])
        (1, 2)
    """
    ids = tuple(i for i, text in enumerate(texts) if text.endswith(delimiter))
    if not ids:
        ends = Counter(t[-2:] for t in texts if t.endswith("\n")).most_common(5)
        raise ConfigurationError(
            f"no token ends with the delimiter {delimiter!r}; tokens with line ends end most often "
            f"with {[end for end, _ in ends]}"
        )
    return ids


def split_steps(
    tokens: Tensor,
    mask: Tensor,
    ends: Sequence[int],
    think_end: int | Sequence[int],
    texts: Sequence[str] | None = None,
) -> StepSplit:
    """Steps of the thinking phase: each ends at a token of ``ends``, before the first end tag.

    Args:
        tokens: [B, T] int64.
        mask: [B, T] bool.
        ends: token ids that end a step, from ``delimiter_ids``.
        think_end: the tag after which the summary begins; without it all is thinking.
        texts: text of every token id, to name frequent line ends where ``ends`` never occur.

    Returns:
        ``StepSplit``. Thinking tokens after the last end are the tail, with id K of that answer.

    Raises:
        InputError: shapes differ.
        ConfigurationError: no ends, or a tag that is no token.

    Examples:
        >>> split = split_steps(torch.tensor([[1, 2, 1, 1, 9, 3]]), torch.ones(1, 6).bool(), [2], 9)
        >>> split.step_id.tolist(), split.boundaries.tolist()
        ([[0, 0, 1, 1, -1, -1]], [[1]])

    Source: arXiv 2601.03823; the reference repository's probe script. The tail is ours.
    """
    check_mask(tokens, mask, "tokens")
    if not ends:
        raise ConfigurationError("ends is empty; name the tokens that end a step")
    found = find_tag(tokens, think_end, mask)
    place = torch.arange(tokens.shape[1], device=tokens.device)
    thinking = mask & (place < torch.where(found < 0, tokens.shape[1], found)[:, None])
    last = thinking & torch.isin(tokens, torch.as_tensor(list(ends), device=tokens.device))
    count = last.long().cumsum(1)
    step = torch.where(thinking, count - last.long(), torch.where(mask, -1, -2))
    n_steps = int(last.sum(1).max()) if tokens.numel() else 0
    if n_steps == 0:
        _warn_no_steps(tokens, mask, texts)
    boundaries = torch.full((tokens.shape[0], n_steps), -1, device=tokens.device)
    row, at = last.nonzero(as_tuple=True)
    boundaries[row, count[row, at] - 1] = at
    return StepSplit(step, boundaries)


def encode_answers(
    encode: Callable[[str], Sequence[int]], answers: Sequence[str]
) -> list[list[int]]:
    """Token ids of right answers, checked.

    Args:
        encode: text to token ids, nothing added.
        answers: one an answer of the policy.

    Raises:
        InputError: an answer is no text, is empty, holds the closing brace, or has no tokens.

    Examples:
        >>> encode_answers(lambda text: [ord(c) for c in text], ["42"])
        [[52, 50]]
    """
    found = []
    for i, answer in enumerate(answers):
        if not isinstance(answer, str) or not answer.strip():
            raise InputError(
                f"the right answer {i} is {answer!r}; expected a text that is not empty"
            )
        if answer.count("}") > answer.count("{"):
            raise InputError(
                f"the right answer {i}, {answer!r}, holds the brace that closes the probe; give "
                "the text inside the braces"
            )
        ids = list(encode(answer))
        if not ids:
            raise InputError(f"the right answer {i}, {answer!r}, has no tokens")
        found.append(ids)
    return found


def probe_request(
    prompts: Sequence[Sequence[int]],
    tokens: Tensor,
    boundaries: Tensor,
    suffix: Sequence[int],
    answers: Sequence[Sequence[int]],
    max_probes: int | None = None,
) -> list[ProbeItem]:
    """The probes of a batch, by answer and step; any engine may run them.

    Args:
        prompts: B prompts, token ids.
        tokens: [B, T] int64 answers, padded on the right.
        boundaries: [B, K] from ``split_steps``.
        suffix: token ids that ask for the answer.
        answers: B right answers, token ids, at least one each.
        max_probes: at most so many steps an answer, evenly spread, the last among them; None: all.

    Raises:
        InputError: counts differ, or a right answer is empty.
        ConfigurationError: max_probes below 1.

    Examples:
        >>> items = probe_request([[7]], torch.tensor([[1, 2, 1]]), torch.tensor([[1]]), [8], [[5]])
        >>> items[0].context, items[0].answer
        ((7, 1, 2, 8), (5,))
    """
    n = tokens.shape[0]
    if len(prompts) != n or len(answers) != n or boundaries.shape[0] != n:
        raise InputError(
            f"{n} answers have {len(prompts)} prompts, {len(answers)} right answers and "
            f"{boundaries.shape[0]} rows of boundaries; expected one of each"
        )
    if max_probes is not None and max_probes < 1:
        raise ConfigurationError(f"max_probes is {max_probes}; expected at least 1, or None")
    items = []
    for row in range(n):
        answer = tuple(int(i) for i in answers[row])
        if not answer:
            raise InputError(f"the right answer of answer {row} has no tokens")
        ends = [int(b) for b in boundaries[row] if b >= 0]
        if not ends:
            continue
        prompt = [int(i) for i in prompts[row]]
        chain = tuple(prompt + [int(i) for i in tokens[row, : ends[-1] + 1]])
        for step in _thinned(len(ends), max_probes):
            end = len(prompt) + ends[step] + 1
            items.append(ProbeItem(row, step, chain, end, tuple(map(int, suffix)), answer))
    return items


def confidence(entropies: Tensor, lengths: Tensor) -> Tensor:
    """Mean over continuations of exp(-mean entropy), in (0, 1].

        conf = (1/N) sum_n exp( -(1/L_n) sum_{l <= L_n} H_{n,l} )

    Args:
        entropies: [..., N, L] nats; anything beyond a continuation's length.
        lengths: [..., N] int64, >= 1.

    Raises:
        InputError: a continuation without tokens, or an entropy below 0 or nan.

    Examples:
        >>> confidence(torch.zeros(1, 3), torch.tensor([3])).item()
        1.0
    """
    inside = torch.arange(entropies.shape[-1], device=entropies.device) < lengths[..., None]
    if bool((lengths < 1).any()):
        raise InputError("a sampled continuation has no token; sample at least one")
    if bool((inside & ~(entropies >= -1e-4)).any()):  # half precision rounds below 0
        raise InputError("an entropy of a continuation is below 0 or nan; expected nats, >= 0")
    mean = torch.where(inside, entropies.clamp(min=0), 0).sum(-1) / lengths
    return (-mean).exp().mean(-1)


def correctness(forced_logprob: Tensor, answer_mask: Tensor) -> Tensor:
    """Mean probability of the right answer's tokens, each after the right ones before it: [...].

    Args:
        forced_logprob: [..., M] nats.
        answer_mask: [..., M] bool.

    Raises:
        InputError: an answer without tokens.

    Examples:
        >>> correctness(torch.tensor([0.5, 0.25]).log(), torch.tensor([True, True])).item()
        0.375
    """
    count = answer_mask.sum(-1)
    if bool((count < 1).any()):
        raise InputError("a right answer has no tokens")
    return torch.where(answer_mask, forced_logprob, -torch.inf).exp().sum(-1) / count


def probe_steps(
    engine: ProbeEngine,
    items: Sequence[ProbeItem],
    boundaries: Tensor,
    *,
    kind: Literal["sampled", "forced"] = "sampled",
    n: int = 5,
    max_new: int = 10,
    use_confidence: bool = True,
    generator: torch.Generator | None = None,
) -> Probes:
    """Run the probes and give each step its potential, ready for the rollouts.

    Args:
        engine: who runs them.
        items: from ``probe_request``. Several for one step (forms of the answer): the form with
            the highest accuracy counts.
        boundaries: [B, K] from ``split_steps``.
        kind: "sampled" takes the confidence from continuations, as the paper; "forced" from the
            entropies along the right answer (one pass, no sampling; exact for one token).
        n: sampled continuations.
        max_new: tokens of each.
        use_confidence: False gives potential = accuracy.
        generator: for sampling.

    Returns:
        ``Probes``.

    Raises:
        ConfigurationError: unknown kind.

    Source: arXiv 2601.03823.
    """
    if kind not in ("sampled", "forced"):
        raise ConfigurationError(unknown_name("kind of confidence", kind, ("sampled", "forced")))
    device = boundaries.device
    accuracy, sure = (torch.zeros(boundaries.shape, device=device) for _ in range(2))
    valid = torch.zeros(boundaries.shape, dtype=torch.bool, device=device)
    forced = engine.forced(items)
    seen = [f.entropy[None] for f in forced]
    spread = [list(e) for e in seen]
    if kind == "sampled":
        spread = engine.sampled_entropies(items, n, max_new, generator)
    for item, found, entropies in zip(items, forced, spread, strict=True):
        at = (item.row, item.step)
        right = found.logprob.exp().mean()
        if not valid[at] or right > accuracy[at]:
            accuracy[at] = right
            sure[at] = torch.stack([(-e.clamp(min=0).mean()).exp() for e in entropies]).mean()
        valid[at] = True
    potential = step_potential(accuracy, sure, use_confidence=use_confidence)
    return Probes(accuracy, sure, torch.where(valid, potential, 0), valid)


def reference_code_probe(
    top_logprobs: Sequence[Sequence[Mapping[str, float]]], answer: Sequence[str]
) -> tuple[list[float], list[float]]:
    """Accuracy and confidence of each continuation as the published script computes them.

        acc  = exp(sum log p(y_m)) / M      conf = exp(-sum H_m) / M      over the first M positions

    The sums are inside the exponential and the division outside, so for an answer of M tokens both
    are at most 1/M and the potential never reaches the script's own threshold of 0.9. Kept to
    compare with; ``confidence`` and ``correctness`` follow the paper.

    Args:
        top_logprobs: N continuations, a map from token to log-prob for each position.
        answer: M tokens.

    Returns:
        Accuracy [N] and confidence [N].

    Examples:
        >>> reference_code_probe([[{"4": 0.0}, {"2": 0.0}]], ["4", "2"])
        ([0.5], [0.5])

    Source: the reference repository's probe script.
    """
    right, sure = [], []
    for positions in top_logprobs:
        used = list(zip(positions, answer, strict=False))
        total = sum(top.get(token, MISSING) for top, token in used)
        entropy = -sum(math.exp(v) * v for top, _ in used for v in top.values())
        right.append(math.exp(total) / len(used))
        sure.append(math.exp(-entropy) / len(used))
    return right, sure


def _thinned(n: int, at_most: int | None) -> list[int]:
    if at_most is None or n <= at_most:
        return list(range(n))
    if at_most == 1:
        return [n - 1]
    return sorted({round(x) for x in np.linspace(0, n - 1, at_most)})


def _warn_no_steps(tokens: Tensor, mask: Tensor, texts: Sequence[str] | None) -> None:
    hint = ""
    if texts is not None:
        counts = Counter(texts[i] for i in tokens[mask].tolist() if texts[i].endswith("\n"))
        hint = f" Most frequent tokens with a line end: {[t for t, _ in counts.most_common(5)]}."
    warnings.warn(
        f"no token of the batch ends a step, so no step can be probed.{hint} Is the delimiter the "
        "one that the policy writes?",
        stacklevel=3,
    )
