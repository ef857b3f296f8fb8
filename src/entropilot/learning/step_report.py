"""What a controlled step reports, and what the numbers in the step log mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: What the rows of the step log mean.
MEANINGS: Final[dict[str, str]] = {
    "step": "optimizer steps done, this one included",
    "safe_step/r": "length of the step that the optimizer wanted, in convergence radii",
    "safe_step/r_applied": "length of the step that was taken, in convergence radii",
    "safe_step/rho": "convergence radius along the step (bound pi / spread), in parameter space",
    "safe_step/tau": "length of the step that was taken, in parameter space",
    "safe_step/tau_raw": "length of the step that the optimizer wanted, in parameter space",
    "safe_step/scale": "taken by wanted length; 1 where nothing was changed",
    "safe_step/stale": "1 where the spread of an earlier step was used, else 0",
}


@dataclass(frozen=True)
class StepReport:
    """What one controlled step did.

    Args:
        r_raw: wanted length in radii; may be above the target.
        r_applied: length taken, in radii.
        rho: convergence radius along the step, by the bound; inf for a step that moves no logit.
        tau_raw: wanted length in parameter space.
        tau: length taken.
        scale: tau / tau_raw; 1 where nothing was changed.
        bottleneck_index: sample with the largest spread, counted through the forward passes of
            the step on this process; None for a stale report.
        stale: whether the spread comes from an earlier step.

    Examples:
        >>> StepReport(2.0, 1.0, 0.5, 1.0, 0.5, 0.5, 3, False).scale
        0.5
    """

    r_raw: float
    r_applied: float
    rho: float
    tau_raw: float
    tau: float
    scale: float
    bottleneck_index: int | None
    stale: bool

    def as_row(self, step: int) -> dict[str, float]:
        """One row of the metrics file; ``MEANINGS`` says what its numbers are.

        Examples:
            >>> StepReport(2.0, 1.0, 0.5, 1.0, 0.5, 0.5, 3, False).as_row(7)["safe_step/r"]
            2.0
        """
        return {
            "step": step,
            "safe_step/r": self.r_raw,
            "safe_step/r_applied": self.r_applied,
            "safe_step/rho": self.rho,
            "safe_step/tau": self.tau,
            "safe_step/tau_raw": self.tau_raw,
            "safe_step/scale": self.scale,
            "safe_step/stale": int(self.stale),
        }
