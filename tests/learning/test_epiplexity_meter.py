from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from entropilot.errors import InputError
from entropilot.information import prequential_epiplexity
from entropilot.learning.epiplexity_meter import EpiplexityMeter
from entropilot.learning.meters import StepMeter
from entropilot.learning.recorder import MeterRecorder


def run(meter, rows):
    state = meter.init()
    for step, row in enumerate(rows, 1):
        found, state = meter.advance(state, step, row)
    return found


def test_it_is_the_area_of_the_golden_loss_curve(golden):
    row = golden("epiplexity")["prequential_sum"]
    losses, tokens = row["loss_before_update_nats"], row["batch_tokens"]
    rows = [{"loss": x, "tokens": n} for x, n in zip(losses, tokens, strict=True)]
    rows[-1]["held_out_loss"] = row["final_loss"]
    found = run(EpiplexityMeter(parameters=7, test_tokens=100), rows)
    assert found["S_bits"] == pytest.approx(
        prequential_epiplexity(losses, tokens, row["final_loss"])
    )
    assert found["H_bits"] == pytest.approx(100 * row["final_loss"] / math.log(2))
    assert found["flop"] == 6 * 7 * sum(tokens) + 2 * 7 * 100


def test_without_held_out_data_the_last_steps_stand_for_the_model():
    meter = EpiplexityMeter(tokens_per_step=10, window=2)
    found = run(meter, [{"loss": x} for x in (3.0, 1.0, 0.5, 0.7)])
    assert found["loss_now"] == pytest.approx(0.6)
    assert found["H_bits"] == pytest.approx(40 * 0.6 / math.log(2))


def test_a_second_epoch_is_warned_of_once():
    meter = EpiplexityMeter(tokens_per_step=10, dataset_tokens=20)
    with pytest.warns(UserWarning, match="fresh data") as said:
        run(meter, [{"loss": 1.0}] * 5)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": 3}, "says no 'loss'"),
        ({"loss": 1.0}, "says no tokens"),
        ({"loss": math.nan, "tokens": 3}, "diverged"),
        ({"loss": 1.0, "tokens": -3}, "no tokens"),
    ],
)
def test_what_a_loop_must_say(row, message):
    with pytest.raises(InputError, match=message):
        run(EpiplexityMeter(), [row])


def test_it_rides_along_with_a_training_loop_and_resumes(tmp_path):
    assert isinstance(EpiplexityMeter(), StepMeter)
    model = nn.Linear(2, 2)
    losses = [0.7, 0.5, 0.4, 0.3]
    whole = MeterRecorder(model, tmp_path / "a.jsonl", [EpiplexityMeter(window=1)])
    for x in losses:
        whole.step(loss=x, tokens=8)
    first = MeterRecorder(model, tmp_path / "b.jsonl", [EpiplexityMeter(window=1)])
    for x in losses[:2]:
        first.step(loss=x, tokens=8)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = MeterRecorder(model, tmp_path / "b.jsonl", [EpiplexityMeter(window=1)])
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for x in losses[2:]:
        second.step(loss=x, tokens=8)
    a, b = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("a.jsonl", "b.jsonl")
    )
    assert a == b
    assert a[-1]["epiplexity/S_bits"] == pytest.approx(8 * (1.9 - 4 * 0.3) / math.log(2))
