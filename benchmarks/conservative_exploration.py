"""How many episodes a second does safe exploration play, and beside UCBVI in plain numpy?

    python benchmarks/conservative_exploration.py [--episodes 2000000] [--repeats 3]

One thread, CPU seconds, median of the repeats; 5 states, 5 actions, 3 steps. The rival is UCBVI
with a Hoeffding bonus as it is usually written: a backward pass of numpy before every episode,
``rng.choice`` for every step. It plays fewer episodes, and is scaled. Ours plans again when a count
has grown by 2 %; the last line plans before every episode, as the rival does.
"""

import argparse
import platform
import statistics
import time
import warnings

import numba
import numpy as np

from entropilot.learning.conservative_explorer import ConservativeExplorer
from entropilot.learning.exploration_run import simulate
from entropilot.learning.tabular_mdp import TabularMDP

S, A, H = 5, 5, 3


def ucbvi(mdp: TabularMDP, episodes: int) -> float:
    """Regret of plain UCBVI."""
    rng, N = np.random.default_rng(0), np.zeros((H, S, A, S))
    total, best = 0.0, mdp.optimal().V[0, 0]
    for episode in range(episodes):
        n = np.maximum(N.sum(-1), 1)
        P = N / n[..., None]
        bonus = 0.02 * H * np.sqrt(np.log(S * A * H * (episode + 1) / 0.1) / n)
        V, policy = np.zeros(S), np.empty((H, S), int)
        for h in range(H - 1, -1, -1):
            Q = np.minimum(H - h, mdp.r[h] + bonus[h] + P[h] @ V)
            policy[h], V = Q.argmax(1), Q.max(1)
        s = 0
        for h in range(H):
            a = policy[h, s]
            k = rng.choice(S, p=mdp.P[h, s, a])
            N[h, s, a, k] += 1
            s = k
        total += best
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=2_000_000)
    parser.add_argument("--rival-episodes", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    mdp = TabularMDP(rng.dirichlet(np.ones(S), (H, S, A)), rng.random((H, S, A)))
    Q = mdp.optimal().Q
    weights = np.exp(10 * (Q - Q.max(-1, keepdims=True)))
    base = weights / weights.sum(-1, keepdims=True)
    gamma = 0.9 * mdp.value(base)
    print(
        f"python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}, "
        f"one thread; S = {S}, A = {A}, H = {H}"
    )
    start = time.process_time()
    ucbvi(mdp, settings.rival_episodes)
    rival = settings.rival_episodes / (time.process_time() - start)
    print(f"{'UCBVI in numpy':<44}{rival:>12,.0f} episodes/s")
    for method, scale, replan, share in (
        ("stepmix", 1.0, "lazy", 1),
        ("epsmix", 1.0, "lazy", 1),
        ("bpi-ucbvi", 1.0, "lazy", 1),
        ("stepmix", 0.02, "lazy", 10),
        ("stepmix", 0.02, 1, 20),
    ):
        episodes, rates = settings.episodes // share, []
        for repeat in range(settings.repeats + 1):
            explorer = ConservativeExplorer(
                mdp.r, base, gamma, method=method, bonus_scale=scale, replan=replan
            )
            start = time.process_time()
            trace = simulate(mdp, explorer, episodes, seed=repeat)
            rates.append(episodes / (time.process_time() - start))
        own = statistics.median(rates[1:])  # the first one compiles
        name = f"{method}, bonus {scale:g}, plans {len(trace.lengths):,}, {episodes:,} episodes"
        print(f"{name:<56}{own:>12,.0f} episodes/s{own / rival:>9,.0f}x")


if __name__ == "__main__":
    main()
