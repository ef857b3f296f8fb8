"""What do Clip-Cov, KL-Cov and SIREN cost an update, beside verl's losses?

Races verl's policy losses ``clip_cov`` and ``kl_cov`` on one batch of per-token values, loss alone
and with its backward, and times each part at a million tokens, where reading four arrays once is
the bound. CPU milliseconds of one thread, best of the repeats; the losses are compared too. verl is
raced when it can be imported.

    OMP_NUM_THREADS=1 python benchmarks/token_controls.py [--rows 512] [--length 4096]
"""

from __future__ import annotations

import argparse
import importlib
import platform
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from _timing import cpu_times
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.covariance import covariance_summary, token_covariance
from entropilot.policy.covariance_clip import clip_cov_loss, clip_cov_mask
from entropilot.policy.covariance_penalty import kl_cov_loss, kl_cov_select
from entropilot.policy.peak_entropy import selected_mean

Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # logprob, old_logprob, advantages, mask
Loss = Callable[[Batch], Tensor]


def cpu_ms(call: Callable[[], object], repeats: int) -> float:
    return 1e3 * min(cpu_times(call, repeats)[0])


def made_batch(rows: int, length: int) -> Batch:
    g = torch.Generator().manual_seed(0)
    old = -torch.empty(rows, length).exponential_(1.5, generator=g)
    logprob = (old + 0.05 * torch.randn(rows, length, generator=g)).clamp(max=0)
    advantages = torch.randn(rows, 1, generator=g).expand(rows, length).contiguous()
    mask = torch.arange(length) < torch.randint(length // 4, length + 1, (rows, 1), generator=g)
    return logprob, old, advantages, mask


def ours() -> dict[str, Loss]:
    reduce = Aggregation()
    return {
        "clip_cov": lambda batch: reduce(clip_cov_loss(*batch)[0], batch[-1]),
        "kl_cov": lambda batch: reduce(kl_cov_loss(*batch)[0], batch[-1]),
    }


def verls() -> dict[str, Loss]:
    """The rival's losses with the same settings; empty, with the reason said, without it."""
    try:
        algos: Any = importlib.import_module("verl.trainer.ppo.core_algos")
    except ImportError as error:
        print(f"skipped verl: {error}")
        return {}
    settings: Any = SimpleNamespace(
        clip_ratio=1.0,
        clip_ratio_low=1.0,
        clip_ratio_high=1.0,
        global_batch_info={},
        policy_loss=SimpleNamespace(
            clip_cov_ratio=2e-4,
            clip_cov_lb=1.0,
            clip_cov_ub=5.0,
            kl_cov_ratio=2e-3,
            ppo_kl_coef=1.0,
        ),
    )

    def named(name: str) -> Loss:
        function = algos.get_policy_loss_fn(name)

        def loss(batch: Batch) -> Tensor:
            logprob, old, advantages, mask = batch
            found: Tensor = function(old, logprob, advantages, mask.float(), config=settings)[0]
            return found

        return loss

    return {name: named(name) for name in ("clip_cov", "kl_cov")}


def with_backward(loss: Loss, batch: Batch) -> Tensor:
    logprob = batch[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss((logprob, *batch[1:])), logprob)
    return gradient


def race(batch: Batch, repeats: int) -> None:
    print(f"\n{list(batch[0].shape)} float32, {int(batch[-1].sum()):,} tokens that count")
    print(f"{'':<26}{'ours ms':>10}{'verl ms':>10}{'ratio':>8}   losses")
    rivals = verls()
    for name, loss in ours().items():
        rival = rivals.get(name)
        for what in ("loss", "loss and backward"):
            calls = [
                (lambda f=f: f(batch)) if what == "loss" else (lambda f=f: with_backward(f, batch))
                for f in (loss, rival)
                if f is not None
            ]
            times = [cpu_ms(call, repeats) for call in calls]
            line = f"{name + ', ' + what:<26}{times[0]:>10.1f}"
            if rival is not None:
                torch.manual_seed(1)  # the draw of Clip-Cov
                first = float(loss(batch))
                torch.manual_seed(1)
                line += f"{times[1]:>10.1f}{times[1] / times[0]:>7.1f}x"
                line += f"   {first:.7f} {float(rival(batch)):.7f}"
            print(line)


def parts(n: int, repeats: int) -> None:
    logprob, old, advantages, _ = made_batch(n // 1000, 1000)
    mask = torch.ones_like(logprob).bool()
    covariance = token_covariance(logprob, advantages, mask)
    arrays = [x.numpy() for x in (logprob, old, advantages, covariance)]
    rows: dict[str, Callable[[], object]] = {
        "bound: read four arrays": lambda: [float(np.add.reduce(x, axis=None)) for x in arrays],
        "token_covariance": lambda: token_covariance(logprob, advantages, mask),
        "kl_cov_select": lambda: kl_cov_select(logprob, advantages, mask),
        "clip_cov_mask": lambda: clip_cov_mask(logprob, old, advantages, mask),
        'clip_cov_mask, "quantile:0.98"': lambda: clip_cov_mask(
            logprob, old, advantages, mask, lb="quantile:0.98"
        ),
        "covariance_summary (sorts)": lambda: covariance_summary(covariance, mask),
        "SIREN: selected_mean": lambda: selected_mean(-old, mask),
    }
    print(f"\n{logprob.numel():,} tokens, all count")
    for name, call in rows.items():
        print(f"{name:<34}{cpu_ms(call, repeats):>8.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}")
    race(made_batch(options.rows, options.length), options.repeats)
    parts(1_000_000, options.repeats)


if __name__ == "__main__":
    main()
