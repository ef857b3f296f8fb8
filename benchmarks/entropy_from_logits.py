"""How fast, how exact and how frugal is log-prob + entropy from logits, beside the usual ways?

    python benchmarks/entropy_from_logits.py [--rows 2048] [--repeats 3] [--vocab 50257 151936]

One thread, CPU seconds (equal to wall seconds on a quiet machine), median of the repeats after one
warm-up on 64 rows. Extra memory is the rise of the peak resident size over the size before the
call. Errors are the largest difference to float64 on the first 32 rows. TRL and verl are raced when
they can be imported. "bound" is one read of the logits at the measured copy bandwidth.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import torch
from torch import Tensor

from entropilot.information import token_statistics

OURS = "entropilot token_statistics"
Method = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def naive(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    log_p = torch.log_softmax(logits.float(), -1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    return log_p.gather(-1, targets[:, None])[:, 0], entropy


def ours(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    found = token_statistics(logits, targets)
    return found.logprob, found.entropy


def ours_with_divergence(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    found = token_statistics(logits, targets, previous=True)
    return found.logprob, found.entropy


def ours_with_squares(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    found = token_statistics(logits, targets, squares=True)
    return found.logprob, found.entropy


def rivals() -> dict[str, Method]:
    """Peers that can be imported here."""
    found: dict[str, Method] = {}
    try:
        trl = importlib.import_module("trl.trainer.utils")
        name = f"TRL {importlib.metadata.version('trl')}"
        found[f"{name} log-prob and entropy"] = trl.selective_log_softmax_and_entropy
        found[f"{name} the two apart"] = lambda logits, targets: (
            trl.selective_log_softmax(logits, targets),
            trl.entropy_from_logits(logits),
        )
    except (ImportError, AttributeError) as error:
        print(f"skipped TRL: {error}")
    try:
        verl = importlib.import_module("verl.utils.torch_functional")
        name = f"verl {importlib.metadata.version('verl')}"
        logprob = verl.logprobs_from_logits_v2
        found[f"{name} the two apart"] = lambda logits, targets: (
            logprob(logits, targets),
            verl.entropy_from_logits(logits),
        )
        found[f"{name} with chunked entropy"] = lambda logits, targets: (
            logprob(logits, targets),
            verl.entropy_from_logits_with_chunking(logits),
        )
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


def measured(method: Method, logits: Tensor, targets: Tensor, repeats: int) -> tuple[float, float]:
    """Median CPU seconds, and MiB above the size before the call."""
    method(logits[:64], targets[:64])
    seconds, extra = [], []
    for _ in range(repeats):
        with contextlib.suppress(OSError):  # only Linux can restart the peak
            Path("/proc/self/clear_refs").write_text("5")
        before = memory_mib("VmRSS")
        start = time.process_time()
        method(logits, targets)
        seconds.append(time.process_time() - start)
        extra.append(memory_mib("VmHWM") - before)
    return statistics.median(seconds), max(0.0, statistics.median(extra))


def copy_bandwidth() -> float:
    """Bytes a second, read and write, of a copy that does not fit a cache."""
    source = np.ones(64 << 20, np.float32)
    target = np.empty_like(source)
    np.copyto(target, source)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        np.copyto(target, source)
        seconds.append(time.process_time() - start)
    return 2 * source.nbytes / statistics.median(seconds)


def exp_throughput() -> float:
    """``torch.exp`` a second of float32 values that stay in the first-level cache."""
    values = torch.randn(4096)
    out = torch.empty_like(values)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(20_000):
            torch.exp(values, out=out)
        seconds.append(time.process_time() - start)
    return 20_000 * len(values) / statistics.median(seconds)


def made_logits(rows: int, vocab: int, kind: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    logits = torch.empty(rows, vocab, dtype=kind)
    for start in range(0, rows, 64):
        part = logits[start : start + 64]
        part.copy_(3 * torch.randn(part.shape, generator=generator))
    return logits


def errors(method: Method, logits: Tensor, targets: Tensor) -> tuple[float, float]:
    logits, targets = logits[:32], targets[:32]
    exact = naive_double(logits, targets)
    found = method(logits, targets)
    return tuple(float((a.double() - b).abs().max()) for a, b in zip(found, exact, strict=True))


def naive_double(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    log_p = torch.log_softmax(logits.double(), -1)
    return log_p.gather(-1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vocab", type=int, nargs="+", default=[50257, 151936])
    parser.add_argument("--kinds", nargs="+", default=["float32", "bfloat16"])
    settings = parser.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, "
        f"numba {numba.__version__}, numpy {np.__version__}, {platform.machine()}, one thread"
    )
    bandwidth = copy_bandwidth()
    exps = exp_throughput()
    print(
        f"copy bandwidth {bandwidth / 1e9:.1f} GB/s (read + write); torch.exp in cache "
        f"{exps / 1e9:.2f} G a second"
    )
    methods: dict[str, Method] = {"naive log_softmax, exp, product": naive, **rivals()}
    methods |= {
        OURS: ours,
        "  with the sums of p^2": ours_with_squares,
        "  with the divergence to the row before": ours_with_divergence,
    }
    for vocab in settings.vocab:
        for kind in settings.kinds:
            logits = made_logits(settings.rows, vocab, getattr(torch, kind))
            targets = torch.randint(vocab, (settings.rows,))
            read, exp = logits.nbytes / bandwidth, logits.numel() / exps
            print(f"\n[{settings.rows}, {vocab}] {kind}: read {read:.3f} s, exp {exp:.3f} s")
            print(
                f"{'method':<42}{'CPU s':>8}{'tok/s':>10}{'MiB':>7}{'err logp':>10}{'err H':>9}"
                f"{'ours is':>9}{'of read':>9}{'of exp':>9}"
            )
            runs = {n: measured(m, logits, targets, settings.repeats) for n, m in methods.items()}
            best = runs[OURS][0]
            for name, (seconds, extra) in runs.items():
                on_logprob, on_entropy = errors(methods[name], logits, targets)
                print(
                    f"{name:<42}{seconds:>8.3f}{settings.rows / seconds:>10.0f}{extra:>7.0f}"
                    f"{on_logprob:>10.0e}{on_entropy:>9.0e}{seconds / best:>8.1f}x"
                    f"{read / seconds:>9.0%}{exp / seconds:>9.0%}"
                )
            del logits


if __name__ == "__main__":
    main()
