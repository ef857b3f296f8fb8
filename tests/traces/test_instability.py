"""Instability of single traces and of logs: exact values, all forms of input, and bad input."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from entropilot.errors import ConfigurationError, InputError
from entropilot.traces.instability import instability_trace, instability_traces
from entropilot.traces.measures import common_k, token_measures, truncate_top_k
from entropilot.traces.table import Traces

Make = Callable[..., Traces]
EXACT = 1e-12  # of the golden values, float64


def logs(p: dict[str, float]) -> dict[str, float]:
    return {token: math.log(value) for token, value in p.items()}


def test_golden_trace(golden: Callable[[str], Any]) -> None:
    given_ = golden("instability")["trace"]
    found = instability_trace(given_["top_logprobs"], windows=(2, 4, 8))
    assert pytest.approx(given_["H"], rel=EXACT) == found.H
    assert found.D[1:] == pytest.approx(given_["jsd"][1:], rel=EXACT)
    assert found.I[1:] == pytest.approx(given_["I_lambda1"][1:], rel=EXACT)
    assert np.isnan([found.D[0], found.I[0]]).all()
    assert pytest.approx(given_["S"], rel=EXACT) == found.S
    assert found.t_peak == given_["peak_step_zero_based"]
    assert found.rho == given_["relative_peak"]
    expected = {int(w): pytest.approx(s, rel=EXACT) for w, s in given_["S_prefix"].items()}
    assert found.S_prefix == expected


def test_golden_truncated_pairs(golden: Callable[[str], Any]) -> None:
    for pair in golden("instability")["truncated_pairs"]:
        steps = [logs(pair["p"]), logs(pair["q"])]
        exact = instability_trace(steps)
        assert exact.I[1] == pytest.approx(pair["I_renorm_lambda1"], rel=EXACT)
        assert exact.mass == pytest.approx([pair["mass_p"], pair["mass_q"]], rel=EXACT)
        lump = instability_trace(steps, mode="lump")
        assert lump.D[1] == pytest.approx(pair["jsd_lump"], rel=EXACT)
        bounds = instability_trace(steps, mode="bounds", vocab_size=pair["vocab_size"])
        low, high = bounds.low, bounds.high
        assert low.D[1] == pytest.approx(pair["jsd_lower"], rel=EXACT)
        assert high.D[1] == pytest.approx(pair["jsd_upper"], rel=EXACT)
        assert pytest.approx([pair["H_upper_p"], pair["H_upper_q"]], rel=EXACT) == high.H
        capped = [pair["H_lower_capped_p"], pair["H_lower_capped_q"]]
        assert pytest.approx(capped, rel=EXACT) == low.H


def test_all_forms_of_one_trace_agree() -> None:
    steps = [{"a": -0.5, "b": -1.2}, {"b": -0.3, "c": -2.0}, {"a": -0.9, "c": -1.0}]
    ids = {"a": 3, "b": 70_000_000, "c": 1}

    def entry(step: dict[str, float]) -> list[dict[str, Any]]:
        return [{"token": t, "bytes": [ord(t)], "logprob": lp} for t, lp in step.items()]

    openai = [{"token": "a", "top_logprobs": entry(step)} for step in steps]
    sdk = [
        SimpleNamespace(top_logprobs=[SimpleNamespace(**e, id=ids[e["token"]]) for e in entry(s)])
        for s in steps
    ]
    vllm = [{ids[t]: SimpleNamespace(logprob=lp) for t, lp in step.items()} for step in steps]
    table = (
        np.array([[ids[t] for t in step] for step in steps]),
        np.array([list(step.values()) for step in steps]),
    )
    pairs = [(row, values) for row, values in zip(*table, strict=True)]
    expected = instability_trace(steps)
    for form in (openai, [entry(s) for s in steps], sdk, vllm, table, pairs):
        found = instability_trace(form)
        assert found.I[1:].tolist() == expected.I[1:].tolist()
        assert found.H.tolist() == expected.H.tolist()


def test_equal_texts_of_two_ids_are_summed() -> None:
    twice = [{"token": "\ufffd", "logprob": math.log(0.3)}] * 2
    step = [*twice, {"token": "b", "logprob": math.log(0.4)}]
    found = instability_trace([step, step])
    assert found.H[0] == pytest.approx(-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    assert found.D[1] == pytest.approx(0.0, abs=1e-15)
    rows = (np.array([[4, 4, 5]] * 2), np.log([[0.3, 0.3, 0.4]] * 2))
    assert instability_trace(rows).H[0] == pytest.approx(found.H[0])


def test_an_appended_sampled_token_is_known_but_not_of_the_top_k() -> None:
    step = {"a": math.log(0.5), "b": math.log(0.3), "sampled": math.log(0.01)}
    plain = {"a": math.log(0.5), "b": math.log(0.3)}
    first = {"sampled": math.log(0.01), **plain}  # vLLM lists it first
    for listed in (step, first):
        assert instability_trace([listed] * 2, k=2).H[0] == instability_trace([plain] * 2).H[0]
        low = instability_trace([listed] * 2, mode="bounds", k=2, vocab_size=99).low
        # tail 0.19 below a ceiling of 0.3: one more token
        p = np.array([0.5, 0.3, 0.01, 0.19])
        assert low.H[0] == pytest.approx(-(p * np.log(p)).sum())


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 6),
    st.integers(7, 40),
    st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_bounds_hold_the_full_values(seed: int, k: int, vocab: int, lam: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(6, vocab)) * 3
    full = instability_trace(logits, lam, "full")
    lp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ids = np.argsort(-lp, axis=1)[:, :k]
    bounds = instability_trace(
        (ids, np.take_along_axis(lp, ids, 1)), lam, mode="bounds", vocab_size=vocab
    )
    slack = 1e-9
    for name in ("H", "D", "I"):
        low, exact, high = (getattr(x, name)[1:] for x in (bounds.low, full, bounds.high))
        assert (low <= exact + slack).all()
        assert (exact <= high + slack).all()
    assert full.S + slack >= bounds.low.S
    assert bounds.high.S + slack >= full.S


def test_full_logits_agree_with_scipy() -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(size=(5, 300_000)).astype(np.float32) * 4
    logits[:, 7] = -np.inf
    found = instability_trace(logits, mode="full")
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        H = -np.nansum(p * np.log(p), axis=1)
    # scipy gives the square root of the divergence
    D = [jensenshannon(a, b) ** 2 for a, b in pairwise(p)]
    assert pytest.approx(H, rel=1e-10) == found.H
    assert found.D[1:] == pytest.approx(D, rel=1e-10)
    tensor = instability_trace(torch.from_numpy(logits), mode="full")
    assert tensor.I[1:].tolist() == found.I[1:].tolist()


def test_opposite_one_hot_logits() -> None:
    logits = np.full((2, 4), -np.inf)
    logits[0, 0] = logits[1, 3] = 0.0
    found = instability_trace(logits, mode="full")
    assert found.H.tolist() == [0, 0]
    assert found.D[1] == pytest.approx(math.log(2))


@pytest.mark.parametrize("mode", ["renormalise", "lump"])
def test_a_log_agrees_with_its_traces(make_traces: Make, mode: str) -> None:
    traces = make_traces([[b"a"] * 6, [b"b"] * 4, [b"c"] * 2])
    found = instability_traces(traces, 0.5, mode)  # type: ignore[arg-type]
    t = traces.tokens
    for i in range(3):
        mine = slice(t.offsets[i], t.offsets[i + 1])
        one = instability_trace((t.top_piece[mine], t.top_logprob[mine]), 0.5, mode)  # type: ignore[call-overload]
        assert found.I[mine][1:] == pytest.approx(one.I[1:], rel=EXACT)
        assert (found.t_peak[i], found.rho[i]) == (one.t_peak, one.rho)
    if mode == "renormalise":
        assert found.H.tolist() == token_measures(traces).entropy.tolist()


def test_lump_of_complete_lists_is_exact() -> None:
    steps = [logs({"a": 0.25, "b": 0.75}), logs({"a": 0.5, "c": 0.5})]
    lump, plain = instability_trace(steps, mode="lump"), instability_trace(steps)
    assert lump.I[1] == pytest.approx(plain.I[1], rel=EXACT)


def test_full_columns_of_a_log(make_traces: Make) -> None:
    traces = make_traces([[b"a"] * 3])
    with pytest.raises(InputError, match="no full-vocabulary entropies"):
        instability_traces(traces, mode="full")
    h, d = np.array([1, 2, 3], np.float32), np.array([np.nan, 0.5, 0.25], np.float32)
    full = replace(traces, tokens=replace(traces.tokens, entropy=h, jsd=d))
    assert instability_traces(full, mode="full").S.tolist() == [3.25]


def test_fewer_than_two_tokens_give_nan_and_a_warning(make_traces: Make) -> None:
    for trace in ([], [{"a": -0.1, "b": -3.0}]):
        with pytest.warns(UserWarning, match=f"a trace of {len(trace)} tokens has no peak"):
            found = instability_trace(trace)
        assert math.isnan(found.S)
        assert math.isnan(found.rho)
        assert found.t_peak == -1
    with pytest.warns(UserWarning, match="2 of 3 traces have fewer than 2 tokens"):
        many = instability_traces(make_traces([[b"a"], [], [b"a", b"b"]]))
    assert np.isnan(many.S).tolist() == [True, True, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        instability_traces(make_traces([[b"a", b"b"]]))


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (None, "logprobs=True, top_logprobs=20"),
        ([{"token": "a", "top_logprobs": None}], "step 0: .*logprobs=True"),
        ([{"a": None}], "step 0: .*logprobs=True"),
        ([{"a": 0.5, "b": 0.4}] * 2, "2 of 2 .* positive .* look like probabilities"),
        ([{"a": 5.0, "b": -1.0}] * 2, "largest 5.*check the source"),
        ((np.array([[1, 2]]), np.array([[0.6, 0.3]])), "look like probabilities"),
        ([{"a": math.nan, "b": -1.0}], "nan"),
        ([{"a": -0.1, "b": -0.1}], "step 0 .* mass of 1.80967"),
        ([{"a": -0.7, "b": -0.7}, {"a": -0.1, "b": -0.1}], "step 1 "),
        ([{"a": -0.1}, {"b": -0.2}], r"at most one alternative.*mode='bounds'"),
        ((np.array([[1, 2]]), np.array([[-0.6]])), "both are"),
        ("text", "got str"),
        (3, "got int"),
    ],
)
def test_bad_traces_say_what_to_do(trace: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        instability_trace(trace)


def test_one_alternative_has_bounds() -> None:
    found = instability_trace([{"a": -0.1}, {"b": -0.2}], mode="bounds", vocab_size=50)
    assert 0 < found.low.H[0] < found.high.H[0]


def test_impossible_tokens_have_probability_zero() -> None:
    clean = [{"a": -0.5, "b": -1.0}] * 2
    for value in (-math.inf, -9999.0, -1000.0, -100.0):
        found = instability_trace([{**step, "c": value} for step in clean])
        assert found.H.tolist() == instability_trace(clean).H.tolist()


def test_modes_that_do_not_fit(make_traces: Make) -> None:
    with pytest.raises(ConfigurationError, match="mode='full'"):
        instability_trace(np.zeros((3, 4)))
    with pytest.raises(ConfigurationError, match="needs logits"):
        instability_trace([{"a": -1.0}], mode="full")
    with pytest.raises(ConfigurationError, match="did you mean 'lump'"):
        instability_trace([], mode="lumped")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="lam is nan"):
        instability_trace([], math.nan)
    with pytest.raises(InputError, match="logits of step 1"):
        instability_trace(np.array([[0.0, 1.0], [-np.inf, -np.inf]]), mode="full")


def test_traces_of_different_k_need_force(make_traces: Make) -> None:
    traces = make_traces([[b"a"] * 4, [b"b"] * 2], k=4)
    lengths = np.array([4, 4, 4, 4, 3, 3], np.int16)
    mixed = replace(traces, tokens=replace(traces.tokens, n_top=lengths))
    with pytest.raises(InputError, match=r"truncate_top_k\(traces, 3\)"):
        instability_traces(mixed)
    assert not np.isnan(instability_traces(mixed, force=True).S).any()
    assert not np.isnan(instability_traces(truncate_top_k(mixed, 3)).S).any()


def test_alternatives_of_equal_text_do_not_change_k(make_traces: Make) -> None:
    traces = make_traces([[b"a"] * 4], k=4)
    merged = replace(traces, tokens=replace(traces.tokens, n_top=np.array([4, 4, 3, 4], np.int16)))
    assert common_k(merged) == 4
    assert not np.isnan(instability_traces(merged).S[0])


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_ranges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lp = np.log(rng.dirichlet(np.ones(6), size=8)[:, :5])
    ids = np.array([rng.permutation(9)[:5] for _ in range(8)])
    found = instability_trace((ids, lp))
    assert (found.H >= 0).all()
    assert (math.log(5) + 1e-12 >= found.H).all()
    assert (found.D[1:] >= 0).all()
    assert (found.D[1:] <= math.log(2)).all()
    renamed = instability_trace((ids * 7 + 2, lp))  # names of tokens do not matter
    assert renamed.I[1:] == pytest.approx(found.I[1:], abs=1e-14)
