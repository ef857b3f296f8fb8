"""Sampling from a local language model, with the full distribution measured at every token.

Legend: B answers in a batch, T tokens of a prompt, V vocabulary, K listed alternatives.

The part that all prompts share (a few-shot prefix) is computed once. Answers that are done leave
the batch. Each answer draws from its own random stream, keyed by the seed, the name of its problem
and its number, so that neither the batch size nor the other problems of a run change its draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.generation import Batch, Settings, run_batch
from entropilot.models.loaders import LanguageModel
from entropilot.traces.table import (
    Tokens,
    Traces,
    Vocabulary,
    concatenate,
    empty_traces,
    ragged_offsets,
    trace_rows,
)

#: Share of the work done in [0, 1], and what is being done.
Progress = Callable[[float, str], None]

#: Decoding speed of SmolLM2 on one core by rows side by side: 16 -> 126, 64 -> 159, 192 -> 121
#: tokens/s. Each step copies the keys and values of all rows, which outweighs larger products.
ROWS_PER_BATCH: Final = 64


def sample(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    n_samples: int = 4,
    temperature: float | Sequence[float] = 0.7,
    top_p: float = 1.0,
    max_tokens: int = 64,
    stop: Sequence[str] = ("\n",),
    seed: int = 0,
    top_k_logprobs: int = 20,
    groups: Sequence[str] | None = None,
    rows_per_batch: int = ROWS_PER_BATCH,
    progress: Progress = lambda _share, _message: None,
) -> Traces:
    """Draw ``n_samples`` answers to every prompt, and measure each of their tokens.

        p_t     = softmax(logits_t)                      the model's own distribution, temperature 1
        entropy = -sum p_t log p_t                       nats, all V outcomes
        jsd     = JS divergence(p_t, p_{t-1})            nats, all V outcomes; nan at t = 0
        token   ~ softmax(logits_t / temperature), cut to its top-p nucleus

    Args:
        model: from ``load_model``.
        prompts: plain texts; nothing is added to them.
        n_samples: answers a prompt, >= 1.
        temperature: >= 0, one for all or one a sample; 0 takes the most likely token.
        top_p: in (0, 1]; the smallest set of tokens with that much probability is drawn from.
        max_tokens: longest answer, >= 1.
        stop: an answer ends with the token in which one of these texts is complete. The token
            stays in the token table, ``text`` is cut before the stop text.
        seed: of all random draws.
        top_k_logprobs: K, recorded alternatives a token, most likely first.
        groups: name of each prompt's problem; "0", "1", ... by default. Names must differ.
        rows_per_batch: answers that run side by side; costs memory, changes no draw.
        progress: called after each token step with the share done and a sentence with the rate.

    Returns:
        Traces in the order of the prompts, samples of one prompt together. ``id`` is
        "<group>-s<number>", ``finish_reason`` "stop" or "length", ``logprobs_kind`` "raw".

    Raises:
        ConfigurationError: a setting is out of its range.
        InputError: no prompts, equal group names, or a prompt that leaves no room in the context.

    Examples:
        >>> from entropilot.models.loaders import load_model
        >>> traces = sample(load_model("tiny"), ["2 + 2 ="], n_samples=2, max_tokens=4, stop=())
        >>> traces.tokens.lengths.tolist(), traces.tokens.top_piece.shape
        ([4, 4], (8, 20))
    """
    parts = list(
        sample_batches(
            model,
            prompts,
            n_samples=n_samples,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            stop=stop,
            seed=seed,
            top_k_logprobs=top_k_logprobs,
            groups=groups,
            rows_per_batch=rows_per_batch,
            progress=progress,
        )
    )
    return concatenate(parts) if parts else empty_traces()


def sample_batches(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    n_samples: int = 4,
    temperature: float | Sequence[float] = 0.7,
    top_p: float = 1.0,
    max_tokens: int = 64,
    stop: Sequence[str] = ("\n",),
    seed: int = 0,
    top_k_logprobs: int = 20,
    groups: Sequence[str] | None = None,
    rows_per_batch: int = ROWS_PER_BATCH,
    progress: Progress = lambda _share, _message: None,
) -> Iterator[Traces]:
    """Like ``sample``, but hands over the traces of each batch of problems when they are done.

    Examples:
        >>> from entropilot.models.loaders import load_model
        >>> model = load_model("tiny")
        >>> parts = sample_batches(model, [*"abc"], n_samples=2, max_tokens=2, rows_per_batch=4)
        >>> [len(part) for part in parts]
        [4, 2]
    """
    from entropilot.models.causal_decoding import Prefix, common_prefix

    temperatures = _temperatures(temperature, n_samples)
    names = [str(i) for i in range(len(prompts))] if groups is None else list(groups)
    settings = Settings(
        temperatures, top_p, max_tokens, tuple(s.encode() for s in stop), seed, top_k_logprobs
    )
    _check(settings, names, prompts, rows_per_batch)
    ids = [model.encode(prompt) for prompt in prompts]
    _check_lengths(ids, names, model, max_tokens)
    shared = common_prefix(ids)
    with _inference_mode():
        prefix = Prefix.of(model.model, shared)
    meter = _Meter(len(prompts) * n_samples, max_tokens, progress)
    n_problems = max(1, rows_per_batch // n_samples)
    for first in range(0, len(prompts), n_problems):
        chosen = slice(first, first + n_problems)
        with _inference_mode():
            batch = run_batch(
                model, prefix, ids[chosen], names[chosen], settings=settings, report=meter.step
            )
        yield _as_traces(model, batch, prompts[chosen], names[chosen], settings)


def _temperatures(temperature: float | Sequence[float], n_samples: int) -> tuple[float, ...]:
    if n_samples < 1:
        raise ConfigurationError(f"n_samples is {n_samples}; ask for at least 1 answer a prompt")
    if isinstance(temperature, Sequence):
        if len(temperature) != n_samples:
            raise ConfigurationError(
                f"{len(temperature)} temperatures for {n_samples} samples; give one or {n_samples}"
            )
        return tuple(float(t) for t in temperature)
    return (float(temperature),) * n_samples


def _check(
    settings: Settings, names: Sequence[str], prompts: Sequence[str], rows_per_batch: int
) -> None:
    ranges = [
        ("temperature", min(settings.temperatures), min(settings.temperatures) >= 0, ">= 0"),
        ("top_p", settings.top_p, 0 < settings.top_p <= 1, "in (0, 1]"),
        ("max_tokens", settings.max_tokens, settings.max_tokens >= 1, ">= 1"),
        ("top_k_logprobs", settings.n_top, settings.n_top >= 1, ">= 1"),
        ("rows_per_batch", rows_per_batch, rows_per_batch >= 1, ">= 1"),
    ]
    for name, value, is_good, wanted in ranges:
        if not is_good:
            raise ConfigurationError(f"{name} is {value}; it must be {wanted}")
    if isinstance(prompts, str):
        raise InputError("prompts is one text; give a list of texts")
    if not prompts:
        raise InputError("no prompts to sample from; give at least one")
    if len(names) != len(prompts) or len(set(names)) != len(names):
        raise InputError(
            f"{len(prompts)} prompts need {len(prompts)} different group names, "
            f"got {len(names)} names of which {len(set(names))} differ"
        )
    if any(not text for text in settings.stop):
        raise ConfigurationError("a stop text is empty; leave it out")


def _check_lengths(
    ids: Sequence[list[int]], names: Sequence[str], model: LanguageModel, max_tokens: int
) -> None:
    for name, row in zip(names, ids, strict=True):
        if not row:
            raise InputError(f"the prompt of {name!r} is empty; give a text to continue")
        if len(row) + max_tokens > model.context:
            raise InputError(
                f"the prompt of {name!r} has {len(row)} tokens; with max_tokens {max_tokens} that "
                f"is more than the context of {model.context} tokens of {model.name}. "
                "Shorten the prompt or lower max_tokens."
            )


def _inference_mode() -> Any:
    import torch

    return torch.inference_mode()


def _as_traces(
    model: LanguageModel,
    batch: Batch,
    prompts: Sequence[str],
    names: Sequence[str],
    settings: Settings,
) -> Traces:
    n_samples = len(settings.temperatures)
    row = np.concatenate(batch.row)
    order = np.argsort(row, kind="stable")  # by row, then by step
    offsets = ragged_offsets(np.bincount(row, minlength=batch.n_rows))
    token = np.concatenate(batch.token)[order]
    top = np.concatenate(batch.top)[order]
    used, position = np.unique(np.concatenate([token, top.ravel()]), return_inverse=True)
    place: NDArray[np.int32] = np.asarray(position, dtype=np.int32)
    vocabulary = Vocabulary.from_pieces([model.token_bytes(int(i)) for i in used], used)
    tokens = Tokens(
        offsets,
        place[: len(token)],
        np.concatenate(batch.logprob)[order],
        place[len(token) :].reshape(top.shape),
        np.concatenate(batch.top_logprob)[order],
        np.full(len(token), top.shape[1], np.int16),
        np.concatenate(batch.entropy)[order],
        np.concatenate(batch.jsd)[order],
    )
    texts = [
        _text(model, token[offsets[i] : offsets[i + 1]].tolist(), settings.stop)
        for i in range(batch.n_rows)
    ]
    columns = {
        "id": [f"{name}-s{j}" for name in names for j in range(n_samples)],
        "group": [name for name in names for _ in range(n_samples)],
        "prompt": [prompt for prompt in prompts for _ in range(n_samples)],
        "text": texts,
        "finish_reason": batch.finish,
        "model": [model.name] * batch.n_rows,
        "temperature": list(settings.temperatures) * len(names),
        "logprobs_kind": ["raw"] * batch.n_rows,
    }
    return Traces(trace_rows(columns, batch.n_rows), tokens, vocabulary)


def _text(model: LanguageModel, tokens: list[int], stop: tuple[bytes, ...]) -> str:
    if tokens and tokens[-1] in model.eos:
        tokens = tokens[:-1]
    text = b"".join(map(model.token_bytes, tokens))
    ends = [at for at in (text.find(mark) for mark in stop) if at >= 0]
    return text[: min(ends, default=len(text))].decode("utf-8", errors="replace")


class _Meter:
    """Share done and rate, for the progress line."""

    def __init__(self, n_rows: int, max_tokens: int, progress: Progress) -> None:
        self.n_rows, self.max_tokens, self.progress = n_rows, max_tokens, progress
        self.n_done = self.n_tokens = 0
        self.start = time.perf_counter()

    def step(self, n_live: int, n_finished: int, t: int) -> None:
        self.n_tokens += n_live
        self.n_done += n_finished
        rate = self.n_tokens / max(time.perf_counter() - self.start, 1e-9)
        running = (n_live - n_finished) * (t + 1) / self.max_tokens  # half way counts a half
        self.progress(
            min(1.0, (self.n_done + running) / self.n_rows),
            f"{self.n_done}/{self.n_rows} answers, {self.n_tokens} tokens, {rate:.0f} tokens/s",
        )
