"""The transformer half of the invisible-leash study: the base, and RL from it.

Sums of five digits. The base is the start policy; RL is group training without a reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.information import (
    answer_entropy,
    crossing_k,
    expected_support,
    null_support,
    pass_at_k_curve,
    pass_at_k_difference,
)
from entropilot.policy.advantages import group_normalised, whitened
from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.rollout.sampling import sample_rollouts
from entropilot.policy.surrogates import clipped_ratio
from entropilot.policy.training.threads import one_thread
from entropilot.studies.digit_arms import SIZES, TASK, settings_of
from entropilot.studies.invisible_leash_judge import BUDGET, KS
from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement, Progress, Scale
from entropilot.studies.training_arms import SUMS, run_arm, sums_start

N_SAMPLES: Final = 128
N_PROBLEMS: Final[dict[Scale, int]] = {"smoke": 10, "quick": 1000, "full": 4000}
PROBLEM_SEED: Final = 0x1EA5
N_ENTROPY: Final = 32  # samples behind an answer entropy, as in the paper

Counts = NDArray[np.int64]


def measure_transformer(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Count right answers of the base, of the base again, and of the trained policy."""
    with one_thread():
        start = sums_start(seed, steps=SIZES[scale].warm_up)
        objective = Objective(
            advantages=(group_normalised("none"), whitened()), surrogate=clipped_ratio(0.2, 0.28)
        )
        _, trained = run_arm(
            start,
            TASK,
            objective,
            settings_of(scale, seed),
            progress=lambda share: progress(0.3 * share, "training the transformer"),
        )
        n = N_PROBLEMS[scale]
        progress(0.3, "counting answers of the base")
        base, base_row = _count(start, n, 3 * seed)
        progress(0.55, "counting them again")
        again, _ = _count(start, n, 3 * seed + 1)
        progress(0.8, "counting answers of the trained policy")
        new, new_row = _count(trained, n, 3 * seed + 2)
    gain = pass_at_k_difference(N_SAMPLES, base, new, KS, n_resamples=2000)
    curve, before = (pass_at_k_curve(N_SAMPLES, c, KS) for c in (new, base))
    support = expected_support(base, new, N_SAMPLES, BUDGET)
    null = expected_support(base, again, N_SAMPLES, BUDGET)
    return {
        "n_problems": n,
        "pass_base": before.mean.tolist(),
        "pass_rl": curve.mean.tolist(),
        "gain": gain.value.tolist(),
        "gain_low": gain.low.tolist(),
        "gain_high": gain.high.tolist(),
        "crossing_k": crossing_k(before, curve),
        "support": {key: float(value) for key, value in support.items()},
        "null": {key: float(value) for key, value in null.items()},
        "null_predicted": float(null_support(base, N_SAMPLES, BUDGET, unbiased=True)),
        "base": base_row,
        "rl": new_row,
    }


def _count(policy: SmallPolicy, n: int, seed: int) -> tuple[Counts, dict[str, float]]:
    """Right answers of each problem, with the entropy of tokens and of answers."""
    problems = list(TASK.problems(n, PROBLEM_SEED))
    right, ids, entropies = [], [], []
    for first in range(0, n, 100):
        part = problems[first : first + 100]
        samples = sample_rollouts(
            policy,
            [TASK.encode(problem) for problem in part],
            N_SAMPLES,
            max_tokens=TASK.max_tokens,
            eos=TASK.eos,
            seed=seed,
            names=[problem.id for problem in part],
        )
        asked = [part[i] for i in samples.prompt_index.tolist()]
        tokens, mask = samples.tokens.numpy(), samples.mask.numpy()
        right.append(SUMS.rewards(asked, tokens, mask).correct.reshape(len(part), N_SAMPLES))
        verdicts = SUMS.verify_tokens(asked, tokens, mask)
        ids.append(np.array([v.answer or "NA" for v in verdicts]).reshape(len(part), N_SAMPLES))
        per_token = samples.entropy.double()
        entropies.append((per_token.sum(-1) / samples.mask.sum(-1)).numpy())
    _, codes = np.unique(np.concatenate(ids), return_inverse=True)
    codes = codes.reshape(n, N_SAMPLES)[:, :N_ENTROPY]
    return np.concatenate(right).sum(-1), {
        "token_entropy": float(np.concatenate(entropies).mean()),
        "answer_entropy": float(answer_entropy(codes).mean()),
    }


def judge_transformer(measurements: Sequence[Measurement]) -> list[Finding]:
    """The four statements; means over seeds, ranges in brackets."""
    rows: list[dict[str, Any]] = [m["transformer"] for m in measurements if "transformer" in m]
    at = KS.index(BUDGET)
    if not rows:
        return []

    def mean(pick: Any) -> float:
        return float(np.mean([pick(row) for row in rows]))

    gain = [row["gain"][0] for row in rows]
    far = [row["gain"][at] for row in rows]
    high = max(row["gain_high"][at] for row in rows)
    low = min(row["gain_low"][at] for row in rows)
    crossings = [row["crossing_k"] for row in rows]
    e, s = mean(lambda r: r["support"]["E"]), mean(lambda r: r["support"]["S"])
    null, nscr = mean(lambda r: r["null"]["S"]), mean(lambda r: r["support"]["NSCR"])
    ratio = [row["rl"]["answer_entropy"] / row["base"]["answer_entropy"] for row in rows]
    tokens = [row["rl"]["token_entropy"] / row["base"]["token_entropy"] for row in rows]
    crossed = ", ".join("never" if k is None else f"{k:.1f}" for k in crossings)
    return [
        Finding(
            "Transformer: RL raises pass@1",
            f"{spread(gain, '+.3f')} from {mean(lambda r: r['pass_base'][0]):.3f}",
            "at least +0.15",
            float(np.mean(gain)) >= 0.15,
        ),
        Finding(
            "Transformer: the base overtakes RL at larger k",
            f"pass@{BUDGET} {spread(far, '+.4f')}, widest paired interval of the seeds "
            f"[{low:+.4f}, {high:+.4f}]; curves cross at k = {crossed}",
            f"pass@{BUDGET} below the base by a paired interval; crossing in [3, 16]",
            high < 0 and all(k is not None and 3 <= k <= 16 for k in crossings),
        ),
        Finding(
            f"Transformer: support shrinks at k = {BUDGET}",
            f"expected E {e:.2f}, S {s:.2f}, by chance {null:.2f} of {rows[0]['n_problems']} "
            f"problems; NSCR {nscr:+.4f}",
            "S at least 3 x E and 3 x chance; NSCR in [-0.06, -0.005]",
            s >= 3 * e and s >= 3 * null and -0.06 <= nscr <= -0.005,
        ),
        Finding(
            "Transformer: RL narrows the answers",
            f"answer entropy {spread(ratio, '.2f')} x the base's, token entropy "
            f"{spread(tokens, '.2f')} x",
            "answer entropy at most 0.6 x the base",
            float(np.mean(ratio)) <= 0.6,
        ),
    ]
