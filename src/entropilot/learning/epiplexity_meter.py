"""Epiplexity as a meter: what a training run has learnt so far, and what stays noise, per step.

    S_t = sum_{i <= t} n_i l_i  -  N_t L_t           structure, bits
    H_t = D L_t                                      entropy of the D tokens to be coded, bits

with l_i the loss of step i before its update, on fresh data, n_i its tokens, N_t their sum, and L_t
the loss of the model now: held-out where the loop says one, else the mean over the last steps.

Source: arXiv 2601.03220, Section 4 (prequential). With a learning rate that decays, points before
the end are no valid ends of a run: the model could not have stopped there at its best.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from entropilot.errors import InputError
from entropilot.information import training_flop

BITS: Final = 1 / math.log(2)


@dataclass(frozen=True)
class EpiplexityMeter:
    """A step meter for ``MeterRecorder``: say ``recorder.step(loss=..., tokens=...)`` each step.

    It logs ``S_bits``, ``H_bits``, ``loss_now`` (nats a token) and, where parameters are given,
    ``flop``: enough for ``mdl_frontier`` over several runs. Losses are nats a token, measured in
    training before the update.

    Args:
        test_tokens: D, tokens to be coded; None takes the tokens seen so far.
        tokens_per_step: where the loop does not say ``tokens``.
        window: steps whose mean loss stands for the model now, where no held-out loss was said.
        parameters: of the model, embeddings included; None logs no compute.
        dataset_tokens: size of the training set; a second epoch is warned of.
        loss: name under which the loop says the loss.
        held_out: name under which it says a held-out loss, whenever it has one.
        name: first part of the metrics' names.

    Examples:
        >>> meter = EpiplexityMeter(test_tokens=1000, tokens_per_step=100, window=2)
        >>> state = meter.init()
        >>> for step, loss in enumerate([1.0, 0.6, 0.5, 0.5], 1):
        ...     found, state = meter.advance(state, step, {"loss": loss})
        >>> round(found["S_bits"], 1), round(found["H_bits"], 1)
        (86.6, 721.3)
    """

    test_tokens: float | None = None
    tokens_per_step: float | None = None
    window: int = 50
    parameters: int | None = None
    dataset_tokens: float | None = None
    loss: str = "loss"
    held_out: str = "held_out_loss"
    name: str = "epiplexity"

    def init(self) -> dict[str, Any]:
        """Nothing seen."""
        return {"nats": 0.0, "tokens": 0.0, "recent": [], "held_out": None, "warned": False}

    def advance(
        self, state: dict[str, Any], step: int, values: Mapping[str, float]
    ) -> tuple[Mapping[str, float], dict[str, Any]]:
        """Numbers after one more step, and the state to go on with.

        Raises:
            InputError: the loop said no loss, no tokens, or a loss that is not finite.
        """
        loss, n = self._said(step, values)
        kept = [*state["recent"], [loss, n]][-max(1, self.window) :]
        held_out = values.get(self.held_out, state["held_out"])
        tokens, warned = state["tokens"] + n, state["warned"]
        if self.dataset_tokens is not None and tokens > self.dataset_tokens and not warned:
            warned = True
            warnings.warn(
                f"step {step} has seen {tokens:.0f} tokens of a data set of "
                f"{self.dataset_tokens:.0f}: prequential coding needs fresh data, and S of a "
                "second epoch counts what was learnt by heart",
                stacklevel=3,
            )
        made = {
            "nats": state["nats"] + loss * n,
            "tokens": tokens,
            "recent": kept,
            "held_out": None if held_out is None else float(held_out),
            "warned": warned,
        }
        now = made["held_out"]
        if now is None:
            now = sum(x * m for x, m in kept) / max(sum(m for _, m in kept), 1e-300)
        d = tokens if self.test_tokens is None else self.test_tokens
        found = {
            "S_bits": (made["nats"] - tokens * now) * BITS,
            "H_bits": d * now * BITS,
            "loss_now": now,
        }
        if self.parameters is not None:
            found["flop"] = float(training_flop(self.parameters, tokens, d))
        return found, made

    def _said(self, step: int, values: Mapping[str, float]) -> tuple[float, float]:
        if self.loss not in values:
            raise InputError(
                f"step {step} says no {self.loss!r}; call recorder.step({self.loss}=loss.item())"
            )
        n = values.get("tokens", self.tokens_per_step)
        if n is None or not n >= 0:
            raise InputError(
                f"step {step} says no tokens; call recorder.step(loss=..., tokens=n), or give "
                "tokens_per_step"
            )
        loss = float(values[self.loss])
        if not math.isfinite(loss):
            raise InputError(
                f"the loss of step {step} is {loss}; a run that diverged has no epiplexity"
            )
        return loss, float(n)
