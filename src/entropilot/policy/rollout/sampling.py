"""Sampling answers from a policy, with the log-prob and entropy of every token.

Prompts are read once a group and repeated; answers that are done leave the batch. Each answer draws
from its own random stream, keyed by the seed, the name of its prompt and its number: neither the
order of the prompts, nor their number, nor ``rows_per_batch`` changes its draws.

Legend: P prompts, B = P n_samples answers, T tokens of the longest answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.decoding import Decoder
from entropilot.policy.rollout.draws import Drawn, draw_tokens
from entropilot.policy.rollout.streams import uniform_streams


class HasDecoder(Protocol):
    """A policy that can be decoded."""

    def decoder(self) -> Decoder:
        """A decoder of the policy as it is now."""
        ...


@dataclass(frozen=True)
class Samples:
    """Answers to P prompts, n_samples each, those of a prompt together.

    ``logprobs_kind`` is "raw" when ``logprob`` and ``entropy`` are of the model's own distribution,
    and "sampling" when they are of the one after temperature, top-p and forbidden tokens, which the
    answers were drawn from. A log-prob measured later compares with the former at temperature 1
    only, and with the latter only under the same settings.
    """

    tokens: Tensor  # [B, T] int64; the padding token after the end
    mask: Tensor  # [B, T] bool; True on the answer, its end token included
    logprob: Tensor  # [B, T] float32, nats; 0 at padding
    entropy: Tensor  # [B, T] float32, nats; 0 at padding
    truncated: Tensor  # [B] bool; stopped by the length limit
    prompt_index: Tensor  # [B] int64; position of the prompt in the call
    logprobs_kind: str  # "raw" or "sampling"


@dataclass(frozen=True)
class _Settings:
    temperature: float
    top_p: float
    max_tokens: int
    eos: tuple[int, ...]
    allowed: Tensor | None  # [1 or max_tokens, V] bool


def sample_rollouts(
    policy: HasDecoder | Decoder,
    prompts: Sequence[Sequence[int]],
    n_samples: int,
    *,
    max_tokens: int,
    eos: int | Sequence[int] | None,
    seed: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    allowed: Tensor | None = None,
    names: Sequence[int | str] | None = None,
    pad: int = 0,
    rows_per_batch: int | None = None,
) -> Samples:
    """Draw ``n_samples`` answers to every prompt, and measure each of their tokens.

        p_t     = softmax(logits_t / temperature) over the allowed tokens, cut to its top-p nucleus
        token   ~ p_t ;  logprob = log p_t(token) ;  entropy = -sum p_t log p_t         nats

    Args:
        policy: a policy with a ``decoder()``, or a decoder.
        prompts: P lists of token ids, none empty.
        n_samples: answers a prompt, >= 1.
        max_tokens: longest answer, >= 1.
        eos: token or tokens that end an answer; None: all answers have max_tokens tokens.
        seed: of all draws of this call. Take another one at each training step.
        temperature: >= 0; at 0 the most likely token is taken, and log-prob and entropy are those
            of temperature 1.
        top_p: in (0, 1].
        allowed: [V] bool, tokens that may be drawn; or [max_tokens, V], one row a position.
        names: of the prompts, which key the random streams; 0, 1, ... by default. Equal names
            have equal draws.
        pad: token after the end of an answer.
        rows_per_batch: answers side by side; None: all. Costs memory, changes no draw. A group
            is never split.

    Returns:
        The answers; see ``Samples``.

    Raises:
        ConfigurationError: a setting is out of its range.
        InputError: a prompt is empty or leaves no room in the context, or the policy's logits are
            no distribution.

    Examples:
        >>> from entropilot.models.decoding import TransformerDecoder
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> decoder = TransformerDecoder(SmallTransformer.seeded(TransformerConfig(9), 0))
        >>> samples = sample_rollouts(decoder, [[1, 2], [3]], 4, max_tokens=5, eos=8, seed=0)
        >>> samples.tokens.shape[0], samples.prompt_index.tolist(), samples.logprobs_kind
        (8, [0, 0, 0, 0, 1, 1, 1, 1], 'raw')
    """
    decoder: Decoder = policy.decoder() if hasattr(policy, "decoder") else policy
    settings = _settings(decoder, temperature, top_p, max_tokens, eos, allowed)
    names = range(len(prompts)) if names is None else names
    _check(decoder, prompts, n_samples, names, settings)
    uniform = uniform_streams(seed, list(names), n_samples, max_tokens)
    group = len(prompts) if rows_per_batch is None else max(1, rows_per_batch // n_samples)
    steps: list[_Step] = []
    for start in range(0, len(prompts), group):
        chosen = prompts[start : start + group]
        rows = slice(start * n_samples, (start + len(chosen)) * n_samples)
        with torch.inference_mode():
            found = _run(decoder, chosen, n_samples, uniform[rows], settings)
        steps += [(live + rows.start, t, drawn) for live, t, drawn in found]
    return _assemble(steps, len(prompts), n_samples, settings, pad)


_Step = tuple[Tensor, int, Drawn]  # rows, position, what was drawn for them


def _run(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    n_samples: int,
    uniform: NDArray[np.float64],
    settings: _Settings,
) -> list[_Step]:
    """One batch, token after token; what each step left behind."""
    logits = decoder.prefill(prompts, settings.max_tokens).repeat_interleave(n_samples, 0)
    decoder.repeat(n_samples)
    eos = torch.tensor(settings.eos, device=logits.device)
    live = torch.arange(len(uniform))
    steps: list[_Step] = []
    for t in range(settings.max_tokens):
        if settings.allowed is not None:
            row = settings.allowed[min(t, len(settings.allowed) - 1)]
            logits = logits.masked_fill(~row, -torch.inf)
        drawn = draw_tokens(
            logits, uniform[live.numpy(), t],
            temperature=settings.temperature, top_p=settings.top_p,
        )  # fmt: skip
        steps.append((live, t, drawn))
        if t + 1 == settings.max_tokens:
            break
        token = drawn.token
        if len(eos):
            going = (token != eos if len(eos) == 1 else ~torch.isin(token, eos)).cpu().numpy()
            n_going = int(np.count_nonzero(going))
            if n_going == 0:
                break
            if n_going < len(going):
                order = torch.from_numpy(filled_up(going, n_going))
                live = live[order]
                on_device = order.to(token.device)
                token = token[on_device]
                decoder.keep(on_device)
        logits = decoder.step(token)
    return steps


def filled_up(going: NDArray[np.bool_], n: int) -> NDArray[np.int64]:
    """Rows that stay, in an order in which few of them move: the last ones fill the gaps.

    Examples:
        >>> filled_up(np.array([True, False, True, False, True]), 3).tolist()
        [0, 4, 2]
    """
    rows = np.arange(n)
    rows[~going[:n]] = np.flatnonzero(going[n:]) + n
    return rows


def _assemble(
    steps: list[_Step], n_prompts: int, n_samples: int, settings: _Settings, pad: int
) -> Samples:
    """Put the measurements of all steps into their places.

    Runs outside of inference mode: what it makes may enter a loss.
    """
    device = steps[0][2].token.device
    n_rows = n_prompts * n_samples
    length = max(t for _, t, _ in steps) + 1
    place = torch.cat([live * length + t for live, t, _ in steps]).to(device)

    def table(parts: list[Tensor], fill: float) -> Tensor:
        flat = torch.cat(parts)
        out = flat.new_full((n_rows * length,), fill)
        return out.index_copy_(0, place, flat).view(n_rows, length)

    tokens = table([drawn.token for _, _, drawn in steps], pad)
    mask = torch.zeros(n_rows * length, dtype=torch.bool, device=device)
    mask = mask.index_fill_(0, place, True).view(n_rows, length)
    last = tokens.gather(1, mask.sum(1, keepdim=True) - 1)[:, 0]
    is_end = torch.isin(last, torch.tensor(settings.eos, dtype=torch.int64, device=device))
    return Samples(
        tokens,
        mask,
        table([drawn.logprob for _, _, drawn in steps], 0.0),
        table([drawn.entropy for _, _, drawn in steps], 0.0),
        ~is_end,
        torch.arange(n_prompts, device=device).repeat_interleave(n_samples),
        _kind(settings),
    )


def _kind(settings: _Settings) -> str:
    is_raw = settings.temperature in (0, 1) and settings.top_p == 1 and settings.allowed is None
    return "raw" if is_raw else "sampling"


def _settings(
    decoder: Decoder,
    temperature: float,
    top_p: float,
    max_tokens: int,
    eos: int | Sequence[int] | None,
    allowed: Tensor | None,
) -> _Settings:
    ends = () if eos is None else (eos,) if isinstance(eos, int) else tuple(eos)
    for name, value, is_good, wanted in (
        ("temperature", temperature, 0 <= temperature < float("inf"), ">= 0"),
        ("top_p", top_p, 0 < top_p <= 1, "in (0, 1]"),
        ("max_tokens", max_tokens, max_tokens >= 1, ">= 1"),
    ):
        if not is_good:
            raise ConfigurationError(f"{name} is {value}; it must be {wanted}")
    if allowed is not None:
        if allowed.dtype != torch.bool or allowed.shape not in (
            (decoder.n_vocab,),
            (max_tokens, decoder.n_vocab),
        ):
            raise InputError(
                f"allowed has shape {tuple(allowed.shape)} and dtype {allowed.dtype}; expected "
                f"bool of shape [{decoder.n_vocab}] or [{max_tokens}, {decoder.n_vocab}]"
            )
        allowed = allowed.reshape(-1, decoder.n_vocab)
        if not bool(allowed.any(-1).all()):
            raise InputError("allowed forbids every token at some position; leave at least one")
    return _Settings(float(temperature), float(top_p), max_tokens, ends, allowed)


def _check(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    n_samples: int,
    names: Sequence[int | str],
    settings: _Settings,
) -> None:
    if n_samples < 1:
        raise ConfigurationError(f"n_samples is {n_samples}; ask for at least 1 answer a prompt")
    if not prompts:
        raise InputError("no prompts to sample from; give at least one")
    if len(names) != len(prompts):
        raise InputError(f"{len(names)} names for {len(prompts)} prompts; give one for each")
    if decoder.context is None:
        return
    longest = max(map(len, prompts), default=0)
    if longest + settings.max_tokens > decoder.context:
        raise InputError(
            f"the longest prompt has {longest} tokens; with max_tokens {settings.max_tokens} that "
            f"is more than the policy's context of {decoder.context}. Shorten the prompt or lower "
            "max_tokens"
        )
