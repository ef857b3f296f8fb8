"""The two uses of the passes over an output head; imported only where torch is loaded."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from entropilot.information._backend import accumulator
from entropilot.information._head_kernels import (
    N_SLOPES,
    ON_ENTROPY,
    ON_LOGPROB,
    ON_LOGSUMEXP,
    ON_NUCLEUS,
    ON_VARENTROPY,
)
from entropilot.information._head_passes import (
    Gradients,
    Measured,
    Settings,
    backward_pass,
    known_slopes_pass,
    measure_pass,
)
from entropilot.information._head_product import Head
from entropilot.information._nucleus_kernels import ENTROPY, SIZE
from entropilot.information._statistics_kernels import (
    LOG_SUM,
    LOGPROB,
    MAX,
    MEAN,
    SUM_P2,
    SUM_P2_LOGP,
    VARIANCE,
)

#: Statistics through which gradients flow, and their row of the slopes.
PLACES: Final = {
    "logprob": ON_LOGPROB,
    "entropy": ON_ENTROPY,
    "varentropy": ON_VARENTROPY,
    "logsumexp": ON_LOGSUMEXP,
    "nucleus_entropy": ON_NUCLEUS,
}


class Request(NamedTuple):
    """What is to be measured, validated."""

    wants: frozenset[str]
    settings: Settings
    n: int  # rows of the weight that count
    chunk: int | None


def values_of(measured: Measured, settings: Settings, wants: frozenset[str]) -> dict[str, Tensor]:
    """The wanted statistics [N], float64."""
    result, nucleus = measured.result, measured.nucleus
    found = {
        "logprob": lambda: result[LOGPROB],
        "entropy": lambda: (result[LOG_SUM] - result[MEAN]).clamp(min=0),
        "varentropy": lambda: result[VARIANCE],
        "logsumexp": lambda: result[MAX] / settings.temperature + result[LOG_SUM],
        "max": lambda: result[MAX],
        "sum_p2": lambda: result[SUM_P2],
        "sum_p2_logp": lambda: result[SUM_P2_LOGP],
    }
    if nucleus is not None:
        found["nucleus_entropy"] = lambda: nucleus[ENTROPY]
        found["nucleus_size"] = lambda: nucleus[SIZE]
    values = {name: found[name]() for name in wants}
    if measured.top_value is not None and measured.top_index is not None:
        shift = result[MAX] / settings.temperature + result[LOG_SUM]
        values["top_logprob"] = measured.top_value / settings.temperature - shift[:, None]
        values["top_token"] = measured.top_index
    return values


def _head(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, request: Request, whole: bool
) -> Head:
    n = request.n
    return Head(hidden, weight[:n], None if bias is None else bias[:n], request.chunk, whole)


def measured_statistics(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor | None, request: Request
) -> dict[str, Tensor]:
    """The wanted statistics of hidden [N, D], attached to the graph where an input asks for it."""
    inputs = [x for x in (hidden, weight, bias) if x is not None]
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        box: list[Any] = []
        attached = _Statistics.apply(hidden, weight, bias, targets, request, box)  # type: ignore[no-untyped-call]
        values: dict[str, Tensor] = box[0]
        kind = _kind(hidden, weight)
        for name, value in zip(PLACES, attached, strict=True):
            if value is not None:
                values[name] = value
        return {name: _as(value, kind) for name, value in values.items()}
    with torch.no_grad():
        settings = request.settings
        head = _head(hidden, weight, bias, request, settings.top_p is not None)
        values = values_of(measure_pass(head, targets, settings), settings, request.wants)
        return {name: _as(value, head.kind) for name, value in values.items()}


def _kind(hidden: Tensor, weight: Tensor) -> torch.dtype:
    return torch.float64 if torch.float64 in (hidden.dtype, weight.dtype) else torch.float32


def _as(value: Tensor, kind: torch.dtype) -> Tensor:
    return value if value.dtype == torch.int64 else value.to(kind)


class _Statistics(torch.autograd.Function):
    """Outputs: the statistics of PLACES, None where not wanted; the others go into the box."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor | None,
        request: Request,
        box: list[Any],
    ) -> Any:
        ctx.set_materialize_grads(False)
        settings = request.settings
        head = _head(hidden, weight, bias, request, settings.top_p is not None)
        measured = measure_pass(head, targets, settings)
        ctx.save_for_backward(hidden, weight, bias, targets, measured.result, measured.nucleus)
        ctx.request = request
        values = values_of(measured, settings, request.wants)
        box.append({name: value for name, value in values.items() if name not in PLACES})
        return tuple(_as(values[name], head.kind) if name in values else None for name in PLACES)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        hidden, weight, bias, targets, result, nucleus = ctx.saved_tensors
        request: Request = ctx.request
        slopes = slopes_of(dict(zip(PLACES, grads, strict=True)), hidden)
        use_nucleus = nucleus if grads[list(PLACES).index("nucleus_entropy")] is not None else None
        head = _head(hidden, weight, bias, request, False)
        on_hidden, on_weight, on_bias = ctx.needs_input_grad[:3]
        full = Gradients(
            torch.zeros_like(head.hidden) if on_hidden else None,
            torch.zeros_like(weight) if on_weight else None,
            torch.zeros_like(bias, dtype=head.kind) if on_bias else None,
        )
        into = _cut(full, request.n)
        measured = Measured(result, use_nucleus, None, None)
        backward_pass(head, targets, request.settings, measured, slopes, into)
        return (
            None if full.hidden is None else full.hidden.to(hidden.dtype),
            full.weight,
            None if full.bias is None else full.bias.to(bias.dtype),
            None,
            None,
            None,
        )


def slopes_of(grads: dict[str, Tensor | None], hidden: Tensor) -> Tensor:
    """dLoss/dstatistic [5, N] as the passes read them."""
    slopes = torch.zeros(N_SLOPES, hidden.shape[0], dtype=accumulator(hidden), device=hidden.device)
    for name, value in grads.items():
        if value is not None:
            slopes[PLACES[name]] = value.detach().reshape(-1)
    return slopes


def _cut(full: Gradients, n: int) -> Gradients:
    """The parts of the gradients that belong to real tokens; padding keeps its zeros."""
    return Gradients(
        full.hidden,
        None if full.weight is None else full.weight[:n],
        None if full.bias is None else full.bias[:n],
    )


def known_gradients(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor | None,
    request: Request,
    slopes: Tensor,
    on_weight: Tensor | None,
) -> tuple[dict[str, Tensor], Gradients]:
    """The wanted statistics and the gradients, in one pass; ``on_weight`` [V, D] is added to."""
    with torch.no_grad():
        head = _head(hidden, weight, bias, request, True)
        full = Gradients(
            torch.zeros_like(head.hidden),
            on_weight,
            None if bias is None else torch.zeros_like(bias, dtype=head.kind),
        )
        measured = known_slopes_pass(head, targets, request.settings, slopes, _cut(full, request.n))
        values = values_of(measured, request.settings, request.wants)
        return {name: _as(value, head.kind) for name, value in values.items()}, full
