"""Supervised warm-up: the start policy that reinforcement learning begins from.

Legend: B demonstrations, P prompt tokens, T answer tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from entropilot.errors import ConfigurationError
from entropilot.models.smollm2 import cache_folder
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.tasks.task import TokenTask

#: (logits [B, T, V], answer tokens [B, T], mask [B, T]) -> scalar
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

_STREAM: Final = 0x5741524D  # of demonstrations, apart from other users of a seed


def cross_entropy(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean surprisal of the answer tokens that count, nats."""
    return functional.cross_entropy(logits[mask], tokens[mask])


@dataclass(frozen=True)
class WarmUp:
    """Settings of a warm-up.

    Args:
        steps: updates.
        batch_size: fresh demonstrations an update.
        learning_rate: highest, of AdamW without decay.
        beta2: of AdamW.
        rise: updates until the learning rate is reached; then a cosine to a tenth of it.
        clip_norm: largest gradient norm.
        seed: of weights and demonstrations.
        network: sizes of the transformer, besides vocabulary and context.

    Examples:
        >>> WarmUp(steps=480).learning_rate
        0.002
    """

    steps: int = 800
    batch_size: int = 256
    learning_rate: float = 2e-3
    beta2: float = 0.98
    rise: int = 50
    clip_norm: float = 1.0
    seed: int = 0
    network: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "rise"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def rate_at(self, step: int) -> float:
        """Learning rate of an update, counted from 0."""
        if step < self.rise:
            return self.learning_rate * (step + 1) / self.rise
        share = min(1.0, (step - self.rise) / max(1, self.steps - self.rise))
        return self.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def warm_up(
    task: TokenTask,
    settings: WarmUp,
    *,
    loss: Loss = cross_entropy,
    progress: Callable[[int, float], None] = lambda _step, _loss: None,
) -> SmallTransformer:
    """Train a fresh transformer on demonstrations.

    Args:
        task: with a vocabulary of its own.
        settings: sizes and seed.
        loss: what is minimised on the answer tokens.
        progress: called after each update with its number and loss.

    Returns:
        The trained network, equal for equal settings on one machine.
    """
    random = np.random.default_rng((_STREAM, settings.seed))
    shape = task.demonstrations(1, np.random.default_rng(0))
    context = shape.prompt.shape[1] + task.max_tokens + 1  # room for the suffix of a probe
    config = TransformerConfig(task.n_vocab, **({"context": context} | dict(settings.network)))
    model = SmallTransformer.seeded(config, settings.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, settings.beta2),
        weight_decay=0.0,
        fused=True,
    )
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate_at(step)
        logits, tokens, mask = _demonstrated(model, task, settings.batch_size, random)
        value = loss(logits, tokens, mask)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        progress(step + 1, float(value.detach()))
    return model.eval()


@torch.no_grad()
def held_out(model: SmallTransformer, task: TokenTask, n: int = 2048) -> tuple[float, float]:
    """Cross-entropy and entropy (nats a token) on demonstrations that no warm-up has seen."""
    logits, tokens, mask = _demonstrated(model, task, n, np.random.default_rng((_STREAM, 1 << 40)))
    log_p = torch.log_softmax(logits[mask], -1)
    surprisal = -log_p.gather(-1, tokens[mask][:, None]).mean()
    return float(surprisal), float(-(log_p.exp() * log_p).sum(-1).mean())


def cached_start(
    task: TokenTask,
    settings: WarmUp,
    *,
    loss: Loss = cross_entropy,
    loss_name: str = "cross-entropy",
    folder: Path | None = None,
    progress: Callable[[int, float], None] = lambda _step, _loss: None,
) -> SmallTransformer:
    """The result of ``warm_up``, computed once for its settings and then read from the cache.

    Args:
        task: see ``warm_up``.
        settings: see ``warm_up``.
        loss: see ``warm_up``.
        loss_name: names the loss with its settings; part of the key of the cache.
        folder: of the cache; None means the user's.
        progress: see ``warm_up``; not called where the result is read.
    """
    key = {
        "task": repr(task),
        "settings": {**asdict(settings), "network": dict(settings.network)},
        "loss": loss_name,
        "torch": torch.__version__.split("+")[0],
        "version": 2,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    place = (folder or cache_folder() / "starts") / digest
    if not (place / "key.json").is_file():
        shutil.rmtree(place, ignore_errors=True)
        model = warm_up(task, settings, loss=loss, progress=progress)
        model.save(place)
        from entropilot.files import write_atomically

        write_atomically(place / "key.json", json.dumps(key, indent=1))  # last: now it is whole
    return SmallTransformer.load(place).eval()


def _demonstrated(
    model: SmallTransformer, task: TokenTask, n: int, random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits at the answer positions of fresh demonstrations, the answers and their mask."""
    shown = task.demonstrations(n, random)
    prompt, answer = torch.from_numpy(shown.prompt), torch.from_numpy(shown.response)
    mask = torch.from_numpy(shown.mask)
    tokens = torch.cat([prompt, answer], 1)
    logits = model(tokens[:, :-1])[:, prompt.shape[1] - 1 :]
    return logits, answer, mask
