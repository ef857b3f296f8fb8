"""Neural collapse metrics of a stream, in one pass and without keeping features.

Kept are the counts n_k, the class means mu_k and the scatter within classes S, the sum of
(h - mu)(h - mu)', of which the lower triangle counts. A batch is centred by its own class means
before it is added, and two parts merge by

    S = S_a + S_b + sum_k n_a n_b / (n_a + n_b) (mu_a - mu_b)(mu_a - mu_b)'

which stays exact where features have nearly collapsed; the difference of second moments,
sum h h' - sum n_k mu_k mu_k', would there be the rounding of two large numbers.

Legend: K classes, N samples, d features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropilot.errors import InputError, LimitError
from entropilot.learning.collapse_metrics import (
    ClassMoments,
    Target,
    as_features,
    as_labels,
    check_counts,
    checked_blocks,
    geometry,
)

Floats = NDArray[np.float64]

MOST_FEATURES: Final = 16_384  # a scatter of 2 GiB


class StreamingNC:
    """Collapse metrics of features that come batch by batch.

    Args:
        n_classes: K.
        n_features: d; the scatter takes 8 d^2 bytes.
        device: of the sums.

    Raises:
        LimitError: more features than ``MOST_FEATURES``.

    Examples:
        >>> stream = StreamingNC(2, 3)
        >>> stream.update(np.eye(3)[[0, 0, 1]], np.array([0, 0, 1]))
        >>> stream.update(np.eye(3)[[1]], np.array([1]))
        >>> round(stream.metrics(targets="of")["nc1"], 6)
        0.0
    """

    def __init__(self, n_classes: int, n_features: int, device: str | torch.device = "cpu") -> None:
        if n_features > MOST_FEATURES:
            raise LimitError(
                f"{n_features} features need a scatter of {8 * n_features**2 / 2**30:.1f} GiB; "
                "take rows='mean' of a convolution or a sequence, or nc_metrics on features that "
                "are kept, which needs no scatter"
            )
        self.counts = torch.zeros(n_classes, dtype=torch.float64, device=device)
        self.means = torch.zeros(n_classes, n_features, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(n_features, n_features, dtype=torch.float64, device=device)

    def update(self, features: Any, labels: Any) -> None:
        """Add a batch.

        Args:
            features: [N, d].
            labels: [N] integers in 0 .. K - 1.

        Raises:
            InputError: as in ``nc_metrics``; nothing of a block with bad features is added.
        """
        x, y = as_features(features), as_labels(labels)
        k, d = self.means.shape
        if x.shape[1] != d or len(x) != len(y):
            raise InputError(
                f"features {tuple(x.shape)} and {len(y)} labels; expected [N, {d}] and [N]"
            )
        for block, own in checked_blocks(x, y, k):
            counts = torch.bincount(own, minlength=k).double()
            means = torch.zeros_like(self.means).index_add_(0, own, block)
            means /= counts.clamp(min=1)[:, None]
            block -= means[own]
            self._absorb(counts, means)
            _add_products(self.scatter, block)

    def merge(self, other: StreamingNC) -> None:
        """Add what another stream has seen, such as another shard."""
        self._absorb(other.counts, other.means)
        self.scatter += other.scatter

    def metrics(
        self,
        W: Any = None,
        targets: Target = "etf",
        *,
        only_present: bool = False,
    ) -> dict[str, float]:
        """The metrics of everything seen: all of ``nc_metrics`` but ``nc4``, which needs samples.

        Args:
            W: [K, d] classifier.
            targets: as in ``nc_metrics``.
            only_present: leave out classes without samples, as where classes are the words of a
                vocabulary; otherwise they are an error.

        Raises:
            InputError: a class has no samples, or W has another shape.
        """
        counts, means = self.counts.cpu().numpy(), self.means.cpu().numpy()
        classifier = None if W is None else torch.as_tensor(W).detach().double().cpu().numpy()
        if only_present:
            present = counts > 0
            if present.sum() < 2:
                raise InputError(f"{int(present.sum())} classes have samples; collapse needs two")
            if classifier is not None and len(classifier) == len(counts):
                classifier = classifier[present]
            counts, means = counts[present], means[present]
        check_counts(counts)
        total = counts.sum()

        def within(directions: Floats) -> Floats:
            v = torch.as_tensor(directions, device=self.scatter.device)
            spread = ((_whole(self.scatter) @ v) * v).sum(0).clamp(min=0)
            found: Floats = spread.cpu().numpy() / total
            return found

        return geometry(ClassMoments(counts, means, within), classifier, targets)

    def state_dict(self) -> dict[str, Tensor]:
        """The sums, by name."""
        return {"counts": self.counts, "means": self.means, "scatter": self.scatter}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> StreamingNC:
        """A stream that goes on from ``state_dict()``; it takes the tensors over."""
        stream = cls.__new__(cls)
        stream.counts, stream.means = state["counts"], state["means"]
        stream.scatter = state["scatter"]
        return stream

    def _absorb(self, counts: Tensor, means: Tensor) -> None:
        """Counts and means of a part, and what joining it adds to the scatter."""
        joined = self.counts + counts
        weight = self.counts * counts / joined.clamp(min=1)
        both = weight > 0
        gap = means - self.means
        if bool(both.any()):
            _add_products(self.scatter, gap[both] * weight[both].sqrt()[:, None])
        self.means += gap * (counts / joined.clamp(min=1))[:, None]
        self.counts = joined


def _add_products(scatter: Tensor, rows: Tensor) -> None:
    """Scatter += rows' rows; on the CPU the lower triangle alone, by BLAS, for half the work."""
    if scatter.device.type != "cpu":
        scatter.addmm_(rows.T, rows)
    elif len(rows):
        from scipy.linalg.blas import dsyrk

        # BLAS counts columns first: what is the upper triangle to it is our lower one
        dsyrk(1.0, rows.contiguous().numpy().T, 1.0, scatter.numpy().T, overwrite_c=1)


def _whole(scatter: Tensor) -> Tensor:
    """The symmetric matrix of a lower triangle."""
    return scatter.tril() + scatter.tril(-1).T
