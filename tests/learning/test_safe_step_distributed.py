"""Two processes under DistributedDataParallel take one and the same bounded step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from entropilot.errors import InputError
from entropilot.learning.safe_step import SafeStep


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, 6, generator=generator)
    x[16:] *= 3  # the second half moves its logits more: one process alone would see another r
    return x, torch.randint(0, 4, (32,), generator=generator)


def run(model: nn.Module, x: torch.Tensor, y: torch.Tensor, every: int) -> dict[str, Any]:
    safe = SafeStep(torch.optim.Adam(model.parameters(), lr=3.0), model, every=every)
    r = []
    for _ in range(4):
        safe.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        safe.step()
        assert safe.report is not None
        r.append((safe.report.r_raw, safe.report.scale))
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    return {"r": r, "weights": flat}


def worker(rank: int, folder: str, every: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    x, y = data()
    half = slice(16 * rank, 16 * rank + 16)
    model = nn.parallel.DistributedDataParallel(network())
    torch.save(run(model, x[half], y[half], every), Path(folder) / f"{rank}.pt")
    # what one process can't measure stops all of them, none waits for ever
    safe = SafeStep(torch.optim.SGD(model.parameters(), lr=1.0), model)
    functional.cross_entropy(model(x[half]), y[half]).backward()
    if rank == 0:
        call = safe.watch.calls()[0]
        call.inputs.args[0][0] = float("inf")
    try:
        safe.step()
    except InputError as error:
        (Path(folder) / f"{rank}.txt").write_text(str(error))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
def test_two_processes_step_as_one(tmp_path: Path, every: int) -> None:
    command = [sys.executable, __file__]
    running = [
        subprocess.Popen([*command, str(rank), str(tmp_path), str(every)], env=os.environ)
        for rank in (0, 1)
    ]
    try:
        assert [process.wait(timeout=120) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first["weights"], second["weights"])
    assert first["r"] == second["r"]
    alone = run(network(), *data(), every)
    for (r, scale), (r_alone, scale_alone) in zip(first["r"], alone["r"], strict=True):
        assert r == pytest.approx(r_alone, rel=1e-3)  # float32 gradients, averaged in two ways
        assert scale == pytest.approx(scale_alone, rel=1e-3)
    assert min(scale for _, scale in first["r"]) < 1
    texts = [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)]
    assert "logits of sample 0" in texts[0]
    assert "another process" in texts[1]


if __name__ == "__main__":
    worker(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
