"""What does shaping the next-token reward cost beside plain cross-entropy?

    python benchmarks/shaped_next_token.py [--shape 8 1024 32000] [--repeats 3]

Forward and backward of the loss on float32 logits, one thread, CPU seconds, best of the repeats
after a warm-up. Peak memory is the rise of the resident size during one call, in units of the
logits: torch stores log-probs and gradient, we store the gradient. Targets: at most 1.1 x
cross-entropy for the plain settings, 1.6 x with head and tail.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from entropilot.policy.shaped_next_token import shaped_ntp_loss

Loss = Callable[[Tensor, Tensor], Tensor]


def plain(z: Tensor, x: Tensor) -> Tensor:
    return cross_entropy(z.view(-1, z.shape[-1]), x.view(-1))


def smoothed(z: Tensor, x: Tensor) -> Tensor:
    return cross_entropy(z.view(-1, z.shape[-1]), x.view(-1), label_smoothing=0.1)


def shaped(**options: float) -> Loss:
    return lambda z, x: shaped_ntp_loss(z, x, **options).loss  # type: ignore[arg-type]


METHODS: dict[str, Loss] = {
    "torch cross_entropy": plain,
    "torch, label smoothing": smoothed,
    "ours, plain": shaped(),
    "ours, beta -0.25": shaped(beta=-0.25),
    "ours, head and tail": shaped(beta=-0.25, lambda_head=0.1, lambda_tail=-0.1),
}


def measure(name: str, shape: list[int], repeats: int) -> tuple[float, float]:
    """Best CPU seconds of one forward and backward, and the rise of the peak in GB."""
    z = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x = torch.randint(0, shape[-1], tuple(shape[:-1]))
    small = z[:1, :8].detach().clone().requires_grad_()
    METHODS[name](small, x[:1, :8]).backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best = float("inf")
    for _ in range(repeats):
        z.grad = None
        start = time.process_time()
        METHODS[name](z, x).backward()
        best = min(best, time.process_time() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return best, (after - before) * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", type=int, nargs=3, default=[8, 1024, 32000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=list(METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only:
        print(*measure(options.only, options.shape, options.repeats))
        return
    logits = 4 * options.shape[0] * options.shape[1] * options.shape[2] / 1e9
    print(f"torch {torch.__version__}, shape {options.shape}, logits {logits:.2f} GB, one thread")
    base = 0.0
    for name in METHODS:  # a fresh process each, for the memory
        command = [sys.executable, __file__, "--only", name, "--repeats", str(options.repeats)]
        command += ["--shape", *map(str, options.shape)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        seconds, peak = map(float, out)
        base = base or seconds
        print(f"{name:26} {seconds:7.2f} s  {seconds / base:5.2f} x  peak +{peak / logits:.2f}")


if __name__ == "__main__":
    main()
