"""Meters attached to a training loop: what they see, write and leave alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.meters import LayerPass, feature_rows, metric_name, split_metric_name
from entropilot.learning.modules import matching_layers
from entropilot.learning.recorder import MeterRecorder
from entropilot.policy.training.metrics_log import read_metrics


class Count:
    """Rows seen, their sum, and the labels' sum."""

    name = "count"

    def init(self) -> Any:
        return [0, 0.0, 0]

    def observe(self, state: Any, seen: LayerPass) -> Any:
        rows, labels = feature_rows(seen.output, seen.labels)
        told = 0 if labels is None else int(labels.sum())
        return [state[0] + len(rows), state[1] + float(rows.sum()), state[2] + told]

    def read(self, state: Any) -> tuple[Mapping[str, float], Any]:
        return {"rows": state[0], "sum": state[1], "labels": state[2]}, self.init()


class Course:
    name = "course"

    def init(self) -> Any:
        return 0.0

    def advance(
        self, state: Any, step: int, values: Mapping[str, float]
    ) -> tuple[Mapping[str, float], Any]:
        state = state + values["loss"]
        return {"loss": state}, state


class Refuses(Count):
    name = "refuses"

    def observe(self, state: Any, seen: LayerPass) -> Any:
        raise InputError("class 3 has no samples")


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )


def batches(n: int) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 4, generator=draw), torch.randint(3, (16,), generator=draw))
        for _ in range(n)
    ]


def train(model: nn.Module, recorder: MeterRecorder | None, n: int = 4, first: int = 0) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in batches(n)[first:]:
        if recorder:
            recorder.tell(labels=y)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if recorder:
            recorder.step(loss=loss.item())


PROBE = (torch.linspace(-1, 1, 40).reshape(10, 4), torch.arange(10) % 3)


@pytest.mark.parametrize("probe", [None, PROBE, [PROBE, PROBE]])
def test_training_is_bit_equal_with_and_without_meters(probe: Any, tmp_path: Path) -> None:
    plain, watched = net(), net()
    torch.manual_seed(5)
    train(plain, None)
    torch.manual_seed(5)
    with MeterRecorder(watched, tmp_path / "m.jsonl", [Count()], ["0", "4"], probe=probe) as r:
        train(watched, r)
    for a, b in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert all(module.training for module in watched.modules())
    assert not any(module._forward_hooks for module in watched.modules())


def test_riding_along_sees_the_training_passes_of_recorded_steps(tmp_path: Path) -> None:
    model = net()
    with MeterRecorder(model, tmp_path / "m.jsonl", [Count(), Course()], ["4"], every=2) as r:
        train(model, r)
        with torch.no_grad():
            model(batches(1)[0][0])  # a validation is not counted
    rows = read_metrics(tmp_path / "m.jsonl")
    assert [row["step"] for row in rows] == [1, 3]
    assert [row["count/rows@4"] for row in rows] == [16, 16]
    assert rows[1]["count/labels@4"] == int(batches(4)[2][1].sum())
    assert rows[1]["course/loss"] > rows[1]["loss"]  # step meters see the steps in between too


def test_a_probe_is_deterministic_and_without_dropout() -> None:
    model = net()
    with MeterRecorder(model, None, [Count()], ["4"], probe=PROBE) as recorder:
        a, b = recorder.measure(), recorder.measure()
    assert a == b
    model.eval()
    assert a["count/sum@4"] == pytest.approx(model(PROBE[0]).sum().item(), rel=1e-6)


def test_frozen_layers_and_models_in_eval_mode_stay_so() -> None:
    model = net()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    with MeterRecorder(model, None, [Count()], ["0"], probe=PROBE) as recorder:
        recorder.step()
    assert not model[1].training
    assert model[0].training
    assert not model[0].weight.requires_grad


def test_hooks_go_even_when_the_model_raises() -> None:
    model = net()
    recorder = MeterRecorder(model, None, [Count()], ["0"], probe=(torch.zeros(2, 5), None))
    with pytest.raises(RuntimeError):
        recorder.step()
    assert not model[0]._forward_hooks
    assert model.training


def test_a_resumed_run_ends_with_the_same_file(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    model = net()
    torch.manual_seed(5)
    with MeterRecorder(model, whole, [Count(), Course()], ["4"], probe=PROBE) as recorder:
        train(model, recorder)
    model = net()
    torch.manual_seed(5)
    with MeterRecorder(model, parts, [Count(), Course()], ["4"], probe=PROBE) as recorder:
        train(model, recorder, 2)
        torch.save(recorder.state_dict(), tmp_path / "meters.pt")
        weights = {k: v.clone() for k, v in model.state_dict().items()}
        random = torch.get_rng_state()
        train(model, recorder, 3, first=2)  # a step that the kill loses
    model = net()
    model.load_state_dict(weights)
    torch.set_rng_state(random)
    with MeterRecorder(model, parts, [Count(), Course()], ["4"], probe=PROBE) as recorder:
        recorder.load_state_dict(torch.load(tmp_path / "meters.pt", weights_only=True))
        train(model, recorder, 4, first=2)
    assert parts.read_text() == whole.read_text()


def test_a_meter_that_refuses_warns_once_and_training_goes_on() -> None:
    with MeterRecorder(net(), None, [Refuses(), Count()], ["0"], probe=PROBE) as recorder:
        with pytest.warns(UserWarning, match="'refuses' at layer '0'.*class 3 has no samples"):
            first = recorder.step()
        second = recorder.step()
    assert first["refuses/failed@0"] == second["refuses/failed@0"] == 1
    assert second["count/rows@0"] == 10


def test_a_second_run_does_not_mix_into_the_first_ones_file(tmp_path: Path) -> None:
    with MeterRecorder(net(), tmp_path / "m.jsonl", [Count()], ["0"], probe=PROBE) as recorder:
        recorder.step()
    again = MeterRecorder(net(), tmp_path / "m.jsonl", [Count()], ["0"], probe=PROBE)
    with pytest.raises(InputError, match="already holds step 1"):
        again.step()


def test_infinite_values_are_written_as_null(tmp_path: Path) -> None:
    with MeterRecorder(net(), tmp_path / "m.jsonl", [Count()], ["0"], probe=PROBE) as recorder:
        recorder.step(loss=math.nan)
    assert read_metrics(tmp_path / "m.jsonl")[0]["loss"] is None


def test_wrapped_models_are_looked_through() -> None:
    recorder = MeterRecorder(nn.DataParallel(net()), None, [Count()], ["4"], probe=PROBE)
    assert recorder.step()["count/rows@4"] == 10


def test_models_called_with_keywords_and_tuple_outputs() -> None:
    lstm = nn.LSTM(4, 6, batch_first=True)
    probe = ({"input": torch.randn(3, 5, 4)}, None)
    assert MeterRecorder(lstm, None, [Count()], [""], probe=[probe]).step()["count/rows@model"] == 3


def test_patterns_stay_within_one_level() -> None:
    model = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU())), nn.ReLU())
    assert list(matching_layers(model, ["*"])) == ["0", "1"]
    assert list(matching_layers(model, ["0.*"])) == ["0.0", "0.1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layers": ["fc"]}, "unknown layer 'fc'"),
        ({"layers": []}, "layers is empty"),
        ({"meters": [Count(), Count()]}, "two meters are called 'count'"),
        ({"meters": [object()]}, "object is no meter"),
        ({"every": 0}, "every is 0"),
        ({"probe": iter([PROBE])}, "read only once"),
    ],
)
def test_what_cannot_be_attached_is_named(arguments: dict[str, Any], said: str) -> None:
    given = {"meters": [Count()], "layers": ["0"], "probe": None} | arguments
    meters, layers = given.pop("meters"), given.pop("layers")
    with pytest.raises(ConfigurationError, match=said):
        MeterRecorder(net(), None, meters, layers, **given)


def test_a_state_of_other_layers_is_refused() -> None:
    saved = MeterRecorder(net(), None, [Count()], ["0"], probe=PROBE).state_dict()
    with pytest.raises(InputError, match="other meters or layers"):
        MeterRecorder(net(), None, [Count()], ["1"], probe=PROBE).load_state_dict(saved)


@pytest.mark.parametrize(
    ("shape", "rows", "found"),
    [
        ((4, 3, 5, 5), "auto", (4, 75)),
        ((4, 3, 5, 5), "mean", (4, 3)),
        ((4, 6, 8), "auto", (4, 8)),
        ((4, 6, 8), "last", (4, 8)),
        ((4, 6, 8), "tokens", (24, 8)),
        ((4, 6, 8), "flatten", (4, 48)),
        ((4,), "auto", (4, 1)),
    ],
)
def test_rows_of_layers(shape: tuple[int, ...], rows: Any, found: tuple[int, int]) -> None:
    assert tuple(feature_rows(torch.zeros(shape), rows=rows)[0].shape) == found


def test_labels_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match="do not fit 4 rows"):
        feature_rows(torch.zeros(4, 6, 8), torch.zeros(24), rows="mean")
    with pytest.raises(ConfigurationError, match="kind of row"):
        feature_rows(torch.zeros(4, 2), rows="tokenss")  # type: ignore[arg-type]


def test_names_come_apart_as_they_went_together() -> None:
    assert split_metric_name(metric_name("a", "b", "c.d")) == ("a/b", "c.d")
