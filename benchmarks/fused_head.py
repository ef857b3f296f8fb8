"""How near to bare matrix products is log-prob + entropy of an output head, with gradients?

    python benchmarks/fused_head.py [--shape smollm2|qwen05] [--repeats 3] [--only NAME ...]

Hidden states [N, D] = N(0, 1), weights [V, D] = 2 N(0, 1) / sqrt(D), float32, seed 0; loss
-mean(A logprob) - 0.01 mean(H), A = N(0, 1); gradients of hidden and weight. One thread, CPU
seconds (equal to wall seconds on a quiet machine), median of the repeats, in turns so that a busy
machine hits every method. Memory is the rise of the peak resident size over the size before the
call, gradients included. Before the race the gradients are checked against float64 at N = 64. "Bare
products" are one forward and two backward products of the whole [N, V]: the bound of the known way;
four thirds of it bound the recomputing way, which forms the logits twice. TRL and verl are raced
when they can be imported.
"""

import argparse
import contextlib
import ctypes
import gc
import importlib
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numba
import torch
from torch import Tensor

from entropilot.information import head_gradients, head_statistics

SHAPES = {"smollm2": (2048, 576, 49_152), "qwen05": (1024, 896, 151_936)}
ON_ENTROPY = 0.01


class Case(NamedTuple):
    """Inputs of the race."""

    hidden: Tensor  # [N, D]
    weight: Tensor  # [V, D]
    targets: Tensor  # [N]
    advantages: Tensor  # [N]


Method = Callable[[Case], tuple[Tensor, Tensor]]  # gradients of hidden and weight


def made(shape: tuple[int, int, int], rows: int | None = None) -> Case:
    n, d, v = shape
    torch.manual_seed(0)
    hidden = torch.randn(n, d)
    weight = torch.randn(v, d).mul_(2 / d**0.5)
    case = Case(hidden, weight, torch.randint(v, (n,)), torch.randn(n))
    return Case(hidden[:rows], weight, case.targets[:rows], case.advantages[:rows])


def loss_of(case: Case, logprob: Tensor, entropy: Tensor) -> Tensor:
    return -(case.advantages * logprob).mean() - ON_ENTROPY * entropy.mean()


def differentiated(
    case: Case, statistics_of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    hidden, weight = (x.detach().requires_grad_() for x in (case.hidden, case.weight))
    loss_of(case, *statistics_of(hidden, weight)).backward()
    return hidden.grad, weight.grad


def bare_products(case: Case) -> tuple[Tensor, Tensor]:
    logits = case.hidden @ case.weight.t()
    return logits @ case.weight, logits.t() @ case.hidden


def unfused(case: Case) -> tuple[Tensor, Tensor]:
    def from_logits(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        log_p = torch.log_softmax(hidden @ weight.t(), -1)
        entropy = -(log_p.exp() * log_p).sum(-1)
        return log_p.gather(-1, case.targets[:, None])[:, 0], entropy

    return differentiated(case, from_logits)


def recomputing(case: Case) -> tuple[Tensor, Tensor]:
    def ours(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        found = head_statistics(hidden, weight, case.targets)
        return found.logprob, found.entropy

    return differentiated(case, ours)


def known(case: Case) -> tuple[Tensor, Tensor]:
    n = len(case.advantages)
    slopes = {
        "logprob": -case.advantages / n,
        "entropy": torch.full((n,), -ON_ENTROPY / n),
    }
    found = head_gradients(case.hidden, case.weight, case.targets, slopes)
    return found.hidden, found.weight


def rivals() -> dict[str, Method]:
    """Peers that can be imported here."""
    found: dict[str, Method] = {}
    try:
        trl = importlib.import_module("trl.kernels.chunked_logprob").ChunkedLogProbFunction

        def from_trl(case: Case) -> tuple[Tensor, Tensor]:
            def statistics_of(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
                arguments = (hidden, weight, None, case.targets, 1.0, 8192, None, 1.0)
                return trl.apply(*arguments, ("entropy",))[:2]

            return differentiated(case, statistics_of)

        found[f"TRL {importlib.metadata.version('trl')} ChunkedLogProbFunction"] = from_trl
    except (ImportError, AttributeError) as error:
        print(f"skipped TRL: {error}")
    try:
        name = "verl.utils.experimental.torch_functional"
        verl = importlib.import_module(name).FusedLinearForPPOFunction

        def from_verl(case: Case) -> tuple[Tensor, Tensor]:
            return differentiated(case, lambda h, w: verl.apply(h, w, case.targets, 1.0, 512))

        found[f"verl {importlib.metadata.version('verl')} FusedLinearForPPO"] = from_verl
    except (ImportError, AttributeError) as error:
        print(f"skipped verl: {error}")
    return found


def memory_mib(field: str) -> float:
    """A field of /proc/self/status, MiB; nan where there is none."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(x for x in status.read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) / 1024


def measured(method: Method, case: Case) -> tuple[float, float]:
    """CPU seconds, and MiB above the size before the call."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # what was freed goes back to the system
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # only Linux can restart the peak
        Path("/proc/self/clear_refs").write_text("5")
    before = memory_mib("VmRSS")
    start = time.process_time()
    method(case)
    return time.process_time() - start, max(0.0, memory_mib("VmHWM") - before)


def largest_error(method: Method, small: Case, exact: tuple[Tensor, Tensor]) -> float:
    """Largest error of the two gradients, as a share of the largest entry."""
    pairs = zip(method(small), exact, strict=True)
    return max(float((a.double() - b).abs().max() / b.abs().max()) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="smollm2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="race only methods whose name has one of these")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    shape = SHAPES[settings.shape]
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, "
        f"numba {numba.__version__}, {platform.machine()}, one thread; N, D, V = {shape}"
    )
    methods: dict[str, Method] = {
        "bare products": bare_products,
        "unfused, autograd": unfused,
        **rivals(),
        "entropilot head_statistics (recomputes)": recomputing,
        "entropilot head_gradients (known)": known,
    }
    if settings.only:
        chosen = ("bare", *settings.only)
        methods = {k: m for k, m in methods.items() if any(part in k for part in chosen)}
    small = made(shape, 64)
    wide = small._replace(
        hidden=small.hidden.double(),
        weight=small.weight.double(),
        advantages=small.advantages.double(),
    )
    exact = unfused(wide)
    del wide
    errors = {k: largest_error(m, small, exact) for k, m in methods.items() if "bare" not in k}
    del exact, small
    case = made(shape)
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(settings.repeats):
        for name, method in methods.items():
            runs[name].append(measured(method, case))
    n, d, v = shape
    bare = statistics.median(s for s, _ in runs["bare products"])
    print(f"bare products: {6e-9 * n * d * v / bare:.0f} GFLOP/s")
    gradients = 4 * (n * d + v * d) / 2**20
    print(f"the gradients alone are {gradients:.0f} MiB; [N, V] is {4 * n * v / 2**20:.0f} MiB")
    print(f"{'method':<42}{'CPU s':>8}{'of bare':>9}{'MiB':>7}{'less gradients':>16}{'error':>9}")
    for name, found in runs.items():
        seconds = statistics.median(s for s, _ in found)
        extra = statistics.median(m for _, m in found)
        error = f"{errors[name]:.0e}" if name in errors else ""
        print(
            f"{name:<42}{seconds:>8.2f}{seconds / bare:>8.2f}x{extra:>7.0f}"
            f"{extra - gradients:>16.0f}{error:>9}"
        )


if __name__ == "__main__":
    main()
