"""Parts of an ion channel in closed form: each a maximum-entropy problem with one multiplier.

    pore        Xi = (1 + e^{mu - eps})^M, alike ions on M sites
    gate        p_open = 1 / (1 + e^{dG - z V}),  dp/dV = z p (1 - p) = z Var(open)
    bath        mean charge fixed by a multiplier, which is the (Donnan) potential
    resistor    charge a step dQ ~ N(0, 2 kT dt / R) at rest; <Q> fixed by lam = V / (2 kT)

Units: k_B T = 1 unless an argument says otherwise, energies in k_B T, potentials in k_B T / e.

Source: arXiv 1105.5662, whose abstract names an ion channel as its example; the models here are our
reading of it, of textbook physics. Measured against ``information.maxent`` in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Floats = NDArray[np.float64]


class Pore(NamedTuple):
    """Ions in a pore: log of the partition sum, mean number and its variance."""

    log_xi: float
    mean: float
    var: float


class Gate(NamedTuple):
    """Share of open channels and its slope with the voltage."""

    p_open: Any
    slope: Any


@dataclass(frozen=True)
class Resistor:
    """An open channel as a resistor, per unit time.

    Attributes:
        force: lam = V / (2 kT), the multiplier of the mean charge.
        free_energy: psi = lam^2 kT / R.
        current: psi' = V / R.
        noise: psi'' = 2 kT / R, of Johnson; the same at every voltage.
        entropy_production: V^2 / (R kT), nats.
    """

    force: float
    free_energy: float
    current: float
    noise: float
    entropy_production: float


def pore(sites: int, mu: float, eps: float) -> Pore:
    """Occupancy of a pore that exchanges ions with a bath.

    Args:
        sites: M >= 1 places, at most one ion each.
        mu: chemical potential of the bath, k_B T.
        eps: energy of an ion on a site, k_B T.

    Raises:
        InputError: no site, or numbers that are not finite.

    Examples:
        >>> pore(4, 0.5, 1.0).mean.__round__(6)
        1.510163
    """
    if sites < 1 or int(sites) != sites or not np.isfinite([mu, eps]).all():
        raise InputError(f"sites = {sites}, mu = {mu}, eps = {eps}; expected sites >= 1, finite")
    log_one = float(np.logaddexp(0.0, mu - eps))
    full = float(np.exp(mu - eps - log_one))
    return Pore(sites * log_one, sites * full, sites * full * float(np.exp(-log_one)))


def gate(dG: ArrayLike, charge: ArrayLike, voltage: ArrayLike) -> Gate:
    """Open probability of a gate with two conformations, and its slope with the voltage.

    Args:
        dG: free energy of opening at zero voltage, k_B T.
        charge: gating charge z, e.
        voltage: V, k_B T / e (25.3 mV at 20 C).

    Returns:
        Arrays of the broadcast shape; numbers for numbers.

    Raises:
        InputError: numbers that are not finite.

    Examples:
        >>> gate(2.0, 4.0, 0.5)
        Gate(p_open=0.5, slope=1.0)
    """
    g, z, v = (np.asarray(x, dtype=np.float64) for x in (dG, charge, voltage))
    drop = g - z * v
    if not np.isfinite(drop).all():
        raise InputError("dG, charge and voltage must be finite numbers")
    p = np.exp(-np.logaddexp(0.0, drop))
    slope = z * p * np.exp(-np.logaddexp(0.0, -drop))
    return Gate(float(p), float(slope)) if p.ndim == 0 else Gate(p, slope)


def neutral_potential(
    charges: ArrayLike, concentrations: ArrayLike, fixed_charge: float = 0.0
) -> float:
    """Potential at which mobile ions balance a fixed charge: the multiplier of the mean charge.

        sum_k z_k c_k exp(-z_k phi) + fixed_charge = 0

    Args:
        charges: [K] z_k, e; of both signs.
        concentrations: [K] c_k > 0 in the bath, any one unit.
        fixed_charge: density of bound charge in that unit times e.

    Returns:
        phi, k_B T / e, against the bath.

    Raises:
        InputError: ions of one sign only, which no potential can balance; concentrations <= 0.

    Examples:
        >>> round(neutral_potential([1, -1], [0.15, 0.15], -0.5), 6)
        -1.283796
    """
    z = np.asarray(charges, dtype=np.float64)
    c = np.asarray(concentrations, dtype=np.float64)
    if z.shape != c.shape or z.ndim != 1 or not (c > 0).all() or not np.isfinite(c).all():
        raise InputError("charges and concentrations must be [K] each, concentrations above 0")
    if not (z > 0).any() or not (z < 0).any():
        raise InputError(
            f"ions of charges {z.tolist()} have one sign; a potential balances only with both"
        )
    from scipy.optimize import brentq

    def charge(phi: float) -> float:
        return float((z * c * np.exp(-z * phi)).sum()) + fixed_charge

    low, high = -1.0, 1.0
    while charge(low) < 0 and low > -300:
        low *= 2
    while charge(high) > 0 and high < 300:
        high *= 2
    return float(brentq(charge, low, high, xtol=1e-14))


def resistor(voltage: float, resistance: float, kT: float = 1.0) -> Resistor:
    """An open channel as a resistor: drive, current, noise and entropy production.

    Args:
        voltage: V.
        resistance: R > 0.
        kT: > 0, in units of V times charge.

    Raises:
        InputError: a parameter out of range.

    Examples:
        >>> resistor(2.0, 4.0).entropy_production
        1.0
    """
    if not (np.isfinite(voltage) and resistance > 0 and kT > 0):
        raise InputError(
            f"voltage = {voltage}, resistance = {resistance}, kT = {kT}; expected the last two > 0"
        )
    force = voltage / (2 * kT)
    return Resistor(
        force=force,
        free_energy=force**2 * kT / resistance,
        current=voltage / resistance,
        noise=2 * kT / resistance,
        entropy_production=voltage**2 / (resistance * kT),
    )
