"""What a top-20 list can and can't say of an entropy: an estimate and hard bounds.

    python examples/bounds.py
"""

import numpy as np

from entropilot import TopK, entropy

rng = np.random.default_rng(0)
logits = 3 * rng.standard_normal(50_000)
p = np.exp(logits - logits.max())
p /= p.sum()
top = np.argsort(-p)[:20]

listed = TopK(
    ids=top.astype(np.int64),
    logprobs=np.log(p[top]),
    n_top=np.int64(20),
    vocab_size=50_000,
)
estimate = listed.entropy()
print(f"the list holds {listed.mass:.1%} of the probability")
print(f"true entropy   {entropy(p):.3f} nats")
print(f"estimate       {estimate.value:.3f}  (renormalised: blind to the tail)")
print(f"bounds         {estimate.lower:.3f} to {estimate.upper:.3f}")
