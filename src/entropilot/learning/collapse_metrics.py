"""Neural collapse metrics NC1 to NC4 of features and a classifier; 0 means collapse.

With class means mu_k, mu_G the mean over samples, M the rows mu_k - mu_G, and every matrix divided
by its Frobenius norm where a bar stands:

    NC1  = tr(Sigma_W pinv(Sigma_B)) / K,  Sigma_B = M'M / K,  Sigma_W the scatter within classes
    NC2  = | bar(W W') - bar(T) |                  and the same of the class means
    NC3  = | bar(W Mu') - bar(T) |,  self-dual = | bar(W) - bar(Mu) |

T is the target: the identity (OF, no bias), I - 11'/K (ETF, a free bias; means are centred), or the
closed form of an imbalanced problem (GOF, ``collapse_geometry.ufm_mse``).

Source: arXiv 2301.00437 and its released code; NC4 from Papyan, Han and Donoho, arXiv 2008.08186.
Departs from the code: nothing is normalised in place, and NC2 of the features is normalised too.

Cost: NC1 needs the scatter on the span of the K - 1 centred means only, so that features are read
twice and 4 N d K operations are made, not N d^2. One pass over a stream: ``collapse_stream``.

Legend: K classes, N samples, d features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.collapse_geometry import UFMSolution

Floats = NDArray[np.float64]

#: What the geometry is compared with; see the head of the module.
Target = Literal["etf", "of"] | UFMSolution

BLOCK: Final = 2**18  # numbers of the features in float64 at a time: they stay in the cache


@dataclass(frozen=True)
class ClassMoments:
    """What the geometry is made from.

    Args:
        counts: [K] samples.
        means: [K, d] class means.
        within: of [d, J] directions, orthonormal columns: [J] variances within classes.
    """

    counts: Floats
    means: Floats
    within: Callable[[Floats], Floats]


def nc_metrics(
    features: Any,
    labels: Any,
    W: Any = None,
    bias: Any = None,
    targets: Target = "etf",
) -> dict[str, float]:
    """Every collapse metric of one layer.

    Args:
        features: [N, d] numpy array or torch tensor; sums are made in float64 in blocks.
        labels: [N] integers in 0 .. K - 1.
        W: [K, d] classifier; None leaves its metrics out.
        bias: [K] of the classifier, read by ``nc4`` alone.
        targets: ``"etf"`` for a classifier with a bias, ``"of"`` for one without, or the closed
            form of an imbalanced problem.

    Returns:
        ``nc1``; ``nc2_h``; ``equinorm_h`` (deviation over mean of the norms of the class means);
        ``cos_h`` (largest distance of a cosine from the target's); ``effective_rank`` of the class
        means, exp of the entropy of their singular values. With W also ``nc2_w``, ``nc3``,
        ``self_dual``, ``equinorm_w``, ``cos_w``, and ``nc4``, the share of samples that W puts
        elsewhere than the nearest class mean. ``nc1`` is nan, with a warning, where all class means
        are one.

    Raises:
        InputError: labels out of range, a class without samples, features that are not finite, W of
            another shape.

    Examples:
        >>> H = np.repeat(np.eye(3), 4, axis=0)
        >>> found = nc_metrics(H, np.repeat([0, 1, 2], 4), np.eye(3), targets="of")
        >>> {name: abs(round(found[name], 6)) for name in ("nc1", "nc2_w", "nc3", "nc4")}
        {'nc1': 0.0, 'nc2_w': 0.0, 'nc3': 0.0, 'nc4': 0.0}
    """
    x, y = as_features(features), as_labels(labels)
    if len(x) != len(y):
        raise InputError(f"{len(y)} labels for {len(x)} rows of features; give one a row")
    classifier = None if W is None else _as_matrix(W)
    n_classes = len(classifier) if classifier is not None else int(y.max()) + 1
    moments = _moments(x, y, n_classes)
    found = geometry(moments, classifier, targets)
    if classifier is not None:
        found["nc4"] = _disagreement(x, moments.means, classifier, bias)
    return found


def geometry(
    moments: ClassMoments, classifier: Floats | None = None, targets: Target = "etf"
) -> dict[str, float]:
    """All metrics but NC4 from class moments; see ``nc_metrics``.

    Examples:
        >>> moments = ClassMoments(np.full(2, 5.0), np.eye(2), lambda v: np.zeros(v.shape[1]))
        >>> round(geometry(moments, targets="of")["nc2_h"], 6)
        0.0
    """
    n, means = moments.counts, moments.means
    k, d = means.shape
    if isinstance(targets, str) and targets not in ("etf", "of"):
        raise ConfigurationError(
            f"targets is {targets!r}; give 'etf' (a classifier with a bias), 'of' (without), or "
            "the result of ufm_mse"
        )
    if isinstance(targets, UFMSolution) and len(targets.classes) != k:
        raise InputError(
            f"the closed form is of {len(targets.classes)} classes, the features of {k}"
        )
    if classifier is not None and classifier.shape != means.shape:
        raise InputError(
            f"W has shape {classifier.shape}; {k} classes of {d} features need {means.shape}"
        )
    _warn_of_sizes(n, d, targets)
    centred = means - (n @ means) / n.sum()
    used = centred if targets == "etf" else means
    gram_w, gram_h, cross = _targets(targets, k)
    found = {
        "nc1": _nc1(moments, centred),
        "nc2_h": _gap(used @ used.T, gram_h),
        "equinorm_h": _spread(used),
        "cos_h": _cosines(used @ used.T, gram_h),
        "effective_rank": _effective_rank(used),
    }
    if classifier is not None:
        shown = classifier - classifier.mean(0) if targets == "etf" else classifier
        dual = _dual(targets, used)
        found |= {
            "nc2_w": _gap(classifier @ classifier.T, gram_w),
            "nc3": _gap(classifier @ used.T, cross),
            "self_dual": _gap(classifier, dual),
            "equinorm_w": _spread(shown),
            "cos_w": _cosines(shown @ shown.T, gram_w),
        }
    return found


def as_features(features: Any) -> Tensor:
    """[N, d] tensor of any float type, not copied; finite values are checked block by block.

    Raises:
        InputError: no matrix, or no rows.

    Examples:
        >>> as_features(np.zeros((3, 2))).shape
        torch.Size([3, 2])
    """
    x = features.detach() if isinstance(features, Tensor) else torch.as_tensor(np.asarray(features))
    if x.ndim != 2 or not len(x):
        raise InputError(f"features have shape {tuple(x.shape)}; give [N, d] with at least one row")
    return x


def as_labels(labels: Any) -> Tensor:
    """[N] tensor of int64.

    Raises:
        InputError: labels that are not whole numbers.

    Examples:
        >>> as_labels([0, 1, 1]).dtype
        torch.int64
    """
    y = labels.detach() if isinstance(labels, Tensor) else torch.as_tensor(np.asarray(labels))
    if y.ndim != 1 or y.is_floating_point() or y.is_complex():
        raise InputError(
            f"labels have shape {tuple(y.shape)} and type {y.dtype}; give [N] integers"
        )
    return y.long()


def checked_blocks(x: Tensor, y: Tensor, n_classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of features in float64 with their labels; a block is overwritten by the next.

    Raises:
        InputError: labels out of range, or features that are not finite: their count, and the first
            row.

    Examples:
        >>> len(list(checked_blocks(torch.zeros(5, 2), torch.zeros(5, dtype=torch.long), 2)))
        1
    """
    if n_classes < 2:
        raise InputError("collapse needs at least two classes")
    bad = (y < 0) | (y >= n_classes)
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        raise InputError(
            f"label {int(y[first])} at row {first} is outside 0 .. {n_classes - 1}; number the "
            "classes from 0"
        )
    size = max(1, BLOCK // max(1, x.shape[1]))
    room = torch.empty(size, x.shape[1], dtype=torch.float64, device=x.device)
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        block = room[: len(rows)].copy_(rows)
        if not math.isfinite(float(block.sum())) and not bool(torch.isfinite(block).all()):
            finite = torch.isfinite(x).all(1)
            raise InputError(
                f"features have {int((~finite).sum())} rows that are not finite, the first at row "
                f"{int((~finite).nonzero()[0])}; leave them out or find the layer that overflows"
            )
        yield block, y[start : start + size].to(x.device)


def check_counts(counts: Floats) -> None:
    """Every class needs a sample.

    Raises:
        InputError: naming the first class without one.

    Examples:
        >>> check_counts(np.array([2.0, 1.0]))
    """
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise InputError(
            f"class {empty[0]} has no samples ({len(empty)} of {len(counts)} classes have none); "
            "number the classes that occur from 0, or measure more samples"
        )


def _moments(x: Tensor, y: Tensor, n_classes: int) -> ClassMoments:
    sums = torch.zeros(n_classes, x.shape[1], dtype=torch.float64, device=x.device)
    counts = torch.zeros(n_classes, dtype=torch.float64, device=x.device)
    for block, own in checked_blocks(x, y, n_classes):
        sums.index_add_(0, own, block)
        counts += torch.bincount(own, minlength=n_classes)
    n = counts.cpu().numpy()
    check_counts(n)
    means = sums / counts[:, None]

    def within(directions: Floats) -> Floats:
        v = torch.as_tensor(directions, device=x.device)
        own_means = means @ v
        total = torch.zeros(v.shape[1], dtype=torch.float64, device=x.device)
        for block, own in checked_blocks(x, y, n_classes):
            total += (block @ v - own_means[own]).square().sum(0)
        found: Floats = (total / len(x)).cpu().numpy()
        return found

    return ClassMoments(n, means.cpu().numpy(), within)


def _nc1(moments: ClassMoments, centred: Floats) -> float:
    _, s, directions = np.linalg.svd(centred, full_matrices=False)
    scale = np.abs(moments.means).max()
    eps = np.finfo(np.float64).eps * max(centred.shape)
    kept = s > max(s[0] * eps, scale * eps)
    kept[len(moments.counts) - 1 :] = False  # the centred means span K - 1 directions at most
    if not kept.any():
        warnings.warn(
            "all class means are equal, so NC1 is not defined; the layer tells no class apart",
            stacklevel=4,
        )
        return float("nan")
    return float((moments.within(directions[kept].T) / s[kept] ** 2).sum())


def _targets(targets: Target, k: int) -> tuple[Floats, Floats, Floats]:
    if isinstance(targets, UFMSolution):
        return targets.classifier_gram, targets.feature_gram, targets.logits
    t = np.eye(k) - (1 / k if targets == "etf" else 0.0)
    return t, t, t


def _dual(targets: Target, used: Floats) -> Floats:
    """What W is proportional to, made from the class means."""
    if not isinstance(targets, UFMSolution):
        return used
    # W = U S R' and Mu = F h R', so that W = U (S / h) F^+ Mu
    back = np.linalg.pinv(targets.features)
    dual: Floats = (targets.classes * targets.ratio) @ (back @ used)
    return dual


def _unit(matrix: Floats) -> Floats:
    norm = np.linalg.norm(matrix)
    return matrix / norm if norm > 0 else matrix


def _gap(found: Floats, target: Floats) -> float:
    return float(np.linalg.norm(_unit(found) - _unit(target)))


def _spread(rows: Floats) -> float:
    norms = np.linalg.norm(rows, axis=1)
    return float(norms.std() / norms.mean()) if norms.mean() > 0 else float("nan")


def _cosines(gram: Floats, target: Floats) -> float:
    """Largest distance between cosines off the diagonal; rows of zeros do not count."""

    def cosines(matrix: Floats) -> Floats:
        norms = np.sqrt(np.clip(np.diag(matrix), 0, None))
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled: Floats = matrix / np.outer(norms, norms)
        return scaled

    gap = np.abs(cosines(gram) - cosines(target))
    gap = gap[~np.eye(len(gap), dtype=bool)]
    gap = gap[np.isfinite(gap)]
    return float(gap.max()) if len(gap) else float("nan")


def _effective_rank(rows: Floats) -> float:
    s = np.linalg.svd(rows, compute_uv=False)
    if not s.sum() > 0:
        return float("nan")
    p = s[s > 0] / s.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def _disagreement(x: Tensor, means: Floats, classifier: Floats, bias: Any) -> float:
    """Share of samples whose largest logit is not at the nearest class mean."""
    w = torch.as_tensor(classifier, device=x.device)
    mu = torch.as_tensor(means, device=x.device)
    offset = torch.zeros(len(w), dtype=torch.float64, device=x.device)
    if bias is not None:
        offset += torch.as_tensor(bias, device=x.device).detach().double()
    half = mu.square().sum(1) / 2
    wrong = 0
    for block, _ in checked_blocks(x, torch.zeros(len(x), dtype=torch.long), len(w)):
        nearest = (block @ mu.T - half).argmax(1)
        wrong += int((nearest != (block @ w.T + offset).argmax(1)).sum())
    return wrong / len(x)


def _as_matrix(W: Any) -> Floats:
    w = W.detach().double().cpu().numpy() if isinstance(W, Tensor) else np.asarray(W, float)
    if w.ndim != 2:
        raise InputError(f"W has shape {w.shape}; give [K, d]")
    if not np.isfinite(w).all():
        raise InputError(f"W has {int((~np.isfinite(w)).sum())} entries that are not finite")
    return w


def _warn_of_sizes(counts: Floats, d: int, targets: Target) -> None:
    k = len(counts)
    alone = np.flatnonzero(counts == 1)
    if len(alone):
        warnings.warn(
            f"class {alone[0]} has a single sample ({len(alone)} such classes); it adds nothing to "
            "the scatter within classes, so NC1 is too small",
            stacklevel=4,
        )
    needed = k - 1 if targets == "etf" else k
    if d < needed:
        floor = float(np.sqrt(max(0.0, 2 - 2 * np.sqrt(d / needed))))
        warnings.warn(
            f"{d} features can't hold {needed} directions: NC2 can't fall below {floor:.3f}",
            stacklevel=4,
        )
