"""SafeStep in training loops: what it bounds, what it leaves alone, what it survives."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.convergence_radius import normalized_step
from entropilot.learning.logit_slopes import logit_slopes
from entropilot.learning.measured_calls import Call, some_rows
from entropilot.learning.safe_step import SafeStep
from entropilot.learning.step_control import RadiusController
from entropilot.learning.step_report import MEANINGS
from entropilot.policy.training.metrics_log import read_metrics

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=1e-3),
}


def network(seed: int = 0, *, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 4))


def batch(seed: int = 0, n: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, 6, generator=generator),
        torch.randint(0, 4, (n,), generator=generator),
    )


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def go(model: nn.Module, optimizer: Any, seed: int = 0) -> None:
    x, y = batch(seed)
    optimizer.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_short_steps_are_taken_bit_for_bit(name: str) -> None:
    plain, watched = network(dropout=0.2), network(dropout=0.2)
    bare = OPTIMIZERS[name](plain.parameters())
    safe = SafeStep(OPTIMIZERS[name](watched.parameters()), watched, r_target=1e9)
    for model, optimizer in ((plain, bare), (watched, safe)):
        torch.manual_seed(1)
        for step in range(4):
            go(model, optimizer, step)
    assert torch.equal(weights(plain), weights(watched))
    assert safe.report is not None
    assert safe.report.scale == 1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_long_steps_end_at_the_radius(name: str) -> None:
    model = network()
    inner = OPTIMIZERS[name](model.parameters())
    safe = SafeStep(inner, model)
    go(model, safe)
    for group in inner.param_groups:
        group["lr"] *= 1e4
        if name == "Rprop":  # keeps its own step sizes
            for p in group["params"]:
                inner.state[p]["step_size"].mul_(1e4)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    go(model, safe, 1)
    report = safe.report
    assert report is not None
    assert report.r_raw > 1
    assert report.r_applied == pytest.approx(1, abs=1e-9)
    # what was really done is one radius long, measured anew where the step began
    step = {n: p.detach() - before[n] for n, p in model.named_parameters()}
    _, slopes = logit_slopes(model, before, step, batch(1)[0])
    assert normalized_step(slopes) == pytest.approx(1, rel=1e-3)
    assert torch.cat([s.flatten() for s in step.values()]).norm() == pytest.approx(
        report.tau, rel=1e-3
    )
    assert report.tau == pytest.approx(report.rho, rel=1e-6)


def test_the_report_of_a_linear_model_is_exact(golden: Callable[[str], Any]) -> None:
    case = golden("ghosts")["linear_classifier"]
    layer = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(case["W"], dtype=torch.float64))
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    x = torch.tensor(case["X"], dtype=torch.float64)
    functional.cross_entropy(layer(x), torch.tensor(case["y"])).backward()
    report = RadiusController(optimizer, layer).step(x)
    assert report.tau_raw == pytest.approx(case["grad_norm"], rel=1e-12)
    assert report.rho == pytest.approx(case["rho_bound_grad"], rel=1e-12)
    assert report.r_raw == pytest.approx(case["grad_norm"] / case["rho_bound_grad"], rel=1e-12)


def test_free_mode_needs_no_learning_rate() -> None:
    ends = []
    for lr in (1e-4, 1e2):
        model = network().double()
        safe = SafeStep(torch.optim.SGD(model.parameters(), lr=lr), model, mode="free", r_target=2)
        x, y = batch()
        for _ in range(3):
            safe.zero_grad()
            functional.cross_entropy(model(x.double()), y).backward()
            safe.step()
            assert safe.report is not None
            assert safe.report.r_applied == pytest.approx(2)
        ends.append(weights(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=1e-8)


def test_a_spike_that_kills_clipping_is_survived() -> None:
    x, y = batch(n=200)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()

    def trained(kind: str) -> float:
        model = network()
        inner = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
        optimizer = SafeStep(inner, model) if kind == "safe" else inner
        for step in range(120):
            inner.param_groups[0]["lr"] = 5e3 if step >= 60 else 0.5  # and it stays
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            if kind == "clip":
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return float((model(x).argmax(-1) == y).float().mean())

    assert trained("safe") > 0.9
    assert trained("clip") < 0.7


def test_groups_frozen_parameters_and_eval_mode() -> None:
    model = network(dropout=0.5).eval()
    model[0].bias.requires_grad_(False)
    frozen = model[0].bias.detach().clone()
    groups = [
        {"params": model[0].parameters(), "lr": 50.0},
        {"params": model[3].parameters(), "lr": 5.0},
    ]
    before = [p.detach().clone() for p in model.parameters()]
    safe = SafeStep(torch.optim.SGD(groups, lr=1.0), model)
    x, y = batch()
    functional.cross_entropy(model(x), y).backward()
    gradients = [p.grad for p in model.parameters()]
    safe.step()
    report = safe.report
    assert report is not None
    assert 0 < report.scale < 1
    assert torch.equal(model[0].bias, frozen)
    for p, old, g, lr in zip(model.parameters(), before, gradients, (50, 50, 5, 5), strict=True):
        if g is not None:  # one factor for all: the groups' rates keep their ratio
            torch.testing.assert_close(
                p.detach() - old, -report.scale * lr * g, rtol=1e-3, atol=1e-6
            )
    assert not model.training


def test_padding_and_ignored_labels_do_not_limit_a_step() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))
    tokens = torch.randint(0, 8, (4, 5))
    labels = torch.randint(0, 9, (4, 5))
    labels[:, 3:] = -100
    tokens[:, 3:] = 8  # padding, whose embedding moves by weight decay alone
    with torch.no_grad():
        model[0].weight[8] *= 1e4
    reports = []
    for masked in (True, False):
        copied = copy.deepcopy(model)
        inner = torch.optim.SGD(copied.parameters(), lr=0.1, weight_decay=0.5)
        logits = copied(tokens)
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        loss.backward()
        mask = labels != -100 if masked else None
        reports.append(RadiusController(inner, copied).step(tokens, mask))
    copied = copy.deepcopy(model)
    safe = SafeStep(torch.optim.SGD(copied.parameters(), lr=0.1, weight_decay=0.5), copied)
    functional.cross_entropy(
        copied(tokens).flatten(0, 1), labels.flatten(), ignore_index=-100
    ).backward()
    safe.step()
    assert safe.report == reports[0]
    assert reports[1].r_raw > 10 * reports[0].r_raw


def test_accumulation_takes_the_worst_of_all_passes() -> None:
    model = network()
    x, y = batch(n=48)
    r = []
    for sizes in ([48], [16, 16, 16]):
        copied = copy.deepcopy(model)
        safe = SafeStep(torch.optim.SGD(copied.parameters(), lr=10.0), copied)
        for part_x, part_y in zip(x.split(sizes), y.split(sizes), strict=True):
            loss = functional.cross_entropy(copied(part_x), part_y) * len(part_x) / 48
            loss.backward()
        with torch.no_grad():
            copied(1e6 * x)  # an evaluation limits nothing
        copied(1e6 * x)  # nor does a forward pass without a backward
        safe.step()
        assert safe.report is not None
        r.append((safe.report.r_raw, safe.report.bottleneck_index))
    assert r[0][0] == pytest.approx(r[1][0], rel=1e-5)
    assert r[0][1] == r[1][1]


def test_schedulers_see_an_optimizer() -> None:
    model = network()
    safe = SafeStep(torch.optim.SGD(model.parameters(), lr=1.0), model)
    scheduler = torch.optim.lr_scheduler.SequentialLR(
        safe,
        [
            torch.optim.lr_scheduler.LinearLR(safe, 0.1, total_iters=2),
            torch.optim.lr_scheduler.CosineAnnealingLR(safe, 10),
        ],
        [2],
    )
    rates = []
    for step in range(4):
        go(model, safe, step)
        scheduler.step()
        rates.append(safe.param_groups[0]["lr"])
        assert safe.optimizer.param_groups[0]["lr"] == rates[-1]
    assert rates[1] == pytest.approx(1.0)
    torch.optim.lr_scheduler.OneCycleLR(safe, max_lr=1.0, total_steps=5)  # cycles the momentum


def test_grad_scaler_and_autocast() -> None:
    model = network()
    safe = SafeStep(torch.optim.Adam(model.parameters(), lr=10.0), model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    x, y = batch()
    for step in range(3):
        safe.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = functional.cross_entropy(model(x), y)
        if step == 1:
            loss = loss * math.inf  # an overflow: the scaler leaves the step out
        kept = weights(model)
        scaler.scale(loss).backward()
        scaler.unscale_(safe)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(safe)
        scaler.update()
        assert torch.equal(weights(model), kept) == (step == 1)
    assert scaler.get_scale() < 2.0**16
    assert safe.controller.n_steps == 2
    assert safe.report is not None
    assert safe.report.r_applied == pytest.approx(1)


def test_fused_optimizers() -> None:
    model = network()
    safe = SafeStep(torch.optim.AdamW(model.parameters(), lr=10.0, fused=True), model)
    go(model, safe)
    assert safe.report is not None
    assert safe.report.scale < 1


def test_every_reuses_the_spread_and_never_cuts_on_it() -> None:
    model = network()
    inner = torch.optim.SGD(model.parameters(), lr=1e-3)
    safe = SafeStep(inner, model, every=4)
    stale = []
    for step in range(8):
        inner.param_groups[0]["lr"] = 1e3 if step == 6 else 1e-3
        go(model, safe, step)
        assert safe.report is not None
        stale.append(safe.report.stale)
        if step == 6:
            assert safe.report.r_applied == pytest.approx(1)
    assert stale == [False, True, True, True, False, True, False, True]  # 6: measured for the spike


def test_a_probe_of_some_rows_is_at_most_the_batch() -> None:
    reports = {}
    for probe in ("batch", 8, lambda x: x[:8]):
        model = network()
        safe = SafeStep(torch.optim.SGD(model.parameters(), lr=10.0), model, probe=probe)
        go(model, safe)
        reports[str(probe)] = safe.report
    whole, some, _ = reports.values()
    assert some is not None
    assert whole is not None
    assert 0.5 * whole.r_raw < some.r_raw <= whole.r_raw


def test_rows_are_cut_in_nested_arguments() -> None:
    from entropilot.learning.logit_slopes import ModelInputs

    x = torch.arange(12).reshape(6, 2)
    call = Call(ModelInputs((x,), {"more": [x + 1, 7], "bias": torch.ones(2)}), x[:, 0] > 2)
    found = some_rows(call, 3, shift=5)
    assert found.inputs.args[0][:, 0].tolist() == [10, 2, 6]
    assert found.inputs.kwargs["more"][0][:, 0].tolist() == [11, 3, 7]
    assert found.inputs.kwargs["more"][1] == 7
    assert found.inputs.kwargs["bias"].shape == (2,)
    assert found.mask is not None
    assert found.mask.tolist() == [True, False, True]


def test_state_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def run(steps: range, model: nn.Module, safe: SafeStep) -> None:
        for step in steps:
            go(model, safe, step)

    def made(record: Path) -> tuple[nn.Module, SafeStep]:
        model = network()
        inner = torch.optim.Adam(model.parameters(), lr=0.05)
        return model, SafeStep(inner, model, every=3, record=record)

    whole_model, whole = made(tmp_path / "whole.jsonl")
    run(range(7), whole_model, whole)
    model, safe = made(tmp_path / "cut.jsonl")
    run(range(4), model, safe)
    torch.save((model.state_dict(), safe.state_dict()), tmp_path / "state.pt")
    run(range(4, 5), model, safe)  # steps after the checkpoint, lost in the kill
    again_model, again = made(tmp_path / "cut.jsonl")
    weights_kept, state = torch.load(tmp_path / "state.pt", weights_only=True)
    again_model.load_state_dict(weights_kept)
    again.load_state_dict(state)
    run(range(4, 7), again_model, again)
    assert torch.equal(weights(whole_model), weights(again_model))
    assert read_metrics(tmp_path / "whole.jsonl") == read_metrics(tmp_path / "cut.jsonl")
    bare = torch.optim.Adam(model.parameters(), lr=0.05)
    bare.load_state_dict(again.state_dict())  # the state serves a bare optimizer, too
    again.load_state_dict(bare.state_dict())


def test_the_metrics_file_and_a_function_get_the_same_rows(tmp_path: Path) -> None:
    rows: list[Any] = []
    for record in (tmp_path / "metrics.jsonl", rows.append):
        model = network()
        safe = SafeStep(torch.optim.SGD(model.parameters(), lr=10.0), model, record=record)
        for step in range(3):
            go(model, safe, step)
    assert read_metrics(tmp_path / "metrics.jsonl") == rows
    assert set(rows[0]) == set(MEANINGS)
    assert [row["step"] for row in rows] == [1, 2, 3]


def test_logits_elsewhere_in_the_output() -> None:
    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv1d(2, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)  # [B, classes, L]

    torch.manual_seed(0)
    model = Segmenter()
    x, y = torch.randn(4, 2, 5), torch.randint(0, 3, (4, 5))
    y[:, 2:] = -100
    safe = SafeStep(
        torch.optim.SGD(model.parameters(), lr=100.0), model, logits=lambda out: out.movedim(1, -1)
    )
    functional.cross_entropy(model(x), y, ignore_index=-100).backward()
    (call,) = safe.watch.calls()
    assert call.mask is not None
    assert torch.equal(call.mask, y != -100)
    safe.step()
    assert safe.report is not None
    assert safe.report.r_applied == pytest.approx(1)


def test_a_model_without_forward_mode_falls_back_once() -> None:
    class Distances(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centres = nn.Parameter(torch.randn(4, 6))

        def forward(self, x: Tensor) -> Tensor:
            return -torch.cdist(x, self.centres)

    torch.manual_seed(0)
    model = Distances()
    safe = SafeStep(torch.optim.SGD(model.parameters(), lr=100.0), model)
    with pytest.warns(UserWarning, match="finite differences"):
        go(model, safe)
    go(model, safe, 1)
    assert safe.controller.method == "fd"


def test_closures_are_called_once() -> None:
    model = network()
    safe = SafeStep(torch.optim.SGD(model.parameters(), lr=1.0), model)
    x, y = batch()
    calls = []

    def closure() -> Tensor:
        safe.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        calls.append(loss)
        return loss

    assert safe.step(closure) is calls[0]
    assert len(calls) == 1


def test_a_step_of_zero_has_no_radius() -> None:
    model = network()
    before = weights(model)
    safe = SafeStep(torch.optim.SGD(model.parameters(), lr=0.0), model)
    go(model, safe)
    report = safe.report
    assert report is not None
    assert (report.r_raw, report.rho, report.scale) == (0.0, math.inf, 1.0)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("where", ["gradient", "inputs"])
def test_nan_puts_the_parameters_back(where: str) -> None:
    model = network()
    safe = SafeStep(torch.optim.SGD(model.parameters(), lr=1.0), model)
    x, y = batch()
    if where == "inputs":
        x[3] = math.inf
    before = weights(model)
    loss = functional.cross_entropy(model(x)[:3], y[:3])
    loss.backward()
    if where == "gradient":
        assert model[0].weight.grad is not None
        model[0].weight.grad[0, 0] = math.nan
        words = "not finite"
    else:
        words = "step has length nan"
    with pytest.raises(InputError, match=words):
        safe.step()
    assert torch.equal(weights(model), before)


def test_a_sample_with_infinite_logits_is_named() -> None:
    layer = nn.Linear(2, 2)
    controller = RadiusController(torch.optim.SGD(layer.parameters(), lr=1.0), layer)
    x = torch.randn(4, 2)
    functional.cross_entropy(layer(x), torch.zeros(4, dtype=torch.long)).backward()
    x[2] = math.inf
    with pytest.raises(InputError, match="logits of sample 2 are not finite"):
        controller.step(x)
    controller.step(x, mask=torch.tensor([True, True, False, True]))  # does not count: no harm


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"r_target": 0}, "r_target"),
        ({"r_target": math.nan}, "r_target"),
        ({"mode": "always"}, "mode"),
        ({"every": 0}, "every"),
        ({"probe": 0}, "probe"),
        ({"probe": "all"}, "probe"),
        ({"method": "exact"}, "method"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str) -> None:
    model = network()
    with pytest.raises(ConfigurationError, match=words):
        SafeStep(torch.optim.SGD(model.parameters(), lr=1.0), model, **settings)


def test_what_cannot_be_wrapped() -> None:
    model = network()
    with pytest.raises(ConfigurationError, match="LBFGS"):
        SafeStep(torch.optim.LBFGS(model.parameters()), model)
    safe = SafeStep(torch.optim.SGD(model.parameters(), lr=1.0), model)
    with pytest.raises(ConfigurationError, match="already"):
        SafeStep(safe, model)
    with pytest.raises(ConfigurationError, match="wraps a torch"):
        SafeStep("adam", model)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not in the model"):
        SafeStep(torch.optim.SGD(network().parameters(), lr=1.0), model)
    with pytest.raises(InputError, match="not in the model"):
        safe.add_param_group({"params": [nn.Parameter(torch.ones(2))]})


def test_a_step_without_a_gradient_says_what_to_do() -> None:
    model = network()
    safe = SafeStep(torch.optim.SGD(model.parameters(), lr=1.0), model)
    with pytest.raises(InputError, match="after backward"):
        safe.step()


def test_a_batch_that_is_all_masked() -> None:
    layer = nn.Linear(2, 2)
    controller = RadiusController(torch.optim.SGD(layer.parameters(), lr=1.0), layer)
    x = torch.randn(4, 2)
    functional.cross_entropy(layer(x), torch.zeros(4, dtype=torch.long)).backward()
    with pytest.raises(InputError, match="masked out"):
        controller.step(x, mask=torch.zeros(4, dtype=torch.bool))


def test_one_logit_is_refused() -> None:
    layer = nn.Linear(2, 1)
    safe = SafeStep(torch.optim.SGD(layer.parameters(), lr=1.0), layer)
    layer(torch.randn(4, 2)).sum().backward()
    with pytest.raises(InputError, match="at least two logits"):
        safe.step()


def test_unwrapping_stops_the_watch() -> None:
    model = network()
    inner = torch.optim.SGD(model.parameters(), lr=1.0)
    safe = SafeStep(inner, model)
    assert safe.unwrap() is inner
    x, y = batch()
    functional.cross_entropy(model(x), y).backward()
    assert safe.watch.calls() == []
    assert "SafeStep" in repr(safe)
    assert "SGD" in repr(safe)
