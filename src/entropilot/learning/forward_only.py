"""Structured knowledge accumulation (SKA): forward-only learning as steps down an entropy.

A layer has knowledge z = x W + b and decision D = sigmoid(z), which the next layer reads. At step
k, for the whole batch and without labels or a backward pass:

    H_k = -(1/ln 2) sum z_k (D_k - D_{k-1})                              bits, a signed sum
    G_k = -(1/ln 2) (z_k D_k (1 - D_k) + D_k - D_{k-1})                  elementwise
    W <- W - eta U' G_k / B,   b <- b - eta mean(G_k)

U is X for the first layer and the *previous* step's decision of the layer below for the others. All
layers go forward, then (from the second step on) all are measured and updated.

Source: The Principle of Entropic Least Action in Forward-Only Neural Learning, arXiv 2504.03214,
with arXiv 2503.13942, and their released code, which is followed where they differ: it puts 1/ln 2
on both terms of G, reads the previous decisions, and advances eta (K - 1) in K steps.
``rule="paper"`` reads the current decisions.

Legend: B examples, L layers, K steps, n neurons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.knowledge_flow import LAYER_METRICS, PER_LN2, flow_metrics

Rule = Literal["code", "paper"]


class SKAParams(NamedTuple):
    """Weights, layer by layer."""

    weights: tuple[Tensor, ...]  # [n_in, n] each
    biases: tuple[Tensor, ...]  # [n]


class SKAState(NamedTuple):
    """What a step remembers of the last one; empty before the first."""

    knowledge: tuple[Tensor, ...]  # [B, n] each
    decisions: tuple[Tensor, ...]


@dataclass(frozen=True)
class SKATrace:
    """The course of a fit.

    Args:
        eta: step size.
        time: [K] eta k; weights of step k were updated k - 1 times.
        metrics: [L, K] by name: ``entropy`` (bits), ``cosine``, ``tensor_net`` (the code's sign),
            ``tensor_net_paper``, ``z_norm``, ``flow_norm``, ``lagrangian``, ``weight_norm``; the
            first step, which has no shift, is 0 but for ``z_norm`` and ``weight_norm``.
        outputs: [K, n_out] mean decision of the last layer.
        stopped: step at which the entropy had settled, or None.
    """

    eta: float
    time: np.ndarray[Any, np.dtype[np.float64]]
    metrics: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    outputs: np.ndarray[Any, np.dtype[np.float64]]
    stopped: int | None


def init_ska(
    sizes: Sequence[int],
    in_dim: int,
    init_std: float = 0.01,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> SKAParams:
    """Weights of N(0, init_std^2) and biases of 0.

    Args:
        sizes: neurons of each layer.
        in_dim: of the input.
        init_std: > 0.
        seed: of the draw.
        dtype: of the weights.

    Raises:
        ConfigurationError: no layers, or a size below 1.

    Examples:
        >>> [tuple(w.shape) for w in init_ska([4, 3], 5).weights]
        [(5, 4), (4, 3)]
    """
    if not sizes or min(*sizes, in_dim) < 1:
        raise ConfigurationError(f"sizes are {list(sizes)} for {in_dim} inputs; give one or more")
    draw = torch.Generator().manual_seed(seed)
    ends = [in_dim, *sizes]
    weights = tuple(
        (torch.randn(a, b, generator=draw, dtype=torch.float64) * init_std).to(dtype)
        for a, b in pairwise(ends)
    )
    return SKAParams(weights, tuple(torch.zeros(n, dtype=dtype) for n in sizes))


def ska_step(
    params: SKAParams, state: SKAState | None, X: Tensor, eta: float, rule: Rule = "code"
) -> tuple[SKAParams, SKAState, dict[str, list[float]]]:
    """One step of all layers; the first one (``state=None``) has no shift and changes nothing.

    Args:
        params: weights.
        state: of the last step.
        X: [B, n_in].
        eta: step size, a time.
        rule: which decision of the layer below an update reads.

    Returns:
        New weights, new state, and the metrics of every layer, [L] by name.

    Raises:
        InputError: knowledge is no longer finite; the message names the layer.

    Examples:
        >>> params = init_ska([3], 2)
        >>> params, state, _ = ska_step(params, None, torch.ones(4, 2).double(), 0.1)
        >>> params, state, metrics = ska_step(params, state, torch.ones(4, 2).double(), 0.1)
        >>> len(metrics["entropy"])
        1
    """
    knowledge, decisions = [], []
    below = X
    for number, (w, b) in enumerate(zip(*params, strict=True), 1):
        z = torch.addmm(b, below, w)
        if not bool(torch.isfinite(z.sum())):
            raise InputError(f"knowledge of layer {number} is no longer finite; lower eta ({eta})")
        below = torch.sigmoid(z)
        knowledge.append(z)
        decisions.append(below)
    now = SKAState(tuple(knowledge), tuple(decisions))
    if state is None:
        zeros = {name: [0.0] * len(knowledge) for name in LAYER_METRICS}
        zeros["z_norm"] = [float(z.norm()) for z in knowledge]
        return params, now, zeros
    found: dict[str, list[float]] = {name: [] for name in LAYER_METRICS}
    weights, biases = [], []
    inputs = [X, *(state.decisions if rule == "code" else now.decisions)[:-1]]
    for layer, (z, d) in enumerate(zip(knowledge, decisions, strict=True)):
        metrics = flow_metrics(
            z, state.knowledge[layer], eta=eta, decision=d, decision_before=state.decisions[layer]
        )
        for name, value in metrics.items():
            found[name].append(value)
        gradient = z * d * (1 - d) + d - state.decisions[layer]  # times -1/ln 2
        rate = eta * PER_LN2 / len(X)
        weights.append(torch.addmm(params.weights[layer], inputs[layer].T, gradient, alpha=rate))
        biases.append(params.biases[layer] + rate * gradient.sum(0))
    return SKAParams(tuple(weights), tuple(biases)), now, found


class SKANet:
    """A forward-only network and its fit.

    Args:
        sizes: neurons of each layer.
        in_dim: of the input.
        init_std: of the first weights.
        rule: as in ``ska_step``.
        seed: of the first weights.
        dtype: of all numbers.

    Examples:
        >>> net = SKANet([4, 3], 5)
        >>> trace = net.fit(np.random.default_rng(0).random((6, 5)), eta=0.1, steps=6)
        >>> trace.metrics["entropy"].shape
        (2, 6)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        in_dim: int,
        init_std: float = 0.01,
        rule: Rule = "code",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.params = init_ska(sizes, in_dim, init_std, seed, dtype)
        self.rule: Rule = rule
        self.dtype = dtype

    def fit(
        self, X: Any, eta: float, steps: int, *args: Any, tolerance: float | None = None, **kw: Any
    ) -> SKATrace:
        """Run steps on one full batch; there is no place for labels.

        Args:
            X: [B, n_in], numpy or torch; the papers scale images to [0, 1].
            eta: step size > 0; the total time is eta (steps - 1).
            steps: K >= 2, since the first has no shift.
            args: must be empty.
            tolerance: stop when every layer's |H_k| stayed below this part of its largest for 3
                steps; None never stops. 0.05 is a sensible value; the papers give no number.
            kw: must be empty.

        Raises:
            TypeError: labels were passed.
            ConfigurationError: eta <= 0 or fewer than two steps.
            InputError: X is no finite matrix of the right width, or knowledge overflowed.
        """
        if args or kw:
            raise TypeError("SKA is label-free: fit(X, eta, steps) takes no labels")
        x = self._checked(X, eta, steps)
        rows: list[dict[str, list[float]]] = []
        outputs, state, stopped = [], None, None
        for k in range(steps):
            norms = [float(w.norm()) for w in self.params.weights]
            try:
                self.params, state, found = ska_step(self.params, state, x, eta, self.rule)
            except InputError as error:
                raise InputError(f"step {k}: {error}") from error
            rows.append(found | {"weight_norm": norms})
            outputs.append(state.decisions[-1].mean(0).numpy())
            if tolerance is not None and _has_settled(rows, tolerance):
                stopped = k
                break
        names = rows[0].keys()
        return SKATrace(
            eta=eta,
            time=eta * np.arange(len(rows), dtype=np.float64),
            metrics={name: np.array([row[name] for row in rows]).T for name in names},
            outputs=np.array(outputs, dtype=np.float64),
            stopped=stopped,
        )

    def features(self, X: Any) -> list[Tensor]:
        """Decisions [B, n] of every layer.

        Args:
            X: [B, n_in].
        """
        below = torch.as_tensor(np.asarray(X), dtype=self.dtype)
        found = []
        for w, b in zip(*self.params, strict=True):
            below = torch.sigmoid(torch.addmm(b, below, w))
            found.append(below)
        return found

    def _checked(self, X: Any, eta: float, steps: int) -> Tensor:
        if not eta > 0:
            raise ConfigurationError(f"eta is {eta}; it must be positive")
        if steps < 2:
            raise ConfigurationError(
                f"steps is {steps}; the first step has no shift, give 2 or more"
            )
        given = X.detach() if isinstance(X, Tensor) else np.asarray(X)
        x = torch.as_tensor(given, dtype=self.dtype)
        width = self.params.weights[0].shape[0]
        if x.ndim != 2 or x.shape[1] != width or not len(x):
            raise InputError(f"X has shape {tuple(x.shape)}; expected [B, {width}]")
        if not bool(torch.isfinite(x).all()):
            raise InputError(f"X has {int((~torch.isfinite(x)).sum())} values that are not finite")
        return x


def _has_settled(rows: Sequence[dict[str, list[float]]], tolerance: float) -> bool:
    if len(rows) < 5:
        return False
    entropy = np.abs([row["entropy"] for row in rows])
    return bool(np.all(entropy[-3:] < tolerance * entropy.max(0)))
