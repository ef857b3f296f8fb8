"""What a run of gradient descent or of a perceptron left behind, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Columns of a trace, in the order of the compiled passes.
MEASURES: Final = (
    *("loss", "grad_norm", "error_rate", "beta", "min_margin", "mean_binary_entropy"),
)


@dataclass(frozen=True)
class SeparationResult:
    """Weights, and their course.

    ``trace`` maps each of ``MEASURES`` to an array: [iterations + 1] where every iterate was
    recorded, else [1], of the last iterate. All of them are of the logistic model at that iterate:
    loss and entropy in nats a sample, ``beta`` the inverse of the mean predicted probability of
    error, ``min_margin`` the least z_i . theta.
    """

    theta: NDArray[Any]  # [d]; the bias is last where one was asked for
    iterations: int  # updates made before the last iterate
    separated: bool  # every margin of the last iterate is positive
    trace: dict[str, NDArray[np.float64]]
    iterates: NDArray[Any] | None = None  # [iterations + 1, d]

    @property
    def margin(self) -> float:
        """Least z_i . theta / |theta|: compare it with ``margin(X, y)``, the largest possible."""
        norm = float(np.linalg.norm(self.theta.astype(np.float64)))
        return float(self.trace["min_margin"][-1]) / norm if norm else 0.0

    def summary(self) -> str:
        """Two or three sentences: did it separate, what did the loss do, how wide is the gap.

        Examples:
            >>> from entropilot.learning.logistic_descent import logistic_gd
            >>> found = logistic_gd([[1, -1], [-1, -4]], [1, -1], 100.0, record="trace")
            >>> print(found.summary())
            Separated after 2 updates; margin of the result 0.728. The loss rose from 0.693 to \
12.5 nats before it fell to 1.34e-33: with large steps a high loss is no sign of failure, the \
error rate is.
        """
        loss, errors = self.trace["loss"], self.trace["error_rate"]
        if self.separated:
            text = f"Separated after {self.iterations} updates; margin of the result "
            text += f"{self.margin:.3g}."
        else:
            text = f"Not separated after {self.iterations} updates; error rate {errors[-1]:.3g}."
        if len(loss) < 2:
            return text
        if loss.max() > loss[0] * 1.01:
            text += (
                f" The loss rose from {loss[0]:.3g} to {loss.max():.3g} nats before it fell to "
                f"{loss[-1]:.3g}"
                if loss[-1] < loss.max()
                else f" The loss rose from {loss[0]:.3g} to {loss.max():.3g} nats"
            )
            return text + (
                ": with large steps a high loss is no sign of failure, the error rate is."
            )
        return f"{text} The loss fell from {loss[0]:.3g} to {loss[-1]:.3g} nats."
