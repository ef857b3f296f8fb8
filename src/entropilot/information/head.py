"""Statistics of next-token distributions from hidden states, without the logits [N, V].

Legend: N tokens (all leading axes of the hidden states), D hidden, V vocabulary. Nats.

The output head is the product of hidden states and a weight [V, D]. Its logits are formed a chunk
at a time in one buffer and thrown away. Two ways, for two situations:

``head_statistics``
    an autograd function of hidden, weight and bias. The backward forms the logits again: four
    products in all. For a loss that is only known after the statistics, as under a clipped ratio.
    Extra memory: one chunk (``chunk`` logits, default 512 x 2048, 4 MB in float32; with a nucleus
    128 V in the forward) and 120 bytes a token; in the backward also the gradients.
``head_gradients``
    takes dLoss/dstatistic and gives the statistics and the gradients from one forward pass: three
    products. For a loss whose slopes are known before: a policy gradient with measured log-probs.
    Extra memory: one chunk (``chunk`` logits, default 128 V), 120 bytes a token and the gradients.

A logit has 4 bytes (8 where an input is float64). float16 and bfloat16 inputs are widened panel by
panel; products and sums are in float32 or better. On other devices than the CPU the same steps run
in torch, with larger chunks and three chunks more of temporary memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entropilot.errors import ConfigurationError, InputError, require, unknown_name
from entropilot.information._backend import Array, is_torch
from entropilot.information.nucleus import check_nucleus
from entropilot.information.statistics import check_temperature, checked_labels

if TYPE_CHECKING:
    from entropilot.information._head_autograd import Request


class HeadStatistics(NamedTuple):
    """Statistics [...] of the distributions softmax((hidden weight^T + bias) / T), nats.

    What was not asked for is None. The first five carry gradients, the others are constants.
    """

    logprob: Array | None = None  # of the target
    entropy: Array | None = None  # in [0, ln V]
    varentropy: Array | None = None  # variance of the surprisal, nats^2
    logsumexp: Array | None = None  # of the logits divided by the temperature
    nucleus_entropy: Array | None = None  # of the renormalised top-p set
    nucleus_size: Array | None = None  # how many tokens the top-p set has
    sum_p2: Array | None = None  # sum of p^2
    sum_p2_logp: Array | None = None  # sum of p^2 ln p
    max: Array | None = None  # the largest logit, before the division
    top_logprob: Array | None = None  # [..., K] of the K most likely tokens, falling
    top_token: Array | None = None  # [..., K] int64


class HeadGradients(NamedTuple):
    """What ``head_gradients`` gives. Gradients are float32 (float64 where an input is)."""

    statistics: HeadStatistics
    hidden: Array  # [..., D] dLoss/dhidden
    weight: Array | None  # [V, D] dLoss/dweight; None with weight_gradient=False
    bias: Array | None  # [V] dLoss/dbias; None without a bias


DIFFERENTIABLE: Final = ("logprob", "entropy", "varentropy", "logsumexp", "nucleus_entropy")
_NAMES: Final = (*DIFFERENTIABLE, "nucleus_size", "sum_p2", "sum_p2_logp", "max")


def head_statistics(
    hidden: Array,
    weight: Array,
    targets: Array | None = None,
    *,
    bias: Array | None = None,
    temperature: float = 1.0,
    n_vocab: int | None = None,
    wants: Iterable[str] = ("logprob", "entropy"),
    top_p: float | None = None,
    top_k: int = 0,
    chunk: int | None = None,
) -> HeadStatistics:
    """Log-prob of the target, entropy and more of an output head, chunk by chunk.

        l_v        = z_v / T - logsumexp(z / T),   z = hidden weight^T + bias,   over v < n_vocab
        logprob    = l_target,   entropy = -sum exp(l_v) l_v,   and as in ``token_statistics``
        nucleus    : as in ``nucleus_entropy``, with the token that reaches top_p

    Gradients flow from logprob, entropy, varentropy, logsumexp and nucleus_entropy (membership
    detached) into hidden, weight and bias where these ask for them; otherwise, and under
    ``torch.no_grad``, no graph is built. The backward forms the logits again.

    Args:
        hidden: [..., D] float torch tensor.
        weight: [V, D] float.
        targets: [...] int in [0, n_vocab); needed for ``logprob``.
        bias: [V] float; -inf marks an impossible token, whose p ln p and gradient are 0.
        temperature: > 0; divides the logits.
        n_vocab: true vocabulary size; weight rows from there on are padding, never read, and have
            gradient 0.
        wants: names of fields of ``HeadStatistics`` up to ``max``.
        top_p: in (0, 1]; mass of the nucleus, for ``nucleus_entropy`` and ``nucleus_size``.
        top_k: also give the K most likely tokens and their log-probs.
        chunk: logits held at a time; more is faster up to some millions.

    Returns:
        ``HeadStatistics`` of tensors [...], float32; float64 where an input is float64.

    Raises:
        InputError: shapes that do not fit, a target out of range, a row with nan, or one with every
            token impossible.
        ConfigurationError: an unknown name in ``wants``, or a nucleus without ``top_p``.

    Examples:
        >>> import torch
        >>> hidden, weight = torch.eye(2), torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> found = head_statistics(hidden, weight, torch.tensor([0, 1]))
        >>> [round(h, 4) for h in found.entropy.tolist()]
        [1.0986, 0.9753]

    Source: the gradient dH/dz_v = -p_v (ln p_v + H); the online softmax of arXiv 1805.02867.
    """
    names = frozenset(wants)
    lead, flat, labels, request = _checked(
        hidden, weight, targets, bias, temperature, n_vocab, names, top_p, chunk, top_k
    )
    from entropilot.information._head_autograd import measured_statistics

    return _shaped(measured_statistics(flat, weight, bias, labels, request), lead)


def head_gradients(
    hidden: Array,
    weight: Array,
    targets: Array | None,
    slopes: Mapping[str, Array],
    *,
    bias: Array | None = None,
    temperature: float = 1.0,
    n_vocab: int | None = None,
    wants: Iterable[str] = ("logprob", "entropy"),
    top_p: float | None = None,
    chunk: int | None = None,
    weight_gradient: Array | bool = True,
) -> HeadGradients:
    """Statistics and gradients of an output head in one pass, where dLoss/dstatistic is known.

        G      = dLoss/dz = sum over statistics s of slopes[s] ds/dz    formed in place of z
        hidden = G weight,    weight = G^T hidden,    bias = sum of the rows of G

    No graph is built: pass the result on with ``hidden.backward(found.hidden)``.

    Args:
        hidden: [..., D] float torch tensor.
        weight: [V, D] float.
        targets: [...] int in [0, n_vocab), or None when nothing needs the log-prob.
        slopes: name of a differentiable statistic -> [...] dLoss/dstatistic. A token that must not
            count has 0 everywhere. For the loss -mean(A logprob) - c mean(H) they are
            ``{"logprob": -A / N, "entropy": -c / N}``.
        bias: [V] float; -inf marks an impossible token, whose gradient is 0.
        temperature: > 0; divides the logits.
        n_vocab: true vocabulary size; weight rows from there on are padding, never read, and have
            gradient 0.
        wants: statistics to give back, fields of ``HeadStatistics`` up to ``max``.
        top_p: in (0, 1]; mass of the nucleus.
        chunk: logits held at a time, at least V; default 128 V. More rows are a little faster.
        weight_gradient: False for a frozen head; or a tensor [V, D] to add to, float32 (float64
            where an input is), which then is the ``weight`` of the result.

    Returns:
        ``HeadGradients``.

    Raises:
        InputError: as ``head_statistics``; slopes of another shape, or not finite. A bad row of
            hidden states leaves a given ``weight_gradient`` in parts: throw it away.
        ConfigurationError: unknown names, or a nucleus without ``top_p``.

    Examples:
        >>> import torch
        >>> hidden, weight = torch.ones(1, 1), torch.zeros(2, 1)
        >>> found = head_gradients(hidden, weight, torch.tensor([0]), {"logprob": torch.ones(1)})
        >>> found.weight.tolist()
        [[0.5], [-0.5]]
    """
    names = frozenset(wants)
    for name in slopes:
        if name not in DIFFERENTIABLE:
            raise ConfigurationError(unknown_name("differentiable statistic", name, DIFFERENTIABLE))
    lead, flat, labels, request = _checked(
        hidden, weight, targets, bias, temperature, n_vocab, names | frozenset(slopes), top_p, chunk
    )
    from entropilot.information import _head_autograd as autograd

    torch = sys.modules["torch"]
    for name, value in slopes.items():
        if tuple(value.shape) != lead:
            raise InputError(
                f"slopes of {name} have shape {tuple(value.shape)}; one a token is expected: {lead}"
            )
        if not bool(torch.isfinite(value).all()):
            row = int((~torch.isfinite(value.reshape(-1))).nonzero()[0, 0])
            raise InputError(
                f"slope of {name}, row {row}, is not finite; a token that must not count has 0"
            )
    into = weight_gradient
    if into is True:
        kind = torch.float64 if torch.float64 in (flat.dtype, weight.dtype) else torch.float32
        into = torch.zeros_like(weight, dtype=kind)
    request = request._replace(wants=names)
    values, gradients = autograd.known_gradients(
        flat,
        weight.detach(),
        None if bias is None else bias.detach(),
        labels,
        request,
        autograd.slopes_of(dict(slopes), flat),
        None if into is False else into,
    )
    on_hidden = gradients.hidden.reshape(hidden.shape)  # type: ignore[union-attr]
    return HeadGradients(_shaped(values, lead), on_hidden, gradients.weight, gradients.bias)


def _shaped(values: dict[str, Any], lead: tuple[int, ...]) -> HeadStatistics:
    shaped = {name: v.reshape((*lead, *v.shape[1:])) for name, v in values.items()}
    return HeadStatistics(**shaped)


def _checked(
    hidden: Any,
    weight: Any,
    targets: Any,
    bias: Any,
    temperature: float,
    n_vocab: int | None,
    wants: frozenset[str],
    top_p: float | None,
    chunk: int | None,
    top_k: int = 0,
) -> tuple[tuple[int, ...], Any, Any, Request]:
    """Leading shape, hidden [N, D], targets [N] or None, and what is to be measured."""
    require("torch", extra="torch", purpose="the fused output head")
    if not (is_torch(hidden) and is_torch(weight)):
        raise InputError(
            f"hidden is {type(hidden).__name__} and weight {type(weight).__name__}; both must be "
            "torch tensors. For logits in numpy use token_statistics"
        )
    if weight.ndim != 2 or hidden.ndim < 1 or hidden.shape[-1] != weight.shape[1]:
        raise InputError(
            f"hidden has shape {tuple(hidden.shape)} and weight {tuple(weight.shape)}; expected "
            "[..., D] and [V, D]"
        )
    if not (hidden.is_floating_point() and weight.is_floating_point()):
        raise InputError(f"hidden is {hidden.dtype} and weight {weight.dtype}; expected floats")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise InputError(
            f"bias has shape {tuple(bias.shape)}; one a token is expected: ({weight.shape[0]},)"
        )
    n = weight.shape[0] if n_vocab is None else n_vocab
    if not 1 <= n <= weight.shape[0]:
        raise InputError(f"n_vocab is {n_vocab}; the weight has {weight.shape[0]} rows")
    check_temperature(temperature)
    for name in wants:
        if name not in _NAMES:
            raise ConfigurationError(unknown_name("statistic", name, _NAMES))
    needs_nucleus = bool(wants & {"nucleus_entropy", "nucleus_size"})
    if needs_nucleus and top_p is None:
        raise ConfigurationError("nucleus statistics are wanted without top_p; give top_p=0.8, say")
    if top_p is not None:
        check_nucleus(top_p, "inclusive", None)
    if chunk is not None and chunk < 1:
        raise ConfigurationError(f"chunk is {chunk}; at least one logit is held at a time")
    if not 0 <= top_k <= n:
        raise ConfigurationError(f"top_k is {top_k}; it is in [0, {n}]")
    lead = tuple(hidden.shape[:-1])
    if targets is None and "logprob" in wants:
        raise InputError("logprob is wanted without targets; give them, or leave it out of wants")
    labels = None
    if targets is not None:
        labels = checked_labels(targets, lead, n)
        labels = sys.modules["torch"].as_tensor(labels, device=hidden.device)
    from entropilot.information._head_autograd import Request
    from entropilot.information._head_passes import Settings

    squares = bool(wants & {"sum_p2", "sum_p2_logp"})
    settings = Settings(temperature, squares, top_p if needs_nucleus else None, top_k)
    flat = hidden.reshape(-1, hidden.shape[-1])
    return lead, flat, labels, Request(wants, settings, n, chunk)
