"""What does a stiffness profile cost beside the passes it rides on, and beside stored features?

    python benchmarks/stiffness_profile.py [--width 512] [--blocks 24] [--samples 4096]

One thread, CPU seconds, median of the repeats. The rival is the usual way: hooks that keep every
block's features, and the indices from the stored states. The bound is the forward passes alone. The
results are compared. Kept memory is that of the rival's list of features.
"""

import argparse
import platform

import torch
from torch import nn

from _timing import seconds_of
from entropilot.information.stiffness import lipschitz_index, rate_index
from entropilot.learning.step_gate import ResidualBlock, ResidualStage, StepGate
from entropilot.learning.stiffness_profile import stiffness_profile


def stored(model: nn.Module, batches: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Every feature of every batch, then the indices."""
    kept = []

    def keep(_module, inputs, output):
        if not kept[-1]:
            kept[-1].append(inputs[0])
        kept[-1].append(output[0])

    hooks = [block.register_forward_hook(keep) for block in model]
    with torch.no_grad():
        for batch in batches:
            kept.append([])
            model(batch)
    for hook in hooks:
        hook.remove()
    states = torch.cat([torch.stack(run, 1) for run in kept])
    return rate_index(states).mean(0), lipschitz_index(states).mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    w = settings.width

    def branch():
        return nn.Sequential(nn.Linear(w, w), nn.Tanh(), nn.Linear(w, w))

    plain = ResidualStage(*[ResidualBlock(branch()) for _ in range(settings.blocks)])
    gated = ResidualStage(*[ResidualBlock(b.f, StepGate(w, reduction=16)) for b in plain])
    batches = list(torch.randn(settings.samples, w).split(256))

    def passes(model):
        with torch.no_grad():
            for batch in batches:
                model(batch)

    bound, _ = seconds_of(lambda: passes(plain), settings.repeats)
    ours, profile = seconds_of(
        lambda: stiffness_profile(plain, [(b, None) for b in batches], ["*"]), settings.repeats
    )
    theirs, (rate, change) = seconds_of(lambda: stored(plain, batches), settings.repeats)
    with_gates, _ = seconds_of(lambda: passes(gated), settings.repeats)
    off = max(
        float((torch.tensor(profile["rate_mean"]) / rate - 1).abs().max()),
        float((torch.tensor(profile["lipschitz_mean"]) / change - 1).abs().max()),
    )
    megabytes = settings.samples * (settings.blocks + 1) * w * 4 / 2**20
    print(f"torch {torch.__version__}, {platform.machine()}, one thread")
    print(f"{settings.blocks} blocks of width {w}, {settings.samples} samples in batches of 256")
    print(f"forward passes alone (bound)  {bound:.3f} s")
    print(f"profile                       {ours:.3f} s  {ours / bound:.2f} x the bound")
    print(f"all features stored           {theirs:.3f} s  {theirs / ours:.2f} x ours, ", end="")
    print(f"keeps {megabytes:.0f} MiB; largest relative difference {off:.0e}")
    print(f"passes with 'step' gates      {with_gates:.3f} s  {with_gates / bound:.2f} x the bound")


if __name__ == "__main__":
    main()
