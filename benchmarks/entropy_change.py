"""What do STEER, Clip_B and Clip_V cost an update, and what does Clip_V's statistic cost a forward?

Times the parts of the terms on one batch of per-token values, beside the same formulas written one
operation a line, and the mean of the discriminator over the vocabulary beside the way that makes
four arrays of the size of the logits. CPU milliseconds of one thread, best of the repeats; values
are compared too.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python benchmarks/entropy_change.py [--rows 512]
        [--length 4096] [--logit-rows 1024] [--vocab 32000]
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor

from entropilot.information import token_statistics
from entropilot.policy.discriminator import clip_b_mask, clip_v_mask
from entropilot.policy.entropy_change_weights import entropy_change_score, steer_weights


def cpu_ms(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def eager_weights(
    logprob: Tensor, old: Tensor, entropy: Tensor, advantages: Tensor, mask: Tensor
) -> Tensor:
    """STEER's exponential weights, one new array an operation."""
    p = torch.clamp(torch.exp(logprob), 1e-8, 1 - 1e-8)
    p_old = torch.clamp(torch.exp(old), 1e-8, 1.0)
    omega = (advantages / p_old) * p * (1 - p) * (torch.log(p) + entropy)
    omega = torch.where(torch.isfinite(omega), omega, torch.zeros_like(omega))
    size = torch.abs(omega)
    largest = size[mask].max().clamp(min=0.02)
    weights = torch.exp(math.log(0.8) * size / largest).clamp(0.8, 1.0)
    return weights * mask


def eager_vocab_mean(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Log-prob of the token and N, with whole arrays of the logits' size in between."""
    log_p = torch.log_softmax(logits, -1)
    p = log_p.exp()
    entropy = -(p * log_p).sum(-1, keepdim=True)
    mean = (p * p * (entropy + log_p)).sum(-1)
    return log_p.gather(-1, tokens[:, None])[:, 0], mean


def ours_vocab_mean(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    found = token_statistics(logits, tokens, squares=True)
    return found.logprob, found.entropy * found.sum_p2 + found.sum_p2_logp


def terms(rows: int, length: int, repeats: int) -> None:
    g = torch.Generator().manual_seed(0)
    old = -torch.empty(rows, length).exponential_(1.5, generator=g)
    logprob = (old + 0.05 * torch.randn(rows, length, generator=g)).clamp(max=0)
    entropy = torch.empty(rows, length).exponential_(1.5, generator=g)
    vocab_mean = 0.1 * torch.rand(rows, length, generator=g)
    advantages = torch.randn(rows, 1, generator=g).expand(rows, length).contiguous()
    mask = torch.arange(length) < torch.randint(length // 4, length + 1, (rows, 1), generator=g)
    given = (logprob, old, entropy, advantages, mask)
    score = entropy_change_score(*given)
    gap = (steer_weights(score, mask) - eager_weights(*given)).abs().max()
    print(f"\n[{rows}, {length}] float32, {int(mask.sum()):,} tokens that count")
    calls: dict[str, Callable[[], object]] = {
        "STEER, an operation a line": lambda: eager_weights(*given),
        "STEER, score and weights": lambda: steer_weights(entropy_change_score(*given), mask),
        "  score": lambda: entropy_change_score(*given),
        "  weights": lambda: steer_weights(score, mask),
        "Clip_B": lambda: clip_b_mask(logprob, entropy, advantages, mask),
        "Clip_V": lambda: clip_v_mask(logprob, entropy, vocab_mean, advantages, mask),
    }
    for name, call in calls.items():
        print(f"{name:<34}{cpu_ms(call, repeats):>8.1f} ms")
    print(f"largest difference of the weights {float(gap):.1e}")


def statistic(rows: int, vocab: int, repeats: int) -> None:
    g = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(rows, vocab, generator=g)
    tokens = torch.randint(0, vocab, (rows,), generator=g)
    exact = eager_vocab_mean(logits[:64].double(), tokens[:64])[1]
    print(f"\nlogits [{rows}, {vocab}] float32")
    for name, call in (("four arrays", eager_vocab_mean), ("one pass", ours_vocab_mean)):
        ms = cpu_ms(lambda call=call: call(logits, tokens), repeats)  # type: ignore[misc]
        error = (call(logits[:64], tokens[:64])[1] - exact).abs().max()
        print(f"{'vocabulary mean, ' + name:<34}{ms:>8.1f} ms   error {float(error):.1e}")
    plain = cpu_ms(lambda: token_statistics(logits, tokens), repeats)
    print(f"{'without it, one pass':<34}{plain:>8.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--logit-rows", type=int, default=1024)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"Python {platform.python_version()}, torch {torch.__version__}, one thread")
    terms(options.rows, options.length, options.repeats)
    statistic(options.logit_rows, options.vocab, options.repeats)


if __name__ == "__main__":
    main()
