"""Measures of tokens agree with plain loops and with exact values of real traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, InputError
from entropilot.traces.measures import common_k, token_measures, truncate_top_k
from entropilot.traces.scan import load_traces
from entropilot.traces.table import Traces, empty_traces

Make = Callable[..., Traces]


def test_measures_agree_with_a_plain_loop(make_traces: Make) -> None:
    traces = make_traces([[b"a"] * 5, [], [b"b"], [b"c"] * 3], k=3)
    tokens, found = traces.tokens, token_measures(traces, vocab_size=100, lam=0.5)
    for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        before: dict[int, float] = {}
        for t in range(a, b):
            lp = tokens.top_logprob[t].astype(np.float64)
            p = np.exp(lp)
            q = p / p.sum()
            here = dict(zip(tokens.top_piece[t].tolist(), q.tolist(), strict=True))
            # float32 lists, float64 arithmetic: only the order of sums differs
            assert found.entropy[t] == pytest.approx(-(q * np.log(q)).sum(), abs=1e-12)
            assert found.mass[t] == pytest.approx(p.sum(), abs=1e-12)
            assert found.surprisal[t] == -float(tokens.logprob[t])
            tail = 1 - p.sum()
            upper = -(p * lp).sum() - tail * np.log(tail / 97)
            assert found.entropy_upper[t] == pytest.approx(upper, abs=1e-12)
            assert found.entropy_lower[t] <= found.entropy_upper[t]
            if t == a:
                assert np.isnan(found.jsd[t])
                assert np.isnan(found.instability[t])
            else:
                mean = {v: (here.get(v, 0) + before.get(v, 0)) / 2 for v in here | before}
                jsd = 0.5 * sum(
                    x * np.log(x / mean[v]) for d in (here, before) for v, x in d.items() if x
                )
                assert found.jsd[t] == pytest.approx(jsd, abs=1e-12)
                assert found.instability[t] == found.jsd[t] + 0.5 * found.entropy[t]
            before = here


def test_impossible_and_missing_tokens_are_counted_not_averaged(make_traces: Make) -> None:
    traces = make_traces([[b"a"] * 4])
    logprob = np.array([-1.0, -9999.0, np.nan, -np.inf], np.float32)
    found = token_measures(replace(traces, tokens=replace(traces.tokens, logprob=logprob)))
    assert found.surprisal[0] == 1.0
    assert np.isnan(found.surprisal[1:]).all()
    assert found.n_impossible == 2


def test_shorter_lists_are_those_of_a_shorter_request(make_traces: Make) -> None:
    traces = make_traces([[b"a"] * 6], k=5)
    short = truncate_top_k(traces, 2)
    assert short.tokens.top_piece.tolist() == traces.tokens.top_piece[:, :2].tolist()
    assert set(short.tokens.n_top.tolist()) == {2}
    assert (token_measures(short).entropy <= np.log(2) + 1e-12).all()
    # An appended sampled token goes, the top-k proper stays.
    appended = replace(traces, tokens=replace(traces.tokens, n_top=np.full(6, 4, np.int16)))
    cut = truncate_top_k(appended, 5).tokens
    assert (cut.top_piece[:, 4] == -1).all()
    assert (cut.top_logprob[:, 4] == -np.inf).all()


def test_lists_of_different_length_are_not_compared(make_traces: Make) -> None:
    a, b = make_traces([[b"a"] * 3], k=5), make_traces([[b"a"] * 3], k=2)
    with pytest.raises(InputError, match=r"between 2 and 5 .* truncate_top_k\(traces, 2\)"):
        common_k(a, b)
    assert common_k(a, b, force=True) == 5
    assert common_k(truncate_top_k(a, 2), b) == 2
    assert common_k(empty_traces()) == 0


def test_bad_arguments(make_traces: Make) -> None:
    with pytest.raises(ConfigurationError, match="k is 0"):
        truncate_top_k(empty_traces(), 0)
    with pytest.raises(ConfigurationError, match="lam is -1"):
        token_measures(empty_traces(), lam=-1)
    traces = make_traces([[b"a"] * 3])
    p = np.exp(traces.tokens.top_logprob)
    wrong = replace(traces, tokens=replace(traces.tokens, top_logprob=p))
    with pytest.raises(InputError, match=r"step 0 of trace 0 .* look like probabilities"):
        token_measures(wrong)


def test_bounds_hold_the_exact_values_of_real_traces(real_traces: Path) -> None:
    traces = load_traces(real_traces)
    exact = traces.tokens.entropy
    assert exact is not None
    found = token_measures(traces, vocab_size=49152)
    slack = 2e-4  # the log rounds its log-probabilities to six decimals
    assert (found.entropy_lower <= exact + slack).all()
    assert (exact <= found.entropy_upper + slack).all()
