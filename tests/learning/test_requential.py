from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from entropilot.errors import InputError, ModelError
from entropilot.learning.requential import CausalTargets, FactorisedTargets, RequentialEstimator


def small(seed=0, width=6):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width))


def estimator(net=None, **options):
    net = small() if net is None else net
    make = options.pop("optimizer", lambda p: torch.optim.Adam(p, 0.01))
    sampler = options.pop("sampler", FactorisedTargets())
    return RequentialEstimator(net, copy.deepcopy(net), sampler, optimizer=make, **options)


def batches(n, kind="copy"):
    g = torch.Generator().manual_seed(1)
    for _ in range(n):
        x = torch.randint(0, 2, (64, 6), generator=g).float()
        y = x if kind == "copy" else torch.randint(0, 2, (64, 6), generator=g).float()
        yield x, y


def test_sum_of_divergences_golden(golden):
    """The published toy: fixed teacher and student distributions, one target each."""
    row = golden("epiplexity")["requential_kl"]
    total = 0.0
    for p, q, n, kl in zip(
        row["teacher"], row["student"], row["tokens_per_step"], row["kl_nats"], strict=True
    ):

        class Fixed(nn.Module):
            def __init__(self, values):
                super().__init__()
                self.logits = nn.Parameter(torch.tensor(values, dtype=torch.float64).log())

            def forward(self, x):
                return self.logits.expand(len(x), 3)

        teacher = Fixed(p)
        found = estimator(teacher, optimizer=lambda params: torch.optim.SGD(params, 0.0))
        with torch.no_grad():
            found.student.logits.copy_(torch.tensor(q, dtype=torch.float64).log())
        state = found.step((torch.zeros(n, 1), torch.zeros(n)))
        assert state.last_kl == pytest.approx(kl, rel=1e-9)
        total += state.S_nats
    assert total == pytest.approx(row["S_nats"], rel=1e-9)


def test_structure_is_paid_for_what_can_be_learnt():
    learnable, noise = estimator(), estimator()
    for batch in batches(150):
        learnable.step(batch)
    for batch in batches(150, "noise"):
        noise.step(batch)
    assert learnable.state.S_bits > 3 * noise.state.S_bits > 0
    held_out = next(batches(1))
    assert learnable.held_out_loss(held_out) < 0.5 < noise.held_out_loss(held_out)


def test_a_saved_run_goes_on_to_the_same_bits(tmp_path):
    data = list(batches(12))
    whole = estimator(max_kl=0.02, student_speed=2)
    for batch in data:
        whole.step(batch)
    first = estimator(max_kl=0.02, student_speed=2)
    for batch in data[:5]:
        first.step(batch)
    first.save(tmp_path / "run.pt")
    second = estimator(max_kl=0.02, student_speed=2, seed=99)
    second.restore(tmp_path / "run.pt")
    for batch in data[5:]:
        second.step(batch)
    assert second.state == whole.state
    assert all(
        torch.equal(a, b)
        for a, b in zip(second.student.parameters(), whole.student.parameters(), strict=True)
    )
    assert second.held_out_loss(data[0]) == whole.held_out_loss(data[0])


def test_the_teacher_waits_for_a_student_that_is_behind():
    held = estimator(max_kl=1e-9)
    for batch in batches(10):
        held.step(batch)
    assert held.state.teacher_updates == 1
    assert held.state.student_updates == 10


@pytest.mark.parametrize(("speed", "updates"), [(1.0, 8), (3.0, 24), (0.25, 2), (0.5, 4)])
def test_the_speed_of_the_student(speed, updates):
    found = estimator(student_speed=speed)
    for batch in batches(8):
        found.step(batch)
    assert found.state.student_updates == updates
    assert found.state.student_tokens == updates * 64 * 6


def test_a_causal_model_keeps_its_prefix():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 4))
    found = estimator(net, sampler=CausalTargets(3))
    batch = torch.arange(40).reshape(4, 10) % 4
    for _ in range(5):
        state = found.step(batch)
    assert state.student_tokens == 5 * 4 * 7
    assert state.S_nats > 0
    with pytest.raises(InputError, match="prefix is 0"):
        CausalTargets(0)


def test_the_schedule_is_of_updates():
    stopped = estimator(schedule=lambda step: 0.0)
    before = copy.deepcopy(stopped.teacher.state_dict())
    for batch in batches(3):
        state = stopped.step(batch)
    assert all(torch.equal(before[k], v) for k, v in stopped.teacher.state_dict().items())
    assert state.S_nats == pytest.approx(0, abs=1e-4)


def test_bad_starts_and_files(tmp_path):
    net = small()
    make = lambda p: torch.optim.SGD(p, 0.1)  # noqa: E731
    with pytest.raises(InputError, match="differ at the start"):
        RequentialEstimator(net, small(1), FactorisedTargets(), optimizer=make)
    with pytest.raises(InputError, match="one object"):
        RequentialEstimator(net, net, FactorisedTargets(), optimizer=make)
    for options, message in (
        ({"ema_steps": 0}, "ema_steps is 0"),
        ({"student_speed": 0}, "student_speed is 0"),
        ({"max_kl": -1.0}, "max_kl is -1"),
    ):
        with pytest.raises(InputError, match=message):
            estimator(**options)
    (tmp_path / "no.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="can't be read"):
        estimator().restore(tmp_path / "no.pt")
    estimator().save(tmp_path / "six.pt")
    with pytest.raises(InputError, match="other models"):
        estimator(small(width=5)).restore(tmp_path / "six.pt")


def test_a_run_that_diverges_says_who_did():
    found = estimator()
    x, y = next(batches(1))
    with pytest.raises(ModelError, match=r"teacher's loss is nan at its update 1"):
        found.step((x * math.nan, y))
