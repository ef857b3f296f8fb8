"""Knowledge and entropy flow of a layer between two steps: SKA's metrics for any network.

With the pre-activations z of one batch at two successive steps and D = sigmoid(z):

    entropy      -(1/ln 2) sum z dD                             bits, signed
    cosine       <z, dD> / (|z| |dD|)
    flow         |z_k - z_{k-1}| / eta
    tensor net   sum (D - g)(z_k - z_{k-1}),  g = +-(1/ln 2) z D (1 - D)
    Lagrangian   -sum z D (1 - D) (z_k - z_{k-1}) / eta

Along any path of one neuron the entropy adds up to the change of the binary entropy of D, and the
action of the Lagrangian likewise depends on the ends alone, so that every path obeys its
Euler-Lagrange equation: "least action" selects nothing.

Source: arXiv 2504.03214 and its released code. The code's tensor net has the sign + in g and the
paper the sign -; the paper's figures are those of the code. ``rule="mid"`` (ours) takes
(z_k + z_{k-1}) / 2 in the entropy, whose error is O(dt^2), not O(dt).

Legend: B examples, n neurons, K steps.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError

Floats = NDArray[np.float64]

PER_LN2: Final = 1 / math.log(2)
LAYER_METRICS: Final = (
    "entropy",
    "cosine",
    "tensor_net",
    "tensor_net_paper",
    "z_norm",
    "flow_norm",
    "lagrangian",
)


def entropy_step(
    z: Any,
    decision: Any,
    decision_before: Any,
    rule: Literal["right", "mid"] = "right",
    z_before: Any = None,
) -> float:
    """Entropy of a step, bits; negative where decisions move away from 1/2.

    Args:
        z: [B, n] pre-activations after the step.
        decision: [B, n] sigmoid of them.
        decision_before: [B, n] of the step before.
        rule: ``"right"`` as published, ``"mid"`` to second order.
        z_before: [B, n] of the step before; for ``"mid"``.

    Examples:
        >>> z = torch.tensor([[1.0]]).double()
        >>> round(entropy_step(z, torch.sigmoid(z), torch.tensor([[0.5]]).double()), 4)
        -0.3333
    """
    z, now, before = _tensors(z, decision, decision_before)
    if rule not in ("right", "mid"):
        raise ConfigurationError(f"rule is {rule!r}; give 'right' or 'mid'")
    if rule == "mid":
        if z_before is None:
            raise ConfigurationError("rule='mid' needs z_before")
        z = (z + _tensors(z_before)[0]) / 2
    return -PER_LN2 * float((z * (now - before)).sum())


def tensor_net(
    z: Any, z_before: Any, decision: Any, sign: Literal["code", "paper"] = "code"
) -> float:
    """Tensor net of a step: sum (D - g) dz with the sign of g that ``sign`` names.

    Examples:
        >>> z, before = torch.tensor([[1.0]]), torch.tensor([[0.0]])
        >>> round(tensor_net(z, before, torch.sigmoid(z)), 4)
        0.4474
    """
    z, before, d = _tensors(z, z_before, decision)
    if sign not in ("code", "paper"):
        raise ConfigurationError(f"sign is {sign!r}; give 'code' or 'paper'")
    g = PER_LN2 * z * d * (1 - d)
    return float(((d - g if sign == "code" else d + g) * (z - before)).sum())


def knowledge_flow(z: Any, z_before: Any, eta: float) -> float:
    """Frobenius norm of the flow (z_k - z_{k-1}) / eta.

    Examples:
        >>> knowledge_flow(torch.tensor([[3.0]]), torch.tensor([[1.0]]), 0.5)
        4.0
    """
    z, before = _tensors(z, z_before)
    return float((z - before).norm()) / _positive(eta)


def flow_metrics(
    z: Any,
    z_before: Any,
    *,
    eta: float = 1.0,
    decision: Any = None,
    decision_before: Any = None,
) -> dict[str, float]:
    """All metrics of a layer between two successive steps, of any network.

    Args:
        z: [B, n] pre-activations, or any numbers that a sigmoid reads as log-odds.
        z_before: [B, n] of the same batch one step before.
        eta: time between them; 1 counts steps.
        decision: [B, n] sigmoid of z; computed where not given.
        decision_before: [B, n] sigmoid of z_before; computed where not given.

    Returns:
        By name, as ``LAYER_METRICS``.

    Raises:
        InputError: shapes that differ, or values that are not finite.

    Examples:
        >>> found = flow_metrics(torch.ones(2, 3), torch.zeros(2, 3))
        >>> round(found["flow_norm"], 3), round(found["cosine"], 3)
        (2.449, 1.0)
    """
    z, before = _tensors(z, z_before)
    d = torch.sigmoid(z) if decision is None else decision
    shift = d - (torch.sigmoid(before) if decision_before is None else decision_before)
    move = z - before
    curve = z * d * (1 - d)
    inner = float(torch.dot(z.reshape(-1), shift.reshape(-1)))
    if not math.isfinite(inner):
        raise InputError("pre-activations are not finite; find the layer that overflows")
    norms = float(z.norm()) * float(shift.norm())
    own = float(torch.dot(d.reshape(-1), move.reshape(-1)))
    along = float(torch.dot(curve.reshape(-1), move.reshape(-1)))
    return {
        "entropy": -PER_LN2 * inner,
        "cosine": inner / norms if norms > 0 else 0.0,
        "tensor_net": own - PER_LN2 * along,
        "tensor_net_paper": own + PER_LN2 * along,
        "z_norm": float(z.norm()),
        "flow_norm": float(move.norm()) / _positive(eta),
        "lagrangian": -along / eta,
    }


def zero_crossings(t: ArrayLike, y: ArrayLike) -> Floats:
    """Times at which y changes its sign, by linear interpolation.

    Args:
        t: [K] times.
        y: [K] values; those that are exactly 0 at the start do not count.

    Examples:
        >>> zero_crossings([0, 1, 2], [-1.0, 1.0, 3.0]).tolist()
        [0.5]
    """
    times, values = np.asarray(t, float), np.asarray(y, float)
    if times.shape != values.shape or times.ndim != 1:
        raise InputError(f"t and y have shapes {times.shape} and {values.shape}; give [K] each")
    at = np.flatnonzero(values[:-1] * values[1:] < 0)
    a, b = values[at], values[at + 1]
    found: Floats = times[at] + (times[at + 1] - times[at]) * a / (a - b)
    return found


def binary_entropy_bits(z: ArrayLike) -> Floats:
    """Entropy of a decision of log-odds z, bits.

    Examples:
        >>> binary_entropy_bits([0.0]).tolist()
        [1.0]
    """
    x = np.asarray(z, float)
    p = 1 / (1 + np.exp(-np.abs(x)))
    found: Floats = (np.abs(x) * (1 - p) + np.logaddexp(0, -np.abs(x))) * PER_LN2
    return found


def action(path: ArrayLike) -> float:
    """Action of SKA's Lagrangian along a path of one neuron's knowledge, bits.

        (1/ln 2) int -z D (1 - D) dz/dt dt = -(1/ln 2) int z dD = H_b(D_end) - H_b(D_start)

    Two paths with the same ends have the same action.

    Args:
        path: [K] knowledge, in the order of time; the midpoint rule is used.

    Examples:
        >>> round(action(np.linspace(0, 1, 1000)), 6)
        -0.160058
    """
    z = np.asarray(path, float)
    if z.ndim != 1 or len(z) < 2:
        raise InputError(f"path has shape {z.shape}; give [K] with K >= 2")
    d = 1 / (1 + np.exp(-z))
    return float(-PER_LN2 * ((z[1:] + z[:-1]) / 2 * np.diff(d)).sum())


def _tensors(*values: Any) -> tuple[Tensor, ...]:
    found = tuple(
        v.detach() if isinstance(v, Tensor) else torch.as_tensor(np.asarray(v, float))
        for v in values
    )
    if any(v.shape != found[0].shape for v in found):
        shapes = ", ".join(str(tuple(v.shape)) for v in found)
        raise InputError(f"shapes differ between steps: {shapes}; pass the same batch at each step")
    return tuple(v if v.dtype == torch.float64 else v.float() for v in found)


def _positive(eta: float) -> float:
    if not eta > 0:
        raise ConfigurationError(f"eta is {eta}; it must be positive")
    return eta
