"""What the numbers of the meters mean, for the report: quantity to meaning with its unit.

A meter of one's own needs no line here; its curves then carry its name alone.
"""

from __future__ import annotations

from typing import Final

METER_MEANINGS: Final[dict[str, str]] = {
    "collapse/nc1": "scatter within classes over scatter between them; 0 is collapse",
    "collapse/nc2_w": "distance of the classifier's Gram matrix from its target",
    "collapse/nc2_h": "distance of the class means' Gram matrix from its target",
    "collapse/nc3": "distance of classifier times class means from its target",
    "collapse/self_dual": "distance of the classifier from the class means, both of length 1",
    "collapse/equinorm_w": "deviation over mean of the classifier rows' lengths",
    "collapse/equinorm_h": "deviation over mean of the class means' lengths",
    "collapse/cos_w": "largest distance of a cosine between classifier rows from its target",
    "collapse/cos_h": "largest distance of a cosine between class means from its target",
    "collapse/effective_rank": "exp of the entropy of the class means' singular values",
    "collapse/n_classes": "classes with samples",
    "representation/dse": "diffusion spectral entropy, bits",
    "representation/dsmi": "diffusion spectral mutual information with the labels, bits",
    "representation/sigma": "width of the kernel, in the units of the features",
    "representation/rows": "rows of features in the spectrum",
    "flow/entropy": "step entropy of the decisions, bits a neuron and example",
    "flow/cosine": "cosine of pre-activations and the shift of their decisions",
    "flow/tensor_net": "tensor net of the step, a neuron and example",
    "flow/lagrangian": "Lagrangian of the step, a neuron and example",
    "flow/z_norm": "root mean square of the pre-activations",
    "flow/flow_norm": "root mean square change of the pre-activations a step",
    "stiffness/rate": "relative change of the features in the block (rate index), mean",
    "stiffness/rate_std": "spread of the rate index over examples",
    "failed": "1 where the meter could not measure the layer",
}


def meaning_of(quantity: str) -> str:
    """Meaning of a meter's quantity, or "".

    Examples:
        >>> meaning_of("representation/dse"), meaning_of("mine/failed")[:16], meaning_of("x")
        ('diffusion spectral entropy, bits', '1 where the mete', '')
    """
    return METER_MEANINGS.get(quantity, METER_MEANINGS.get(quantity.rpartition("/")[2], ""))
