"""What do STEER's weights and Clip_V's masks cost an update, beside the authors' ways?

STEER: score and weights of 512 x 4096 tokens against the released function's steps written out in
torch. Clip_V: log-prob, entropy and the mean over the vocabulary from logits in one pass, against
the entropy alone, and against the example's helper with its four [rows, V] arrays; then the mask.
CPU milliseconds of one thread, best of the repeats; results are compared too.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python benchmarks/entropy_change.py [--rows 512]
"""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from _timing import cpu_times
from entropilot.information import token_statistics
from entropilot.policy.discriminator import clip_b_mask, clip_v_mask
from entropilot.policy.entropy_change_weights import entropy_change_score, steer_weights


def cpu_ms(call: Callable[[], object], repeats: int) -> float:
    return 1e3 * min(cpu_times(call, repeats)[0])


def released_weights(
    logprob: Tensor, old: Tensor, entropy: Tensor, advantages: Tensor, mask: Tensor
) -> Tensor:
    """The released estimator and exponential weights, one array a step."""
    p = logprob.exp().clamp(1e-8, 1 - 1e-8)
    p_old = old.exp().clamp(1e-8, 1.0)
    score = advantages / p_old * (p * (1 - p)) * (p.log() + entropy)
    score = torch.where(torch.isfinite(score), score, torch.zeros_like(score)).abs()
    k = -math.log(0.8) / max(float(score[mask].max()), 0.02)
    return torch.exp(-k * score).clamp(0.8, 1.0) * mask


def example_vocabulary_mean(logits: Tensor) -> Tensor:
    """N as the authors' example has it: p, log p, S and p S as whole arrays."""
    log_p = torch.log_softmax(logits.float(), -1)
    p = log_p.exp()
    entropy = -(p * log_p).sum(-1, keepdim=True)
    return (p * (p * (entropy + log_p))).sum(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, numpy {np.__version__}, {platform.machine()}, one thread")

    g = torch.Generator().manual_seed(0)
    shape = args.rows, args.length
    old = -torch.empty(shape).exponential_(1.5, generator=g)
    logprob = (old + 0.05 * torch.randn(shape, generator=g)).clamp(max=-1e-6)
    entropy = torch.rand(shape, generator=g)
    advantages = torch.randn(args.rows, 1, generator=g).expand(shape).contiguous()
    mask = torch.arange(args.length) < torch.randint(
        args.length // 4, args.length + 1, (args.rows, 1), generator=g
    )

    def ours() -> Tensor:
        score = entropy_change_score(logprob, old, entropy, advantages, mask)
        return steer_weights(score, mask)

    def theirs() -> Tensor:
        return released_weights(logprob, old, entropy, advantages, mask)

    torch.testing.assert_close(ours(), theirs(), rtol=1e-5, atol=1e-6)
    mine, other = cpu_ms(ours, args.repeats), cpu_ms(theirs, args.repeats)
    print(f"STEER weights, {args.rows} x {args.length}: {mine:.1f} ms, released {other:.1f} ms")

    mean = 0.1 * torch.rand(shape, generator=g)
    masks = {
        "Clip_B mask": lambda: clip_b_mask(logprob, entropy, advantages, mask, mu_pos=2.5),
        "Clip_V mask": lambda: clip_v_mask(logprob, entropy, mean, advantages, mask),
    }
    for name, call in masks.items():
        print(f"{name}, {args.rows} x {args.length}: {cpu_ms(call, args.repeats):.1f} ms")

    logits = 3 * torch.randn(1024, args.vocabulary, generator=g)
    tokens = torch.randint(0, args.vocabulary, (1024,), generator=g)
    found = token_statistics(logits, tokens, squares=True)
    n = found.entropy * found.sum_p2 + found.sum_p2_logp
    torch.testing.assert_close(n, example_vocabulary_mean(logits), rtol=2e-3, atol=1e-6)
    plain = cpu_ms(lambda: token_statistics(logits, tokens), args.repeats)
    squares = cpu_ms(lambda: token_statistics(logits, tokens, squares=True), args.repeats)
    example = cpu_ms(lambda: example_vocabulary_mean(logits), args.repeats)
    bound = cpu_ms(logits.sum, args.repeats)
    print(
        f"logits 1024 x {args.vocabulary}: log-prob and entropy {plain:.1f} ms, with N "
        f"{squares:.1f} ms ({squares / plain:.2f}x), example's N alone {example:.1f} ms "
        f"({example / squares:.1f}x), reading the logits once {bound:.1f} ms"
    )


if __name__ == "__main__":
    main()
