"""Which timesteps a diffusion model trains on: from easy (much noise) to hard, cluster by cluster.

A curriculum is a sampler of timesteps with a memory of the loss, and fits any training loop:

    t = curriculum.sample(len(x0))
    loss = ...                      # your loss at these timesteps, weights unchanged
    curriculum.update(loss.item())  # after the optimiser's step

Stage k trains on the easiest k clusters; the next begins when the smoothed loss has not reached a
new low for ``patience`` steps. After the last stage sampling is that of usual training, draw for
draw.

Source: Denoising task difficulty (arXiv 2403.10348). The pacing rule is known from summaries and a
reimplementation; details such as the smoothing are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError, unknown_name
from entropilot.learning.timestep_difficulty import Steps

Order = Literal["easy_first", "hard_first", "random"]
Cluster = Any  # an index array of timesteps, or an interval (low, high) of a continuous level


class TimestepCurriculum:
    """A sampler of timesteps that grows by a cluster a stage.

    Args:
        clusters: hardest first, contiguous: of ``cluster_timesteps``, or intervals (low, high) for
            a continuous noise level, of ``quantile_clusters``.
        patience: steps without a new low of the smoothed loss that end a stage.
        smoothing: beta of s = beta s + (1 - beta) loss.
        order: which cluster comes first. ``"hard_first"`` and ``"random"`` are controls.
        max_stage_steps: ends a stage in any case; None does not.
        n_timesteps: of the model, checked against the clusters where given.
        start_stage: for a run that goes on without the curriculum's saved state.
        seed: of the random order.

    Raises:
        ConfigurationError: a setting out of range, or clusters that do not partition the timesteps.

    Examples:
        >>> curriculum = TimestepCurriculum([np.arange(3), np.arange(3, 10)], patience=2)
        >>> curriculum.allowed().tolist()
        [3, 4, 5, 6, 7, 8, 9]
        >>> [curriculum.update(loss) for loss in (1.0, 2.0, 2.0)]
        [1, 1, 2]
        >>> len(curriculum.allowed()), curriculum.steps_before_all
        (10, 3)
    """

    def __init__(
        self,
        clusters: Sequence[Cluster],
        patience: int = 200,
        smoothing: float = 0.98,
        order: Order = "easy_first",
        max_stage_steps: int | None = None,
        *,
        n_timesteps: int | None = None,
        start_stage: int | None = None,
        seed: int = 0,
    ) -> None:
        _check_settings(patience, smoothing, order, max_stage_steps)
        self.is_continuous, self.clusters = _checked_clusters(clusters)
        self.patience, self.smoothing = patience, smoothing
        self.order, self.max_stage_steps = order, max_stage_steps
        self.n_stages = len(self.clusters)
        if n_timesteps is not None and not self.is_continuous:
            held = sum(map(len, self.clusters))
            if held != n_timesteps:
                raise ConfigurationError(
                    f"the clusters hold {held} timesteps and the model has {n_timesteps}; make "
                    "them from the model's own schedule"
                )
        self._sequence = _sequence(self.n_stages, order, seed)
        if not 1 <= (start_stage or 1) <= self.n_stages:
            raise ConfigurationError(
                f"start_stage is {start_stage}; there are stages 1 to {self.n_stages}"
            )
        self.stage = start_stage or 1
        self._is_resumed = start_stage is not None
        self.stage_steps = [0] * self.n_stages
        self._smoothed: float | None = None
        self._best = math.inf
        self._bad = 0
        self._enter()

    @property
    def steps_done(self) -> int:
        """Updates so far, of all stages."""
        return sum(self.stage_steps)

    @property
    def steps_before_all(self) -> int | None:
        """Steps that were taken before all timesteps were in; None while some are still out."""
        return None if self.stage < self.n_stages else sum(self.stage_steps[:-1])

    def allowed(self) -> Steps:
        """Timesteps of this stage, sorted.

        Raises:
            InputError: the clusters are intervals; see ``allowed_intervals``.
        """
        if self.is_continuous:
            raise InputError("the noise level is continuous; ask for allowed_intervals()")
        return self._allowed.copy()

    def allowed_intervals(self) -> list[tuple[float, float]]:
        """Intervals of this stage, for a continuous noise level."""
        return sorted(self.clusters[i] for i in self._sequence[: self.stage])

    def sample(self, batch: int, generator: Any = None, device: Any = None) -> Any:
        """Timesteps of a batch, uniform on what this stage allows.

        Args:
            batch: how many.
            generator: of torch, or of numpy (then an array comes back); None is torch's own.
            device: of the tensor.

        Returns:
            [batch] whole numbers; levels in float32 where clusters are intervals.
        """
        if isinstance(generator, np.random.Generator):
            return self._from_numpy(batch, generator)
        if self.is_continuous:
            u = torch.rand(batch, generator=generator, device=device) * self._edges[-1]
            return self._levels(u)
        if self._is_contiguous:
            return torch.randint(
                self._low, self._high, (batch,), generator=generator, device=device
            )
        drawn = torch.randint(len(self._table), (batch,), generator=generator, device=device)
        return self._table.to(drawn.device)[drawn]

    def mask_weights(self, weights: Tensor) -> Tensor:
        """Weights of an importance sampler, 0 at what this stage leaves out, sum 1.

        Args:
            weights: [T], >= 0.

        Raises:
            InputError: another number of timesteps, or no weight on what is allowed.
        """
        n = sum(map(len, self.clusters)) if not self.is_continuous else -1
        if tuple(weights.shape) != (n,):
            raise InputError(
                f"weights have shape {tuple(weights.shape)}; the clusters hold {max(n, 0)} "
                "timesteps (continuous levels have none)"
            )
        mask = torch.zeros_like(weights)
        mask[torch.as_tensor(self._allowed, device=weights.device)] = 1
        found = weights * mask
        total = float(found.sum())
        if not (total > 0 and math.isfinite(total)) or bool((found < 0).any()):
            raise InputError(
                f"weights on the allowed timesteps sum to {total:g} or are negative; they must be "
                ">= 0 with a sum above 0"
            )
        return found / found.sum()

    def update(self, loss: float, step: int | None = None) -> int:
        """Tell the loss of a step, after the optimiser's.

        Args:
            loss: mean over the batch, as it was trained on.
            step: number of the step, from 1, where the loop counts: a run that went on without the
                curriculum's state is found out.

        Returns:
            The stage for the next step, from 1.

        Raises:
            BrokenNumbersError: the loss is nan or infinite.
            ConfigurationError: the loop is elsewhere than the curriculum.
        """
        value = float(loss)
        if not math.isfinite(value):
            raise BrokenNumbersError(
                f"the loss of stage {self.stage} is {value}; no stage would ever end. Look at the "
                "step before"
            )
        if step is not None and step != self.steps_done + 1 and not self._is_resumed:
            raise ConfigurationError(
                f"training is at step {step} and the curriculum has seen {self.steps_done}; load "
                "its state_dict with the model's, or give start_stage"
            )
        self.stage_steps[self.stage - 1] += 1
        if self.stage == self.n_stages:
            return self.stage
        beta = self.smoothing
        before = value if self._smoothed is None else self._smoothed
        self._smoothed = beta * before + (1 - beta) * value
        if self._smoothed < self._best:
            self._best, self._bad = self._smoothed, 0
        else:
            self._bad += 1
        limit = self.max_stage_steps
        is_long = limit is not None and self.stage_steps[self.stage - 1] >= limit
        if self._bad >= self.patience or is_long:
            self.stage += 1
            self._smoothed, self._best, self._bad = None, math.inf, 0
            self._enter()
        return self.stage

    def exposure(self) -> NDArray[np.float64]:
        """Share of the training so far that each timestep has received in expectation, [T].

        Raises:
            InputError: the noise level is continuous.
        """
        if self.is_continuous:
            raise InputError("a continuous noise level has no timesteps to count")
        found = np.zeros(sum(map(len, self.clusters)))
        for stage, steps in enumerate(self.stage_steps, 1):
            allowed = np.concatenate([self.clusters[i] for i in self._sequence[:stage]])
            found[allowed] += steps / len(allowed)
        return found / max(self.steps_done, 1)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs; plain numbers, strings and lists."""
        return {
            "stage": self.stage,
            "stage_steps": list(self.stage_steps),
            "smoothed": self._smoothed,
            "best": self._best,
            "bad": self._bad,
            "sizes": self._sizes(),
            "sequence": list(self._sequence),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ConfigurationError: it belongs to other clusters or another order.
        """
        missing = set(self.state_dict()) - set(state)
        if missing:
            raise ConfigurationError(f"the curriculum's state lacks {', '.join(sorted(missing))}")
        for name, now in (("sizes", self._sizes()), ("sequence", list(self._sequence))):
            if list(state[name]) != now:
                raise ConfigurationError(
                    f"the state is that of a curriculum with other clusters or another order "
                    f"({name} {state[name]}, here {now}); build it with the same settings"
                )
        self.stage, self.stage_steps = int(state["stage"]), [int(v) for v in state["stage_steps"]]
        smoothed = state["smoothed"]
        self._smoothed = None if smoothed is None else float(smoothed)
        self._best, self._bad = float(state["best"]), int(state["bad"])
        self._enter()

    def _sizes(self) -> list[float]:
        if self.is_continuous:
            return [float(high - low) for low, high in self.clusters]
        return [len(c) for c in self.clusters]

    def _enter(self) -> None:
        """Tables of the stage: a draw then costs one call."""
        if self.is_continuous:
            spans = np.array(self.allowed_intervals())
            self._starts = torch.tensor(spans[:, 0], dtype=torch.float32)
            highs = torch.tensor(spans[:, 1], dtype=torch.float32)
            self._largest = torch.nextafter(highs, self._starts)  # the quantile of 1 is infinite
            widths = np.concatenate([[0.0], np.cumsum(spans[:, 1] - spans[:, 0])])
            self._edges = torch.tensor(widths, dtype=torch.float32)
            return
        parts = [self.clusters[i] for i in self._sequence[: self.stage]]
        self._allowed: Steps = np.sort(np.concatenate(parts))
        self._low, self._high = int(self._allowed[0]), int(self._allowed[-1]) + 1
        self._is_contiguous = self._high - self._low == len(self._allowed)
        self._table = torch.from_numpy(self._allowed)

    def _levels(self, u: Tensor) -> Tensor:
        edges, starts = self._edges.to(u.device), self._starts.to(u.device)
        span = (torch.searchsorted(edges, u, right=True) - 1).clamp_(0, len(starts) - 1)
        level = starts[span] + (u - edges[span])
        return torch.minimum(level, self._largest.to(u.device)[span])

    def _from_numpy(self, batch: int, generator: np.random.Generator) -> Any:
        if self.is_continuous:
            u = torch.from_numpy(generator.random(batch, dtype=np.float32))
            return self._levels(u * self._edges[-1]).numpy()
        return self._allowed[generator.integers(len(self._allowed), size=batch)]


def _check_settings(patience: int, smoothing: float, order: str, limit: int | None) -> None:
    if order not in get_args(Order):
        raise ConfigurationError(unknown_name("order", order, get_args(Order)))
    if patience < 1:
        raise ConfigurationError(f"patience is {patience}; it must be at least 1 step")
    if not 0 <= smoothing < 1:
        raise ConfigurationError(f"smoothing is {smoothing}; it must be in [0, 1)")
    if limit is not None and limit < 1:
        raise ConfigurationError(f"max_stage_steps is {limit}; it must be at least 1, or None")


def _checked_clusters(clusters: Sequence[Cluster]) -> tuple[bool, list[Any]]:
    if not len(clusters):
        raise ConfigurationError("there are no clusters; make them with cluster_timesteps")
    if all(_is_interval(c) for c in clusters):
        spans = [(float(low), float(high)) for low, high in clusters]
        for i, (low, high) in enumerate(spans):
            gap = i + 1 < len(spans) and spans[i + 1][0] != high
            if not low < high or gap:
                raise ConfigurationError(
                    f"interval {i} is ({low:g}, {high:g}); intervals must follow one another "
                    "without gaps, the hardest (least noise) first"
                )
        return True, spans
    arrays = [np.asarray(c, dtype=np.int64) for c in clusters]
    if any(a.ndim != 1 or not len(a) for a in arrays):
        raise ConfigurationError("every cluster must be a row of at least one timestep")
    joined = np.concatenate(arrays)
    wrong = joined != np.arange(len(joined))
    if wrong.any():
        t = int(np.argmax(wrong))
        raise ConfigurationError(
            f"clusters must partition the timesteps 0 to {len(joined) - 1} in order, hardest (low "
            f"t) first; place {t} holds {joined[t]}"
        )
    return False, arrays


def _is_interval(cluster: Cluster) -> bool:
    is_pair = isinstance(cluster, tuple | list) and len(cluster) == 2
    return is_pair and any(isinstance(v, float) for v in cluster)


def _sequence(n: int, order: Order, seed: int) -> list[int]:
    """Clusters by the stage at which they come in."""
    if order == "random":
        return [int(i) for i in np.random.default_rng(seed).permutation(n)]
    return list(range(n)) if order == "hard_first" else list(range(n))[::-1]
