"""Summaries of any shards, merged in any order, equal the summary of the whole, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, FormatError, InputError
from entropilot.traces.exemplars import head_tokens
from entropilot.traces.measures import token_measures
from entropilot.traces.reading import ReadReport, Skipped
from entropilot.traces.steps import split_steps
from entropilot.traces.summary import (
    HISTOGRAM_BINS,
    SummarySettings,
    canonical_summary,
    duplicate_ids,
    empty_summary,
    equal_summaries,
    histogram_edges,
    merge_summaries,
    summarise,
)
from entropilot.traces.summary_file import (
    load_summary,
    save_summary,
    summary_from_bytes,
    summary_to_bytes,
)
from entropilot.traces.table import Traces, concatenate

Make = Callable[..., Traces]
SMALL = SummarySettings(vocab_size=500, n_exemplars=2, exemplar_tokens=6)


def log(make: Make, n: int, seed: int, *, full: bool = False) -> Traces:
    rng = np.random.default_rng(seed)
    texts = [
        [[b"a", b" b", b".\n", b"<think>", b"</think>"][j] for j in rng.integers(0, 5, size=length)]
        for length in rng.integers(0, 12, size=n)
    ]
    names = [f"t{j}" for j in rng.integers(0, 2 * n, size=n)]  # some ids occur twice
    lines = rng.integers(0, 5, size=n).tolist()
    source = [f"s{j}" for j in rng.integers(0, 3, size=n)]
    traces = make(texts, k=int(rng.integers(2, 5)), seed=seed, id=names, line=lines, source=source)
    if full:
        h = rng.random(len(traces.tokens)).astype(np.float32)
        traces = replace(traces, tokens=replace(traces.tokens, entropy=h, jsd=h / 2))
    return split_steps(traces, "line")


def report(n: int, file: str) -> ReadReport:
    skipped = tuple(Skipped(file, line, "broken") for line in range(1, n % 3 + 1))
    return ReadReport({f"format {n % 2}": n}, files=1, traces=n, skipped_lines=len(skipped),
                      skipped=skipped, duplicate_ids=n)  # fmt: skip


@pytest.mark.slow
@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    seed=st.integers(0, 99),
    full=st.booleans(),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_any_sharding_in_any_order(
    make_traces: Make, sizes: list[int], seed: int, full: bool, order: random.Random
) -> None:
    # Only some shards know full entropies, and list widths differ between shards.
    shards = [log(make_traces, n, seed + i, full=full and i % 2 == 0) for i, n in enumerate(sizes)]
    reports = [report(n, f"file {i}") for i, n in enumerate(sizes)]
    total = sum(reports[1:], start=reports[0])
    whole = summarise(concatenate(shards), total, settings=SMALL)

    parts = [summarise(s, r, settings=SMALL) for s, r in zip(shards, reports, strict=True)]
    order.shuffle(parts)
    assert equal_summaries(merge_summaries(parts), whole)
    while len(parts) > 1:  # any bracketing
        i = order.randrange(len(parts) - 1)
        parts[i : i + 2] = [parts[i].merge(parts[i + 1])]
    assert equal_summaries(parts[0], whole)

    onto = empty_summary(SMALL)
    for shard, one in order.sample(list(zip(shards, reports, strict=True)), len(shards)):
        onto = summarise(shard, one, onto=onto)
    assert equal_summaries(onto, whole)
    assert equal_summaries(onto.merge(empty_summary(SMALL)), whole)
    assert equal_summaries(summary_from_bytes(summary_to_bytes(onto)), whole)


def test_many_small_shards(make_traces: Make) -> None:
    shards = [
        log(make_traces, 3, seed) for seed in range(40)
    ]  # more parts than exemplars keep apart
    whole = summarise(concatenate(shards), settings=SMALL)
    onto = empty_summary(SMALL)
    for shard in shards:
        onto = summarise(shard, onto=onto)
    assert equal_summaries(onto, whole)
    assert len(onto.exemplars) <= 3 * SMALL.n_exemplars


def test_what_differs_is_told_apart(make_traces: Make) -> None:
    one = summarise(log(make_traces, 5, 0), settings=SMALL)
    assert equal_summaries(one, one)
    assert not equal_summaries(one, summarise(log(make_traces, 5, 1), settings=SMALL))
    assert not equal_summaries(one, one.merge(one))
    changed = replace(one, exemplars=summarise(log(make_traces, 5, 1), settings=SMALL).exemplars)
    assert not equal_summaries(one, changed)


def test_exemplars_are_the_most_suspicious_and_bounded(make_traces: Make) -> None:
    traces = log(make_traces, 30, 7)
    found = summarise(traces, settings=SMALL)
    for name in ("entropy_mean", "instability_peak"):
        best = found.frame[name].drop_nulls().sort(descending=True)[: SMALL.n_exemplars]
        assert set(best) <= set(found.exemplars.rows[name])
    assert len(found.exemplars) <= 6
    assert found.exemplars.traces.tokens.lengths.max() <= SMALL.exemplar_tokens
    kept = found.exemplars.traces
    assert kept.rows["id"].to_list() == found.exemplars.rows["id"].to_list()
    for i, (source, line, name) in enumerate(kept.rows.select("source", "line", "id").iter_rows()):
        same = traces.rows.with_row_index().filter(
            (pl.col("source") == source) & (pl.col("line") == line) & (pl.col("id") == name)
        )
        assert any(
            traces.token_pieces(j)[:6] == kept.token_pieces(i) for j in same["index"].to_list()
        )
    assert len(summarise(traces, settings=replace(SMALL, n_exemplars=0)).exemplars) == 0


def test_long_traces_and_their_steps_are_cut(make_traces: Make) -> None:
    traces = split_steps(make_traces([[b"a", b"\n", b"b", b"\n", b"c"], [b"x"]]), "line")
    short = head_tokens(traces, 3)
    assert short.tokens.offsets.tolist() == [0, 3, 4]
    assert short.token_pieces(0) == [b"a", b"\n", b"b"]
    assert (short.steps.start.tolist(), short.steps.stop.tolist()) == ([0, 2, 3], [2, 3, 4])
    assert short.steps.offsets.tolist() == [0, 2, 3]


def test_histograms_count_each_measured_token_once(make_traces: Make) -> None:
    traces = log(make_traces, 20, 3)
    found, m = summarise(traces), token_measures(traces)
    for name, (low, high, bins) in HISTOGRAM_BINS.items():
        values = getattr(m, name)
        values = values[~np.isnan(values)]
        inside = np.clip(values, low, np.nextafter(high, low))
        # the bin of a value on an edge may round either way; random values lie on none
        assert (
            found.histograms[name].tolist() == np.histogram(inside, bins, (low, high))[0].tolist()
        )
        assert len(histogram_edges(name)) == bins + 1


def test_short_traces_are_counted_never_zero(make_traces: Make) -> None:
    traces = make_traces([[], [b"a"], [b"a", b"b"]])
    found = summarise(traces)
    assert found.frame["instability_peak"].is_null().to_list() == [True, True, False]
    counts = found.counts
    assert (counts["traces_without_tokens"], counts["traces_too_short"]) == (1, 1)
    assert counts["traces_without_peak"] == 0
    assert (counts["traces"], counts["tokens"], counts["steps"]) == (3, 3, 0)
    one = summarise(make_traces([[b"a", b"b"]], k=1))
    assert one.counts["traces_without_peak"] == 1
    bare = make_traces([[b"a", b"b"]])
    bare = replace(bare, tokens=replace(bare.tokens, n_top=np.zeros(2, np.int16)))
    assert summarise(bare).counts["tokens_without_lists"] == 2


def test_repeated_ids_are_found_across_shards(make_traces: Make) -> None:
    a = summarise(make_traces([[b"a"]] * 3, id=["x", "y", None]))
    b = summarise(make_traces([[b"a"]] * 3, id=["x", None, "x"]))
    both = canonical_summary(a.merge(b))
    assert duplicate_ids(both).rows() == [("x", 3)]
    assert both.report.duplicate_ids == 2


def test_settings_must_agree(make_traces: Make) -> None:
    with pytest.raises(InputError, match="different settings do not merge"):
        empty_summary().merge(empty_summary(SMALL))
    with pytest.raises(InputError, match="different settings"):
        summarise(make_traces([[b"a"]]), onto=empty_summary(), settings=SMALL)
    with pytest.raises(ConfigurationError, match="exemplar_tokens >= 1"):
        SummarySettings(exemplar_tokens=0)


def test_a_file_holds_it_all(make_traces: Make, tmp_path: Path) -> None:
    found = summarise(log(make_traces, 9, 4, full=True), report(3, "f"), settings=SMALL)
    save_summary(found, tmp_path / "folder" / "a.summary")
    again = load_summary(tmp_path / "folder" / "a.summary")
    assert equal_summaries(again, found)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["a.summary"]
    more = summarise(log(make_traces, 9, 5), settings=SMALL)
    assert equal_summaries(again.merge(more), found.merge(more))


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk"])
def test_a_broken_file_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.summary"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.summary is not a summary"):
        load_summary(path)


def test_a_truncated_or_pickled_file_says_so(tmp_path: Path) -> None:
    whole = summary_to_bytes(empty_summary())
    with pytest.raises(FormatError, match="the summary is not a summary"):
        summary_from_bytes(whole[:-30])
    path = tmp_path / "evil.npz"
    evil: Any = np.array([{"a": 1}], dtype=object)
    np.savez(path, head=evil)
    with pytest.raises(FormatError, match="not a summary"):
        load_summary(path)
