"""Slopes of a model's logits along a direction in parameter space: J v, without the Jacobian.

Source: Ghosts of Softmax (arXiv 2603.13552), which takes one forward-mode product a step. Three
ways to the same numbers: forward-mode differentiation (a pass of about twice the cost of a
forward pass), two backward passes ("double_backward"), and central differences ("fd", two forward
passes, for operations that have no derivative in forward mode).

Nothing here is differentiated by the caller: the slopes are measured, and carry no graph.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from entropilot.errors import ConfigurationError, InputError, ModelError

Method = Literal["jvp", "double_backward", "fd"]
Mode = Literal["eval", "train"]
#: (parameters by name, inputs) -> logits [..., K].
LogitFunction = Callable[[Mapping[str, Tensor], Any], Tensor]
#: Picks the logits from what a model returns.
LogitsOf = Callable[[Any], Tensor]

METHODS: Final = ("jvp", "double_backward", "fd")
FD_STEP: Final = 1e-3  # length of the differences' step in parameter space
_NO_FORWARD_MODE: Final = ("forward ad", "forward-mode", "forward mode", "jvp")


@dataclass(frozen=True)
class ModelInputs:
    """Arguments of one call of a model.

    Examples:
        >>> ModelInputs((torch.zeros(2, 3),)).args[0].shape
        torch.Size([2, 3])
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def logits_of(output: Any) -> Tensor:
    """The logits in a model's output: the tensor, ``.logits``, ``["logits"]`` or the first tensor.

    Raises:
        InputError: there are none; hand over a function that finds them.

    Examples:
        >>> logits_of({"logits": torch.zeros(1, 2)}).shape
        torch.Size([1, 2])
    """
    if isinstance(output, Tensor):
        return output
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, Mapping):
        found = output.get("logits")
    if found is None and isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, Tensor):
        raise InputError(
            f"no logits in the model's output of type {type(output).__name__}; pass logits=, a "
            "function from the output to a tensor [..., K] (a fused loss may return none)"
        )
    return found


def bare_module(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel, DataParallel or torch.compile.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> bare_module(nn.DataParallel(layer)) is layer
        True
    """
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def model_logits(
    model: nn.Module, logits: LogitsOf = logits_of, *, mode: Mode = "eval"
) -> LogitFunction:
    """A module as a pure function of its parameters: nothing of the module changes.

    Buffers are copied, random numbers are not drawn (in eval mode), and every layer's mode is
    put back, so that a training run goes on bit for bit as if nobody had looked.

    Args:
        model: with or without DistributedDataParallel or torch.compile around it.
        logits: finds the logits in the output.
        mode: "eval" takes BatchNorm's running statistics and no dropout; "train" those of the
            batch, in which samples influence each other's logits.

    Returns:
        (parameters by name, inputs) -> logits; inputs are a tensor, a tuple of arguments, a
        mapping of keyword arguments or ``ModelInputs``.

    Raises:
        ConfigurationError: the mode is unknown.

    Examples:
        >>> layer = nn.Linear(3, 2)
        >>> doubled = {n: 2 * p for n, p in layer.named_parameters()}
        >>> x = torch.ones(1, 3)
        >>> torch.equal(model_logits(layer)(doubled, x), 2 * layer(x))
        True
    """
    if mode not in ("eval", "train"):
        raise ConfigurationError(f"mode is {mode!r}; it must be 'eval' or 'train'")
    module = bare_module(model)
    batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())
    if mode == "train" and batch_norm:
        warnings.warn(
            "mode='train' with BatchNorm: logits are those under the batch's statistics, which "
            "change with the step, so that r mixes samples. mode='eval' measures each by itself",
            stacklevel=2,
        )

    def compute(parameters: Mapping[str, Tensor], inputs: Any) -> Tensor:
        call = as_inputs(inputs)
        buffers = {name: value.clone() for name, value in module.named_buffers()}
        with _in_mode(module, mode), _differentiable_attention():
            output = torch.func.functional_call(
                module, {**parameters, **buffers}, tuple(call.args), dict(call.kwargs)
            )
        return logits(output)

    return compute


def as_inputs(inputs: Any) -> ModelInputs:
    """A tensor, tuple of arguments or mapping of keyword arguments as ``ModelInputs``.

    Examples:
        >>> as_inputs({"x": 1}).kwargs
        {'x': 1}
    """
    if isinstance(inputs, ModelInputs):
        return inputs
    if isinstance(inputs, Mapping):
        return ModelInputs((), dict(inputs))
    return ModelInputs(inputs if isinstance(inputs, tuple) else (inputs,))


def logit_slopes(
    model_fn: LogitFunction | nn.Module,
    params: Mapping[str, Tensor],
    tangents: Mapping[str, Tensor],
    inputs: Any,
    *,
    method: Method = "jvp",
    fd_step: float = FD_STEP,
) -> tuple[Tensor, Tensor]:
    """Logits at ``params`` and their slopes J v along ``tangents``.

        fd:  (f(params + h v) - f(params - h v)) / 2h,    h = max(fd_step, 1e-4 |params|) / |v|

    Args:
        model_fn: a function of parameters and inputs, or a module (read in eval mode).
        params: by name.
        tangents: v, by name; a parameter without one stays where it is.
        inputs: as ``model_fn`` takes them.
        method: "jvp", "double_backward" or "fd".
        fd_step: length of the difference in parameter space; "fd" only.

    Returns:
        Logits and slopes [..., K], detached, float32 or better.

    Raises:
        ConfigurationError: unknown method.
        InputError: a tangent has no parameter.
        ModelError: an operation of the model lacks the derivative that the method needs; take
            "fd".

    Examples:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> v = {"weight": torch.eye(2)}
        >>> params = dict(layer.named_parameters())
        >>> logits, slopes = logit_slopes(layer, params, v, torch.ones(1, 2))
        >>> slopes.tolist()
        [[1.0, 1.0]]
    """
    if method not in METHODS:
        raise ConfigurationError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    missing = sorted(set(tangents) - set(params))
    if missing:
        raise InputError(f"tangents for {missing[:3]}, which are no parameters")
    function = model_logits(model_fn) if isinstance(model_fn, nn.Module) else model_fn
    fixed = {name: value.detach() for name, value in params.items()}
    moving = {name: fixed[name] for name in tangents}
    along = {name: value.detach() for name, value in tangents.items()}

    def compute(some: Mapping[str, Tensor]) -> Tensor:
        return function({**fixed, **some}, inputs)

    if method == "jvp":
        logits, slopes = _forward_mode(compute, moving, along)
    elif method == "double_backward":
        logits, slopes = _double_backward(compute, moving, along)
    else:
        logits, slopes = _central_difference(compute, moving, along, fixed, fd_step)
    return _wide(logits.detach()), _wide(slopes.detach())


def _forward_mode(
    compute: Callable[[Mapping[str, Tensor]], Tensor],
    moving: Mapping[str, Tensor],
    along: Mapping[str, Tensor],
) -> tuple[Tensor, Tensor]:
    try:
        with torch.no_grad():
            logits, slopes = torch.func.jvp(compute, (moving,), (dict(along),))[:2]
    except (NotImplementedError, RuntimeError) as error:
        if not any(words in str(error).lower() for words in _NO_FORWARD_MODE):
            raise
        raise ModelError(
            "an operation of the model has no derivative in forward mode "
            f"({str(error).splitlines()[0][:200]}); pass method='fd', which needs none"
        ) from error
    return logits, slopes


def _double_backward(
    compute: Callable[[Mapping[str, Tensor]], Tensor],
    moving: Mapping[str, Tensor],
    along: Mapping[str, Tensor],
) -> tuple[Tensor, Tensor]:
    names = list(moving)

    def flat(*values: Tensor) -> Tensor:
        return compute(dict(zip(names, values, strict=True)))

    try:
        with torch.enable_grad():
            found: tuple[Tensor, Tensor] = torch.autograd.functional.jvp(  # type: ignore[no-untyped-call]
                flat, tuple(moving.values()), tuple(along[n] for n in names)
            )
    except NotImplementedError as error:
        raise ModelError(
            f"an operation of the model has no second derivative ({str(error)[:200]}); pass "
            "method='fd', which needs none"
        ) from error
    return found


@torch.no_grad()
def _central_difference(
    compute: Callable[[Mapping[str, Tensor]], Tensor],
    moving: Mapping[str, Tensor],
    along: Mapping[str, Tensor],
    fixed: Mapping[str, Tensor],
    fd_step: float,
) -> tuple[Tensor, Tensor]:
    length = norm(along.values())
    if not 0 < length < math.inf:
        logits = compute(moving)
        return logits, torch.zeros_like(logits) if length == 0 else logits * math.nan
    # a difference far below the parameters' own size drowns in their rounding
    h = max(fd_step, 1e-4 * norm(fixed.values())) / length
    ahead = compute({name: value + h * along[name] for name, value in moving.items()})
    behind = compute({name: value - h * along[name] for name, value in moving.items()})
    ahead, behind = _wide(ahead), _wide(behind)
    return (ahead + behind) / 2, (ahead - behind) / (2 * h)


def norm(tensors: Any) -> float:
    """Euclidean norm of several tensors together; nan or inf where one is not finite.

    Examples:
        >>> norm([torch.tensor([3.0]), torch.tensor([4.0])])
        5.0
    """
    parts = [torch.linalg.vector_norm(_wide(t)).double().cpu() for t in tensors if t.numel()]
    return float(torch.linalg.vector_norm(torch.stack(parts))) if parts else 0.0


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


@contextlib.contextmanager
def _in_mode(module: nn.Module, mode: Mode) -> Iterator[None]:
    was = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in was:
            part.training = mode == "train"
        yield
    finally:
        for part, training in was:
            part.training = training


@contextlib.contextmanager
def _differentiable_attention() -> Iterator[None]:
    """Fused attention has no forward-mode derivative: the plain products are taken."""
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
