"""Collapse metrics: golden values, what they do not depend on, streams, bad input."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from entropilot.errors import ConfigurationError, InputError, LimitError
from entropilot.learning.collapse_geometry import ufm_mse
from entropilot.learning.collapse_meter import CollapseMeter
from entropilot.learning.collapse_metrics import nc_metrics
from entropilot.learning.collapse_stream import StreamingNC
from entropilot.learning.meters import LayerPass
from entropilot.learning.recorder import MeterRecorder

RNG = np.random.default_rng(0)
H = RNG.normal(size=(60, 12)) + 3.0
Y = np.arange(60) % 4
W = RNG.normal(size=(4, 12))


def test_metrics_are_the_golden_ones(golden: Callable[[str], Any]) -> None:
    case = golden("neural-collapse")["metrics"]
    h, w, y = np.array(case["H"]), np.array(case["W"]), np.array(case["labels"])
    before = h.copy(), w.copy()
    etf, of = (nc_metrics(h, y, w, targets=t) for t in ("etf", "of"))
    for name, found in {
        "NC1": etf["nc1"], "NC2_ETF_W": etf["nc2_w"], "NC2_OF_W": of["nc2_w"],
        "NC2_ETF_H": etf["nc2_h"], "NC2_OF_H": of["nc2_h"], "NC3_ETF_WH": etf["nc3"],
        "NC3_OF_WH": of["nc3"], "NC3_self_dual": of["self_dual"],
        "NC3_self_dual_centred": etf["self_dual"],
    }.items():  # fmt: skip
        assert found == pytest.approx(case[name], rel=1e-8), name
    assert np.array_equal(before[0], h)
    assert np.array_equal(before[1], w)


def test_nc1_is_the_trace_that_the_definition_says() -> None:
    means = np.stack([H[k == Y].mean(0) for k in range(4)])
    dev, centred = H - means[Y], means - H.mean(0)
    within, between = dev.T @ dev / len(H), centred.T @ centred / 4
    expected = np.trace(within @ np.linalg.pinv(between, rcond=1e-12)) / 4
    assert nc_metrics(H, Y)["nc1"] == pytest.approx(expected, rel=1e-10)


def test_the_closed_form_has_no_gap_to_itself() -> None:
    counts = [20, 10, 5, 5]
    s = ufm_mse(counts, 5e-4, 5e-4)
    basis = np.linalg.qr(RNG.normal(size=(12, 4)))[0].T
    features = np.repeat(s.h_norm[:, None] * basis, counts, axis=0)
    labels = np.repeat(np.arange(4), counts)
    found = nc_metrics(features, labels, s.w_norm[:, None] * basis, targets=s)
    for name in ("nc1", "nc2_w", "nc2_h", "nc3", "self_dual", "cos_w", "nc4"):
        assert found[name] == pytest.approx(0, abs=1e-12), name
    assert nc_metrics(features, labels, s.w_norm[:, None] * basis, targets="of")["nc2_w"] > 0.1


def test_a_simplex_is_collapsed() -> None:
    simplex = np.eye(4) - 0.25
    found = nc_metrics(np.repeat(simplex, 5, 0) + 2.0, np.repeat(range(4), 5), simplex)
    for name in ("nc1", "nc2_w", "nc2_h", "nc3", "self_dual", "equinorm_h", "cos_h", "nc4"):
        assert found[name] == pytest.approx(0, abs=1e-12), name
    assert found["effective_rank"] == pytest.approx(3)


@given(st.floats(0.01, 100), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_scale_rotation_and_order_do_not_matter(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    order = rng.permutation(60)
    plain = nc_metrics(H, Y, W)
    other = nc_metrics((H @ turn * scale)[order], Y[order], W @ turn * scale)
    for name, value in plain.items():
        assert other[name] == pytest.approx(value, rel=1e-8, abs=1e-10), name


def test_torch_numpy_and_half_precision_agree() -> None:
    plain = nc_metrics(H, Y, W)
    tensors = nc_metrics(torch.tensor(H), torch.tensor(Y), torch.tensor(W, requires_grad=True))
    assert tensors == pytest.approx(plain)
    half = torch.tensor(H).bfloat16()
    assert nc_metrics(half, Y) == pytest.approx(nc_metrics(half.double(), Y))


@given(st.lists(st.integers(1, 25), min_size=1, max_size=5), st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_stream_is_the_whole(sizes: list[int], merged: bool) -> None:
    cuts = np.minimum(np.cumsum([0, *sizes]), 60)
    cuts[-1] = 60
    whole, parts = nc_metrics(H, Y, W), [StreamingNC(4, 12) for _ in range(2)]
    for i, (a, b) in enumerate(pairwise(cuts)):
        if a < b:
            parts[i % 2 if merged else 0].update(H[a:b], Y[a:b])
    parts[0].merge(parts[1])
    found = parts[0].metrics(W)
    for name, value in found.items():
        assert value == pytest.approx(whole[name], rel=1e-9, abs=1e-12), name


def test_a_stream_stays_exact_where_features_have_nearly_collapsed() -> None:
    tight = H * 1e-7 + 1000 * np.eye(4, 12)[Y]
    stream = StreamingNC(4, 12)
    for a in range(0, 60, 7):
        stream.update(tight[a : a + 7], Y[a : a + 7])
    assert stream.metrics()["nc1"] == pytest.approx(nc_metrics(tight, Y)["nc1"], rel=1e-4)


def test_a_stream_can_leave_out_words_that_do_not_occur() -> None:
    stream = StreamingNC(9, 12)
    stream.update(H, Y * 2)
    with pytest.raises(InputError, match="class 1 has no samples"):
        stream.metrics()
    assert stream.metrics(only_present=True) == pytest.approx(nc_metrics(H, Y))
    with pytest.raises(InputError, match="collapse needs two"):
        StreamingNC(9, 12).metrics(only_present=True)


def test_the_meter_reads_the_head_and_the_layers_below() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
    x, y = torch.tensor(H).float(), torch.tensor(Y)
    probe = [(x[:30], y[:30]), (x[30:], y[30:])]
    meter = CollapseMeter(4, heads=("2",))
    with MeterRecorder(model, None, [meter], ["1", "2"], probe=probe) as recorder:
        row = recorder.step()
    features = model[:2](x)
    expected = nc_metrics(features, y, model[2].weight)
    for name in ("nc1", "nc2_w", "nc3", "self_dual"):
        assert row[f"collapse/{name}@2"] == pytest.approx(expected[name], rel=1e-5)
    assert row["collapse/nc1@1"] == pytest.approx(expected["nc1"], rel=1e-5)
    assert "collapse/nc2_w@1" not in row


def bad(**changes: Any) -> dict[str, Any]:
    return {"features": H, "labels": Y, "W": W, "targets": "etf"} | changes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (bad(labels=np.where(Y == 3, 4, Y)), r"label 4 at row 3 is outside 0 .. 3"),
        (bad(labels=Y - 1), "label -1 at row 0"),
        (bad(labels=np.minimum(Y, 2)), "class 3 has no samples"),
        (bad(labels=Y.astype(float)), "give .N. integers"),
        (bad(labels=Y[:5]), "5 labels for 60 rows"),
        (bad(labels=Y * 0, W=None), "at least two classes"),
        (bad(W=W[:, :5]), r"W has shape \(4, 5\)"),
        (bad(W=W * np.nan), "W has 48 entries that are not finite"),
        (bad(features=np.where(Y[:, None] == 2, np.inf, H)), "15 rows that are not finite.*row 2"),
        (bad(features=H[0]), r"give \[N, d\]"),
        (bad(targets=ufm_mse([1, 2], 1e-3, 1e-3)), "closed form is of 2 classes"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        nc_metrics(**arguments)


def test_unknown_target_and_too_many_features_are_named() -> None:
    with pytest.raises(ConfigurationError, match="targets is 'simplex'"):
        nc_metrics(H, Y, targets="simplex")  # type: ignore[arg-type]
    with pytest.raises(LimitError, match="GiB"):
        StreamingNC(2, 100_000)
    layer = nn.Linear(2, 2)
    seen = LayerPass("", layer, layer, (), torch.zeros(2, 2), None, 1)
    with pytest.raises(InputError, match="collapse needs labels"):
        CollapseMeter(2).observe({}, seen)
    with pytest.raises(InputError, match="no pass was seen"):
        CollapseMeter(2).read({})


def test_what_is_degenerate_warns() -> None:
    with pytest.warns(UserWarning, match="class means are equal"):
        assert np.isnan(nc_metrics(np.ones((8, 5)), np.arange(8) % 2)["nc1"])
    with pytest.warns(UserWarning, match="class 3 has a single sample"):
        nc_metrics(H[:49], np.append(np.arange(48) % 3, 3))
    with pytest.warns(UserWarning, match="2 features can't hold 3 directions"):
        nc_metrics(H[:, :2], Y)
