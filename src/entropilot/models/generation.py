"""The inner loop of sampling: one batch of answers, token after token, every token measured.

Legend: B answers in a batch, T tokens of a prompt, V vocabulary, K listed alternatives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entropilot.information import js_divergence_from_logits, token_statistics
from entropilot.models.loaders import LanguageModel

if TYPE_CHECKING:
    from entropilot.models.causal_decoding import Prefix


@dataclass(frozen=True)
class Settings:
    """What is asked of every batch."""

    temperatures: tuple[float, ...]
    top_p: float
    max_tokens: int
    stop: tuple[bytes, ...]
    seed: int
    n_top: int


@dataclass
class Batch:
    """What the rows of a batch left behind, by step; row r is problem r // n_samples."""

    n_rows: int
    finish: list[str]
    row: list[NDArray[np.int64]] = field(default_factory=list)
    token: list[NDArray[np.int64]] = field(default_factory=list)
    logprob: list[NDArray[np.float32]] = field(default_factory=list)
    top: list[NDArray[np.int32]] = field(default_factory=list)
    top_logprob: list[NDArray[np.float32]] = field(default_factory=list)
    entropy: list[NDArray[np.float32]] = field(default_factory=list)
    jsd: list[NDArray[np.float32]] = field(default_factory=list)


def run_batch(
    model: LanguageModel,
    prefix: Prefix,
    ids: Sequence[list[int]],
    names: Sequence[str],
    *,
    settings: Settings,
    report: Callable[[int, int, int], None],
) -> Batch:
    """Answers to a few prompts, side by side.

    Args:
        model: the model.
        prefix: of the tokens that all prompts begin with.
        ids: tokens of each prompt, prefix included.
        names: of the problems; they key the random streams.
        settings: what is asked for.
        report: called after each token with (answers running, of them finished now, token number).

    Returns:
        The columns of the batch; answers in the order of the prompts, samples together.
    """
    import torch

    from entropilot.models.causal_decoding import CausalDecoder

    n_samples = len(settings.temperatures)
    n_rows = len(ids) * n_samples
    batch = Batch(n_rows, ["length"] * n_rows)
    decoder = CausalDecoder(model.model, n_vocab=model.n_vocab, prefix=prefix)
    logits = decoder.prefill(ids, settings.max_tokens).repeat_interleave(n_samples, 0)
    decoder.repeat(n_samples)
    temperature = torch.tensor(settings.temperatures).repeat(len(ids))[:, None]
    uniform = torch.from_numpy(_uniforms(settings, names))
    live = np.arange(n_rows)
    written = [bytearray() for _ in range(n_rows)]
    before = None
    for t in range(settings.max_tokens):
        logits = logits.float()
        token = draw(logits, temperature, settings.top_p, uniform[live, t])
        _record(batch, live, token, logits, before=before, n_top=settings.n_top)
        done = _stopped(model, settings.stop, [written[row] for row in live], token.tolist())
        for row in live[done]:
            batch.finish[row] = "stop"
        if t + 1 == settings.max_tokens:
            done[:] = True
        report(len(live), int(done.sum()), t)
        keep = np.flatnonzero(~done)
        if not len(keep):
            break
        if len(keep) < len(live):
            kept = torch.from_numpy(keep)
            decoder.keep(kept)
            live = live[keep]
            token, logits, temperature = token[kept], logits[kept], temperature[kept]
        before = logits
        logits = decoder.step(token)
    return batch


def _uniforms(settings: Settings, names: Sequence[str]) -> NDArray[np.float64]:
    """Draws in [0, 1), [B, max_tokens], each row from its own stream."""
    rows = []
    for name in names:
        for number in range(len(settings.temperatures)):
            key = hashlib.sha256(f"{settings.seed}\0{name}\0{number}".encode()).digest()
            stream = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
            rows.append(stream.random(settings.max_tokens))
    return np.array(rows)


def draw(logits: Any, temperature: Any, top_p: float, uniform: Any) -> Any:
    """Token ids [B] by inversion of the cumulative distribution; the most likely at temperature 0.

    One uniform number a token: a rounding difference between batch sizes can change the token only
    where the number falls within that rounding of a boundary.
    """
    import torch

    best = logits.argmax(-1)
    if not bool((temperature > 0).any()):
        return best
    p = torch.softmax(logits / temperature.clamp(min=1e-6), -1)
    if top_p < 1:
        ordered, order = p.sort(-1, descending=True)
        outside = ordered.cumsum(-1) - ordered >= top_p  # the token that crosses top_p is still in
        p = p.masked_fill(outside.gather(-1, order.argsort(-1)), 0)
    cumulative = p.cumsum(-1, dtype=torch.float64)
    target = uniform[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, target, right=True)[:, 0]
    drawn = drawn.clamp(max=logits.shape[-1] - 1)
    return torch.where(temperature[:, 0] > 0, drawn, best)


def _record(
    batch: Batch, live: NDArray[np.int64], token: Any, logits: Any, *, before: Any, n_top: int
) -> None:
    """Measure the distributions [rows, V] of one step; ``before`` is one step earlier."""
    top = logits.topk(min(n_top, logits.shape[-1]), -1)
    x = logits.numpy()
    found = token_statistics(x, token.numpy())
    batch.row.append(live)
    batch.token.append(token.numpy())
    batch.logprob.append(np.asarray(found.logprob))
    batch.top.append(top.indices.numpy().astype(np.int32))
    batch.top_logprob.append(top.values.numpy() - found.logsumexp[:, None])
    batch.entropy.append(found.entropy)
    if before is None:
        batch.jsd.append(np.full(len(live), np.nan, np.float32))
    else:
        batch.jsd.append(js_divergence_from_logits(before.numpy(), x))


def _stopped(
    model: LanguageModel, stop: tuple[bytes, ...], written: list[bytearray], tokens: list[int]
) -> NDArray[np.bool_]:
    """Which rows end with this token; ``written`` grows by its text."""
    done = np.zeros(len(tokens), bool)
    longest = max(map(len, stop), default=0)
    for i, (text, token) in enumerate(zip(written, tokens, strict=True)):
        piece = model.token_bytes(token)
        text += piece
        tail = text[-(len(piece) + longest) :]
        done[i] = token in model.eos or any(mark in tail for mark in stop)
    return done
