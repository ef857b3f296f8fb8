"""What does SafeStep cost a training step of a small transformer?

A causal transformer, AdamW, one thread; the same steps bare and under each setting of SafeStep,
in turns, so that a busy machine disturbs all alike. CPU milliseconds a step, medians. Then the
three ways to the slopes alone, beside a forward pass and a whole step (a product along parameters
has three matrix products a layer, a forward pass one), and the exact radius of 200 x 10 logits.

    OMP_NUM_THREADS=1 python benchmarks/safe_step.py [--batch 32] [--repeats 15]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from entropilot.learning.convergence_radius import exact_radius
from entropilot.learning.logit_slopes import METHODS, logit_slopes
from entropilot.learning.safe_step import SafeStep
from entropilot.models.transformer import SmallTransformer, TransformerConfig


def cpu_ms(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def trainer(
    config: TransformerConfig, tokens: torch.Tensor, settings: dict[str, object] | None
) -> Callable[[], None]:
    model = SmallTransformer.seeded(config, 0)
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    if settings is not None:
        optimizer = SafeStep(optimizer, model, **settings)

    def step() -> None:
        optimizer.zero_grad()
        logits = model(tokens[:, :-1])
        functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = TransformerConfig(
        args.vocabulary, width=args.width, layers=args.layers, context=args.length
    )
    generator = torch.Generator().manual_seed(0)
    shape = (args.batch, args.length + 1)
    tokens = torch.randint(0, args.vocabulary, shape, generator=generator)
    model = SmallTransformer.seeded(config, 0)
    n = sum(p.numel() for p in model.parameters())
    print(f"torch {torch.__version__}, {platform.machine()}, one thread")
    print(f"{n:,} parameters, {args.batch} x {args.length} tokens, vocabulary {args.vocabulary}")

    eighth = max(1, args.batch // 8)
    settings: dict[str, dict[str, object] | None] = {
        "bare AdamW": None,
        "SafeStep, whole batch": {},
        f"SafeStep, probe={eighth} rows": {"probe": eighth},
        "SafeStep, every=10": {"every": 10},
        f"SafeStep, probe={eighth}, every=10": {"probe": eighth, "every": 10},
        "SafeStep, finite differences": {"method": "fd"},
        f"SafeStep, fd, probe={eighth} rows": {"method": "fd", "probe": eighth},
    }
    # ten steps are one turn: an amortised setting measures in one of them
    steps = {name: trainer(config, tokens, given) for name, given in settings.items()}
    times: dict[str, list[float]] = {name: [] for name in settings}
    for step in steps.values():
        step()  # warm
    for _ in range(args.repeats):
        for name, step in steps.items():
            turn = 10 if (settings[name] or {}).get("every") else 1
            times[name].append(sum(cpu_ms(step) for _ in range(turn)) / turn)
    base = statistics.median(times["bare AdamW"])
    for name, values in times.items():
        # each turn beside the bare step of the same turn
        over = statistics.median(
            value / bare - 1 for value, bare in zip(values, times["bare AdamW"], strict=True)
        )
        print(f"  {name:32s} {statistics.median(values):8.1f} ms  {over:+.0%}")

    params = dict(model.named_parameters())
    along = {name: 1e-3 * torch.randn(p.shape, generator=generator) for name, p in params.items()}
    inputs = tokens[:, :-1]

    def forward() -> None:
        with torch.no_grad():
            model(inputs)

    calls: dict[str, Callable[[], object]] = {"forward pass": forward}
    for method in METHODS:
        calls[f"slopes, {method}"] = lambda method=method: logit_slopes(
            model, params, along, inputs, method=method
        )
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(args.repeats):
        for name, call in calls.items():
            found[name].append(cpu_ms(call))
    one = statistics.median(found["forward pass"])
    for name, values in found.items():
        ms = statistics.median(values)
        print(f"  {name:32s} {ms:8.1f} ms  {ms / one:.2f} forward passes, {ms / base:.2f} steps")

    rng = np.random.default_rng(0)
    z, a = 4 * rng.standard_normal((200, 10)), rng.standard_normal((200, 10))
    exact_radius(z[:1], a[:1])  # compiles
    ms = statistics.median(cpu_ms(lambda: exact_radius(z, a)) for _ in range(5))
    print(f"  exact radius, 200 x 10, certified {ms:7.1f} ms")


if __name__ == "__main__":
    main()
