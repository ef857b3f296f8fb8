"""Explore your own tabular process without ever playing a policy worth less than a threshold.

python examples/safe_exploration.py
"""

import numpy as np

from entropilot.learning.conservative_explorer import ConservativeExplorer
from entropilot.learning.exploration_run import simulate
from entropilot.learning.offline_baseline import offline_baseline
from entropilot.learning.tabular_mdp import TabularMDP

rng = np.random.default_rng(0)
S, A, H = 4, 3, 3  # states, actions, steps: put your own P [H, S, A, S] and r [H, S, A] here
mdp = TabularMDP(rng.dirichlet(np.ones(S), (H, S, A)), rng.random((H, S, A)))

# A safe baseline from logged episodes of another policy, with a lower bound of its value.
logs = mdp.rollout(np.full((H, S, A), 1 / A), 20_000, rng)
baseline = offline_baseline(logs, mdp.r)
gamma = 0.85 * baseline.lower
best = mdp.optimal().V[0, 0]
print(f"baseline: at least {baseline.lower:.3f} (best possible {best:.3f}), gamma {gamma:.3f}")

# Your own loop: ask for a policy, play, tell what was seen. The certificate goes into your log.
explorer = ConservativeExplorer(mdp.r, baseline.policy, gamma, delta=0.1)
for _ in range(100):
    states, actions = mdp.rollout(explorer.policy(), 1, rng)
    explorer.observe(states[0], actions[0])
print(explorer.summary())

# A model of the process can be played far faster.
trace = simulate(mdp, explorer, 5_000_000, seed=0)
print(trace.summary())
print(explorer.summary())
print({k: explorer.certificate[k] for k in ("episode", "kind", "h0", "rho", "proven")})
