"""What does drawing from the nucleus of a large vocabulary cost, without a sort?

    python benchmarks/nucleus_draws.py [--rows 16] [--vocab 151936] [--top-p 0.9] [--repeats 5]

One thread, CPU seconds, median of the repeats. The rival is transformers' ``TopPLogitsWarper``,
which sorts every row, then softmax and ``multinomial``; it gives no log-prob and no entropy. Both
keep the same tokens, but for the rival's float32 sums at the edge.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable

import numpy as np
import torch
import transformers
from transformers import TopPLogitsWarper

from _timing import seconds_of
from entropilot.policy.rollout.draws import cut_to_nucleus, draw_tokens


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds."""
    return seconds_of(work, repeats)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--repeats", type=int, default=5)
    how = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, {platform.machine()}, one thread; [{how.rows}, {how.vocab}], "
        f"top-p {how.top_p}"
    )
    draw = torch.Generator().manual_seed(0)
    uniform = np.random.default_rng(0).random(how.rows)
    warper = TopPLogitsWarper(how.top_p)
    ranks = torch.arange(1, how.vocab + 1).log()
    for name, logits in (
        ("flat: normal logits of deviation 1", torch.randn(how.rows, how.vocab, generator=draw)),
        ("Zipf: -1.3 log rank, shuffled", -1.3 * torch.stack(
            [ranks[torch.randperm(how.vocab, generator=draw)] for _ in range(how.rows)])),
        ("Zipf: -2 log rank, shuffled", -2.0 * torch.stack(
            [ranks[torch.randperm(how.vocab, generator=draw)] for _ in range(how.rows)])),
    ):  # fmt: skip

        def rival(z: torch.Tensor = logits) -> torch.Tensor:
            return torch.multinomial(warper(None, z).softmax(-1), 1, generator=draw)

        def ours(z: torch.Tensor = logits) -> object:
            return draw_tokens(z, uniform, top_p=how.top_p)

        kept = cut_to_nucleus(logits, how.top_p).isfinite()
        other = warper(None, logits).isfinite()
        slow, fast = seconds(rival, how.repeats), seconds(ours, how.repeats)
        print(
            f"{name:<36}{1e3 * fast:>8.1f} ms, sort {1e3 * slow:>7.1f} ms,{slow / fast:>6.1f} x; "
            f"nucleus of {int(kept.sum(-1).median()):>6} tokens, {int((kept ^ other).sum())} differ"
        )


if __name__ == "__main__":
    main()
