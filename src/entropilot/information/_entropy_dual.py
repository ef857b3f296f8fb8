"""The dual of a maximum-entropy problem, whitened, and Newton's method with a certified gap.

The lower bound of the gap comes from p'_i = p_i (1 + (f(i) - <f>).c), Cov c = m - <f>, which meets
the targets exactly. See ``maximum_entropy``, arXiv 1105.5662.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_ITERATIONS: Final = 200
TRUSTED: Final = 0.5  # largest relative change of a state that still certifies a solution


@dataclass(frozen=True)
class EntropyDual:
    """The dual in whitened coordinates z, lam = basis z / scale, free of dependent features.

    Phi(z) = log sum_i q_i exp(-(w z)_i) + z.t + z.soft.z / 2
    """

    w: Floats  # [n, r]
    t: Floats  # [r]
    soft: Floats  # [r, r]
    log_q: Floats  # [n]
    basis: Floats  # [m, r]
    scale: Floats  # [m]
    null_space: Floats  # [m, k]
    is_consistent: bool

    @classmethod
    def of(cls, f: Floats, m: Floats, q: Floats, sigma: Floats) -> EntropyDual:
        """The dual of features f [n, m], targets m, weights q > 0 and standard errors sigma."""
        n = len(f)
        centre = f.mean(axis=0)
        x = f - centre
        scale = np.maximum(np.abs(x).max(axis=0), np.abs(m - centre) * 1e-12)
        scale[scale <= 1e-14 * np.abs(centre)] = 1.0
        x = x / scale
        stack = np.concatenate([x, np.diag(np.sqrt(n) * sigma / scale)]) if sigma.any() else x
        r = np.linalg.qr(stack, mode="r")
        _, size, vt = np.linalg.svd(r)
        size = np.concatenate([size, np.zeros(len(vt) - len(size))])
        kept = size > 1e-12 * max(float(size[0]), 1e-300) * np.sqrt(len(m))
        kept &= size > 1e-13 * np.sqrt(n)
        basis = vt[kept].T / size[kept] * np.sqrt(n)
        null = vt[~kept].T
        off = (m - centre) / scale
        return cls(
            w=x @ basis,
            t=off @ basis,
            soft=basis.T @ np.diag((sigma / scale) ** 2) @ basis,
            log_q=np.log(q),
            basis=basis,
            scale=scale,
            null_space=null / scale[:, None],
            is_consistent=bool(np.abs(off @ null).max(initial=0.0) < 1e-9),
        )

    def multipliers(self, z: Floats) -> Floats:
        """Of the features as they were given."""
        return self.basis @ z / self.scale

    def distribution(self, z: Floats) -> tuple[float, Floats]:
        """Phi and p."""
        exponent = self.log_q - self.w @ z
        top = float(exponent.max())
        weights = np.exp(exponent - top)
        total = float(weights.sum())
        phi = top + float(np.log(total)) + float(z @ self.t) + float(z @ self.soft @ z) / 2
        return phi, weights / total

    def solve(self, tol: float, longest: float) -> tuple[Floats, float, int] | None:
        """Newton's method with backtracking: z, certified gap, steps. None: no certificate.

        ``longest`` is the most that a step may change a log probability, nats.
        """
        if not self.is_consistent:
            return None
        z = np.zeros(len(self.t))
        phi, p = self.distribution(z)
        # No distribution has an entropy below the smallest log q, so a smaller dual value proves
        # that none meets the targets; soft targets always have a solution.
        floor = -np.inf if self.soft.any() else float(self.log_q.min()) - 1e-6
        for iteration in range(MOST_ITERATIONS):
            mean = p @ self.w
            spread = self.w - mean
            cov = (spread * p[:, None]).T @ spread
            gradient = self.t - mean + self.soft @ z
            step = np.linalg.lstsq(cov + self.soft, gradient, rcond=1e-15)[0]
            if np.abs(gradient).max(initial=0.0) < tol:
                gap = _certified_gap(p, spread, cov, gradient)
                if gap is None:
                    return None
                return z, gap, iteration
            fall = float(gradient @ step)
            size = 1.0
            if longest < np.inf:
                size = min(1.0, longest / max(float(np.abs(self.w @ step).max()), longest))
            while size > 1e-10:
                tried = z - size * step
                phi_new, p_new = self.distribution(tried)
                if phi_new <= phi - 1e-4 * size * fall + 1e-14 * (1 + abs(phi)):
                    break
                size /= 2
            else:
                return None
            z, phi, p = tried, phi_new, p_new
            if phi < floor:
                return None
        return None


def _certified_gap(p: Floats, spread: Floats, cov: Floats, left: Floats) -> float | None:
    """KL of the exactly feasible neighbour of p from p; None where the neighbour is not near."""
    change = spread @ np.linalg.lstsq(cov, left, rcond=1e-15)[0]
    if np.abs(change).max(initial=0.0) > TRUSTED:
        return None
    # sum p (1 + d) log(1 + d) - d, the last term of sum 0: no cancellation for small d
    near = np.abs(change) < 1e-4
    exact = (1 + change) * np.log1p(change) - change
    series = change**2 / 2 - change**3 / 6
    return max(float(p @ np.where(near, series, exact)), 0.0)
