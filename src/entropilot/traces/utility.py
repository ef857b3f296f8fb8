"""How useful each reasoning step is: the entropy of the answer after every step of a chain.

Source: Measuring Reasoning Utility in LLMs via Conditional Entropy Reduction, arXiv 2508.20395.

Legend: K steps of a chain, M tokens of the answer, V vocabulary, n chains, G points of the grid.

An inspector model reads the question and the first k steps, then the answer is forced on it token
by token; h_k is the mean entropy of its next-token distribution at the M answer positions. It is
an entropy over the vocabulary, not the likelihood of the answer: ``nll`` is that, beside it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.information import TopK, entropy_topk, token_statistics

Floats = NDArray[np.float64]
Which = Literal["gold", "own"]
SpanMode = Literal["full", "lump", "renormalise", "bounds"]
Verdict = Literal["decreasing", "rising", "flat"]

GRID: Final = 11  # points of the aligned trajectory; the paper names the spline, not the grid
LONG_ANSWER: Final = 32  # tokens; the mean over a longer answer is ruled by syntax
DROP_SHARE: Final = 0.1  # a chain counts as decreasing when it loses this share of h_0
_SPAN_MODES: Final = get_args(SpanMode)


class SpanEntropy(NamedTuple):
    """Entropy of an answer span given one context, nats."""

    mean: float  # over the M positions
    tokens: Floats  # [M]
    nll: float  # mean -log p of the answer's tokens; nan where a token is not listed
    lower: float  # what the listed tokens prove; equal to the mean for full distributions
    upper: float


def answer_entropy_of_span(
    distributions: Any,
    targets: ArrayLike,
    *,
    mode: SpanMode = "full",
    vocab_size: int = 0,
) -> SpanEntropy:
    """Mean entropy of the distributions at the answer's positions, and the answer's NLL.

        H_t  = -sum_v p(v | C, y_<t) ln p(v | C, y_<t)
        mean = (1/M) sum_t H_t
        nll  = -(1/M) sum_t ln p(y_t | C, y_<t)

    Args:
        distributions: logits [M, V], or a pair (ids [M, K], log-probabilities [M, K]) of the K most
            likely tokens, or a ``TopK`` of M rows, which also says where a server has appended the
            answer's own token; empty slots hold id -1 and -inf.
        targets: [M] ids of the answer's tokens.
        mode: "full" for logits. For truncated lists "lump" (the rest is one more token), "bounds"
            (the middle of what is possible) or "renormalise", which is biased down most where the
            answer is unsettled.
        vocab_size: V, for the upper bound of truncated lists; 0 = unknown. A ``TopK`` has its own.

    Returns:
        Mean, positions, NLL and bounds. In mode "bounds" an infinite upper end makes the mean
        infinite: give the vocabulary size.

    Raises:
        InputError: no positions, another number of targets, or what the entropies reject.
        ConfigurationError: unknown mode, or one that does not fit the kind of distributions.

    Examples:
        >>> span = answer_entropy_of_span(np.log([[0.5, 0.25, 0.25]]), [0])
        >>> round(span.mean, 4), round(span.nll, 4)
        (1.0397, 0.6931)

    Source: arXiv 2508.20395, conditional entropy of the answer span; bounds are ours.
    """
    if mode not in _SPAN_MODES:
        raise ConfigurationError(unknown_name("mode", mode, _SPAN_MODES))
    n_top = None
    if isinstance(distributions, TopK):
        vocab_size, n_top = distributions.vocab_size or vocab_size, distributions.n_top
        distributions = (distributions.ids, distributions.logprobs)
    truncated = isinstance(distributions, tuple)
    if truncated is (mode == "full"):
        kind = "truncated lists" if truncated else "logits"
        raise ConfigurationError(
            f"mode is {mode!r} for {kind}; use 'full' for logits and 'lump', 'bounds' or "
            "'renormalise' for truncated lists"
        )
    y = np.asarray(targets, dtype=np.int64)
    rows = np.shape(distributions[1] if truncated else distributions)
    if y.ndim != 1 or not len(y) or len(rows) != 2 or rows[0] != len(y):
        raise InputError(
            f"an answer of {y.shape} tokens has distributions of shape {rows}; "
            "expected one row for each token and at least one token"
        )
    if mode == "full":
        found = token_statistics(distributions, y)
        tokens = np.asarray(found.entropy, dtype=np.float64)
        nll = -float(np.mean(np.asarray(found.logprob, dtype=np.float64)))
        mean = float(tokens.mean())
        return SpanEntropy(mean, tokens, nll, mean, mean)
    ids, logprobs = (np.asarray(part) for part in distributions)
    low, high = entropy_topk(logprobs, "bounds", vocab_size, n_top)
    tokens = (low + high) / 2
    if mode != "bounds":
        tokens = np.asarray(entropy_topk(logprobs, mode, vocab_size, n_top))
    listed = ids == y[:, None]
    taken = np.where(listed.any(-1), np.max(np.where(listed, logprobs, -np.inf), -1), np.nan)
    means = (float(tokens.mean()), -float(taken.mean()), float(low.mean()), float(high.mean()))
    return SpanEntropy(means[0], tokens.astype(np.float64), *means[1:])


@dataclass(frozen=True)
class Trajectory:
    """Entropy of the answer after each step of one chain, nats."""

    h: Floats  # [K+1] mean over the answer's tokens; h[0] is without any step
    nll: Floats  # [K+1]
    per_token: Floats  # [K+1, M]
    lower: Floats  # [K+1] bounds of h; equal to h for full distributions
    upper: Floats  # [K+1]
    step_tokens: tuple[int, ...]  # [K] length of each step in the inspector's tokens
    leak_step: int | None  # first step (from 1) that contains the answer; later falls are copying
    which: Which  # whose answer: the reference ("gold") or the chain's own ("own")
    connector: str
    answer: str

    @property
    def n_steps(self) -> int:
        """K."""
        return len(self.h) - 1

    @property
    def utility(self) -> Floats:
        """[K] information gain of each step, h[k-1] - h[k]; they add up to h[0] - h[K]."""
        return -np.diff(self.h)

    @property
    def utility_bounds(self) -> tuple[Floats, Floats]:
        """[K] least and largest gain that truncated distributions allow."""
        return self.lower[:-1] - self.upper[1:], self.upper[:-1] - self.lower[1:]

    @property
    def total(self) -> Floats:
        """[K+1] sum over the answer's tokens instead of the mean."""
        total: Floats = self.per_token.sum(-1)
        return total


def trajectory_of_spans(
    spans: Sequence[SpanEntropy],
    *,
    which: Which = "gold",
    connector: str,
    answer: str,
    step_tokens: Sequence[int] | None = None,
    leak_step: int | None = None,
) -> Trajectory:
    """A trajectory from the answer's entropy after 0, 1, ... K steps.

    Examples:
        >>> one = answer_entropy_of_span(np.zeros((2, 4)), [0, 1])
        >>> trajectory_of_spans([one], connector=" is ", answer="7").n_steps
        0
    """
    if which not in ("gold", "own"):
        raise ConfigurationError(unknown_name("answer mode", which, ["gold", "own"]))
    widths = {len(span.tokens) for span in spans}
    if len(widths) != 1:
        raise InputError(
            f"a trajectory needs spans of one length, got {len(spans)} spans of lengths "
            f"{sorted(widths)}; the answer is the same at every step"
        )
    if widths.pop() > LONG_ANSWER:
        warnings.warn(
            f"the answer {answer[:40]!r} has more than {LONG_ANSWER} tokens; the mean entropy over "
            "so long a span is ruled by its syntax. Use a short final answer.",
            UserWarning,
            stacklevel=2,
        )
    return Trajectory(
        np.array([span.mean for span in spans]),
        np.array([span.nll for span in spans]),
        np.array([span.tokens for span in spans]),
        np.array([span.lower for span in spans]),
        np.array([span.upper for span in spans]),
        (0,) * (len(spans) - 1) if step_tokens is None else tuple(step_tokens),
        leak_step,
        which,
        connector,
        answer,
    )


def align(trajectories: Sequence[Trajectory | ArrayLike], grid: int = GRID) -> Floats:
    """Trajectories of different length on one grid: cubic spline through (k/K, h_k).

    Ends are not-a-knot; two steps give the parabola, one step a straight line. The spline can
    undershoot 0; clip it for drawing only.

    Args:
        trajectories: n, or plain arrays [K+1].
        grid: G, at least 2.

    Returns:
        [n, G] nats; a row of nan for a chain without steps.

    Raises:
        InputError: a trajectory is empty or not finite.

    Examples:
        >>> align([[1.0, 0.0], [2.0]], grid=3).tolist()
        [[1.0, 0.5, 0.0], [nan, nan, nan]]

    Source: arXiv 2508.20395 (spline); the grid is ours.
    """
    if grid < 2:
        raise ConfigurationError(f"the grid has {grid} points; it needs at least 2")
    x = np.linspace(0.0, 1.0, grid)
    rows = np.full((len(trajectories), grid), np.nan)
    for i, trajectory in enumerate(trajectories):
        h = _values(trajectory, i)
        if len(h) > 1:
            rows[i] = _spline(h)(x)
    return rows


def summarise_trajectory(trajectory: Trajectory | ArrayLike) -> dict[str, Any]:
    """What one trajectory says, as plain numbers (nats; position runs from 0 to 1).

        slope              least squares of h on k/K
        monotone_fraction  share of steps with h[k] < h[k-1]
        drop               h[0] - h[K];  relative_drop = drop / h[0]
        early_drop         h[0] - h at 1/3 (spline)
        area               under the straight lines through (k/K, h_k)
        drop_before_last   h[0] - h[K-1]: the last step usually states the answer

    Args:
        trajectory: one, or a plain array [K+1] of nats.

    Returns:
        The above with "n_steps", "n_tokens", "h_first", "h_last", "h_before_last", "leak_step" and
        "verdict". Without steps the slope and what else needs one are nan.

    Examples:
        >>> found = summarise_trajectory([2.0, 1.5, 0.5])
        >>> found["drop"], found["slope"], found["verdict"]
        (1.5, -1.5, 'decreasing')

    Source: arXiv 2508.20395; the verdict's threshold is ours.
    """
    h = _values(trajectory, 0)
    n_steps = len(h) - 1
    nan = float("nan")
    result: dict[str, Any] = {
        "n_steps": n_steps,
        "n_tokens": sum(trajectory.step_tokens) if isinstance(trajectory, Trajectory) else None,
        "leak_step": trajectory.leak_step if isinstance(trajectory, Trajectory) else None,
        "h_first": float(h[0]),
        "h_last": float(h[-1]),
    }
    names = (
        "slope",
        "monotone_fraction",
        "early_drop",
        "area",
        "h_before_last",
        "drop_before_last",
    )
    result |= dict.fromkeys(names, nan)
    result["drop"] = float(h[0] - h[-1])
    with np.errstate(over="ignore"):  # an answer that is all but certain from the start
        result["relative_drop"] = float((h[0] - h[-1]) / h[0]) if h[0] > 0 else nan
    if n_steps:
        x = np.linspace(0.0, 1.0, n_steps + 1)
        centred = x - x.mean()
        result["slope"] = float(centred @ h / (centred @ centred))
        result["monotone_fraction"] = float(np.mean(np.diff(h) < 0))
        result["early_drop"] = float(h[0] - _spline(h)(1 / 3))
        result["area"] = float(np.trapezoid(h, x))
        result["h_before_last"] = float(h[-2])
        result["drop_before_last"] = float(h[0] - h[-2])
    result["verdict"] = verdict_of(result["slope"], result["drop"], float(h[0]))
    return result


def verdict_of(slope: float, drop: float, h_first: float) -> Verdict:
    """Whether a chain settles the answer.

    "decreasing" when the slope is negative and more than a tenth of h[0] is lost, "rising" when
    the slope is positive and the end is above the start, else "flat".

    Examples:
        >>> verdict_of(-1.0, 0.5, 2.0), verdict_of(0.2, -0.1, 2.0), verdict_of(-0.1, 0.1, 2.0)
        ('decreasing', 'rising', 'flat')
    """
    if slope < 0 and drop > DROP_SHARE * h_first:
        return "decreasing"
    return "rising" if slope > 0 and drop < 0 else "flat"


def select_chain(trajectories: Sequence[Trajectory | ArrayLike]) -> int | None:
    """Index of the chain to trust: the steepest of those that decrease; None when none does.

    Examples:
        >>> select_chain([[2.0, 1.9], [2.0, 0.5], [2.0, 2.5]]), select_chain([[1.0, 1.2]])
        (1, None)

    Source: arXiv 2508.20395, suggested use.
    """
    found = [summarise_trajectory(trajectory) for trajectory in trajectories]
    falling = [i for i, summary in enumerate(found) if summary["verdict"] == "decreasing"]
    return min(falling, key=lambda i: found[i]["slope"], default=None)


def _values(trajectory: Trajectory | ArrayLike, row: int) -> Floats:
    h = trajectory.h if isinstance(trajectory, Trajectory) else np.asarray(trajectory, dtype=float)
    if h.ndim != 1 or not len(h) or not np.isfinite(h).all():
        raise InputError(
            f"trajectory {row} has values {np.array2string(h.ravel()[:6])} of shape {h.shape}; "
            "expected a list of finite entropies, one before the first step and one after each"
        )
    return h


def _spline(h: Floats) -> Any:
    from scipy.interpolate import CubicSpline

    return CubicSpline(np.linspace(0.0, 1.0, len(h)), h)
