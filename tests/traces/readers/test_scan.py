"""Reading from files, streams and objects; what happens to input that is wrong."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zstandard

from entropilot.errors import ConfigurationError, FormatError, InputError, LimitError
from entropilot.traces import (
    ReadOptions,
    ReadReport,
    documents,
    load_traces,
    plan_shards,
    read_traces,
)


def report_of(source: Any, **options: Any) -> ReadReport:
    batches = read_traces(source, options=ReadOptions(**options))
    return sum((batch.report for batch in batches), ReadReport())


@pytest.fixture(autouse=True, params=[0, 1 << 40], ids=["scanner", "ordinary"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs both ways."""
    monkeypatch.setattr(documents, "FAST_AFTER", request.param)


@pytest.fixture
def log(tmp_path: Path, chat: Any, token: Any) -> Path:
    path = tmp_path / "log.jsonl"
    lines = [
        chat([token(f"a{i}", -0.5, [(f"a{i}", -0.5), ("b", -1.5)])] * (i + 1), x_correct=i % 2 == 0)
        | {"id": f"id{i}"}
        for i in range(20)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_log_gives_columns(log: Path) -> None:
    traces = load_traces(log)
    assert len(traces) == 20
    assert traces.tokens.lengths.tolist() == list(range(1, 21))
    assert traces.rows["id"].to_list() == [f"id{i}" for i in range(20)]
    assert traces.rows["line"].to_list() == list(range(1, 21))
    assert set(traces.rows["source"]) == {str(log)}
    assert traces.rows["correct"].to_list() == [True, False] * 10
    assert traces.rows["logprobs_kind"][0] == "unknown"
    assert traces.token_pieces(2) == [b"a2"] * 3
    assert traces.tokens.top_logprob[0].tolist() == [-0.5, -1.5]
    assert traces.tokens.n_top.tolist() == [2] * 210
    assert traces.tokens.entropy is None


@pytest.mark.parametrize("batch_bytes", [64, 700, 5000, 1 << 20])
def test_batches_together_are_the_whole(log: Path, assert_same: Any, batch_bytes: int) -> None:
    options = ReadOptions(batch_bytes=batch_bytes)
    assert_same(load_traces(log, options=options), load_traces(log))
    report = report_of(log, batch_bytes=batch_bytes)
    assert (report.lines, report.traces, report.tokens, report.files) == (20, 20, 210, 1)
    assert report.bytes_read == log.stat().st_size
    assert report.formats == {"OpenAI chat completions (JSONL)": 20}


def test_small_batches_keep_memory_small(log: Path) -> None:
    sizes = [len(batch.traces) for batch in read_traces(log, options=ReadOptions(batch_bytes=2000))]
    assert len(sizes) > 5
    assert sum(sizes) == 20


@pytest.mark.parametrize("n_bytes", [1, 900, 3000, 10**6])
def test_shards_together_are_the_whole(log: Path, assert_same: Any, n_bytes: int) -> None:
    shards = plan_shards(log, n_bytes)
    assert shards == plan_shards([log], n_bytes)
    assert shards[-1].stop == log.stat().st_size
    assert_same(load_traces(shards), load_traces(log))


def test_compressed_files_and_documents_are_one_shard(log: Path, tmp_path: Path) -> None:
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    document = tmp_path / "log.json"
    document.write_text(json.dumps(json.loads(log.read_text().splitlines()[0]), indent=1))
    assert [(s.start, s.stop) for s in plan_shards([packed, document], 10)] == [(0, None)] * 2
    with pytest.raises(ConfigurationError, match="at least one byte"):
        plan_shards(log, 0)


def test_every_way_in_gives_the_same(
    log: Path, tmp_path: Path, assert_same: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = log.read_bytes()
    items = [json.loads(line) for line in raw.splitlines()]
    expected = load_traces(log)
    ways: list[Any] = [
        raw,
        raw.decode(),
        items,
        tuple(items),
        [SimpleNamespace(**i) for i in items],
    ]
    dumped = [SimpleNamespace(model_dump=lambda item=item: item) for item in items]
    for name, data in (
        ("a.jsonl.gz", gzip.compress(raw)),
        ("two.gz", gzip.compress(raw[:5000]) + gzip.compress(raw[5000:])),
        ("a.zst", zstandard.compress(raw)),
        ("array.json", json.dumps(items, indent=2).encode()),
        ("line.json", json.dumps(items).encode()),
        ("no_end.jsonl", raw.rstrip()),
        ("bom.jsonl", b"\xef\xbb\xbf" + raw),
        ("crlf.jsonl", raw.replace(b"\n", b"\r\n")),
        ("blank.jsonl", raw.replace(b"\n", b"\n \n\n")),
        ("sse.txt", b"".join(b"data: " + line + b"\n\n" for line in raw.splitlines())),
    ):
        (tmp_path / name).write_bytes(data)
        ways.append(tmp_path / name)
    for way in [*ways, dumped]:
        assert_same(load_traces(way), expected, columns=False)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    assert report_of("-").tokens == 210


def test_a_folder_is_read_in_order(tmp_path: Path, chat: Any) -> None:
    for name in ("b.jsonl", "a.json", "notes.txt", ".hidden.jsonl"):
        (tmp_path / name).write_text(json.dumps(chat(None) | {"id": name}) + "\n")
    assert load_traces(tmp_path).rows["id"].to_list() == ["a.json", "b.jsonl"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no trace files; known endings: .jsonl"):
        load_traces(tmp_path / "empty")
    with pytest.raises(InputError, match=r"missing\.jsonl' can't be opened: No such file"):
        load_traces(tmp_path / "missing.jsonl")


def test_one_document_of_one_answer(tmp_path: Path, chat: Any, token: Any) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(chat([token("a", -1)]), indent=2))
    assert report_of(path).formats == {"OpenAI chat completions (JSON)": 1}


def test_bad_lines_are_counted_and_named(log: Path) -> None:
    good = log.read_text().splitlines()
    bad = [
        "{",
        "[1]",
        '"text"',
        "12",
        "nul",
        '{"a": 1, "b": 2}',
        "[" * 100_000,
        '{"error": "rate"}',
    ]
    log.write_text("\n".join([good[0], *bad, good[1]]) + "\n")
    report = report_of(log)
    assert (report.traces, report.skipped_lines) == (2, len(bad))
    reasons = {skipped.line: skipped.reason for skipped in report.skipped}
    assert list(reasons) == list(range(2, 2 + len(bad)))
    assert "cut off" in reasons[2]
    assert "of type int, not an object" in reasons[3]
    assert "keys found: a, b" in reasons[7]
    assert "llama.cpp completions" in reasons[7]
    assert "nested too deeply" in reasons[8]
    assert "an error that a server returned: rate" in reasons[9]
    assert report.sentences()[0].startswith("8 lines could not be read; the first: ")
    with pytest.raises(FormatError, match=r"log\.jsonl, line 2: the JSON value is cut off"):
        load_traces(log)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"b": 2}\n')
    with pytest.raises(FormatError, match=r"nothing could be read.*line 1.*keys found: a\."):
        list(read_traces(path))
    path.write_text("")
    assert len(load_traces(path)) == 0


def test_only_the_first_hundred_skipped_lines_are_named(tmp_path: Path, chat: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n" * 250 + json.dumps(chat(None)))
    report = report_of(path, batch_bytes=100)
    assert (report.skipped_lines, len(report.skipped)) == (250, 100)


def test_a_truncated_last_line(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-30])
    report = report_of(log)
    assert (report.traces, report.skipped_lines) == (19, 1)
    assert report.skipped[0].line == 20
    assert "cut off" in report.skipped[0].reason


def test_invalid_utf8_is_replaced_and_counted(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"content": "text"', b'"content": "t\xffxt"', 1))
    report = report_of(log)
    assert (report.traces, report.invalid_utf8) == (20, 1)
    assert load_traces(log).rows["text"][0] == "t\ufffdxt"


def test_duplicate_ids_and_missing_logprobs_are_counted(chat: Any, token: Any) -> None:
    items = [chat([token("a", -1)]), chat(None), chat([token("a", -1)])]
    text = "\n".join(json.dumps(item) for item in items).encode()
    report = read_report(text)
    assert (report.duplicate_ids, report.without_logprobs) == (2, 1)
    sentences = " ".join(report.sentences())
    assert "logprobs=True, top_logprobs=20" in sentences
    assert "n_probs=20" in sentences


def read_report(text: bytes, **options: Any) -> ReadReport:
    from entropilot.traces.scan import _load

    batches = _load(text, ReadOptions(**options))
    return sum((batch.report for batch in batches), ReadReport())


def test_formats_may_be_mixed_and_are_named(chat: Any) -> None:
    items = [chat(None), {"input": "q", "output": "a", "score": 1.0}]
    report = read_report("\n".join(json.dumps(item) for item in items).encode())
    assert report.formats == {"OpenAI chat completions (JSONL)": 1, "verl rollouts (JSONL)": 1}
    assert report.sentences()[0].startswith("The input mixes formats: 1 of OpenAI chat")


def test_sentinels_are_probability_zero(chat: Any, token: Any) -> None:
    top = [("a", -0.1), ("b", -9999.0), ("c", -100), ("d", float("-inf"))]
    text = json.dumps(chat([token("a", -0.1, top)])).encode()
    traces = load_traces(text)
    assert traces.tokens.top_logprob[0, 1:].tolist() == [-np.inf] * 3
    assert (traces.tokens.top_piece[0] >= 0).all()
    assert read_report(text).impossible_logprobs == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.4, r"looks like probabilities; natural-log probabilities are <= 0"),
        (7.5, r"2 positive values \(largest 7.5\)"),
        (float("nan"), "1 alternatives have no log-probability"),
    ],
)
def test_what_is_no_logprob_is_refused(chat: Any, token: Any, value: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_traces(json.dumps(chat([token("a", value, [("a", value)])])))


def test_rounding_above_zero_is_read_as_zero(chat: Any, token: Any) -> None:
    text = json.dumps(chat([token("a", 5e-4, [("a", 5e-4), ("b", -9.0)])])).encode()
    assert load_traces(text).tokens.logprob.tolist() == [0.0]
    assert read_report(text).rounded_logprobs == 2


def test_equal_keys_merge_by_summing(chat: Any) -> None:
    top = [{"token": "\ufffd", "logprob": np.log(p)} for p in (0.5, 0.2, 0.1)]
    content = [{"token": "\ufffd", "logprob": np.log(0.5), "bytes": None, "top_logprobs": top}]
    traces = load_traces(json.dumps(chat(content)))
    assert traces.tokens.n_top.tolist() == [1]
    assert traces.tokens.top_logprob[0, 0] == pytest.approx(np.log(0.8), abs=1e-6)


def test_different_ids_of_one_text_stay_apart(chat: Any) -> None:
    top = [{"token": "\ufffd", "logprob": -1.0}, {"token": "\ufffd", "logprob": -2.0}]
    content = [{"token": "\ufffd", "logprob": -1.0, "top_logprobs": top}]
    content[0] |= {"x_token_id": 5, "x_top_ids": [5, 9]}
    traces = load_traces(json.dumps(chat(content)))
    assert traces.tokens.n_top.tolist() == [2]
    assert traces.vocabulary.token_id[traces.tokens.top_piece[0]].tolist() == [5, 9]


def test_the_appended_token_is_kept_out_of_the_top_k(chat: Any, token: Any) -> None:
    inside = token("a", -0.1, [("a", -0.1), ("b", -3.0)])
    last = token("z", -9.0, [("a", -0.1), ("b", -3.0), ("z", -9.0)])
    first = token("z", -9.0, [("z", -9.0), ("a", -0.1), ("b", -3.0)])
    for content in ([inside, last], [first, inside], [first]):
        traces = load_traces(json.dumps(chat(content)))
        row = 0 if content[0] is first else 1
        assert traces.tokens.n_top.tolist() == [2] * len(content)
        assert traces.tokens.top_logprob[row].tolist() == pytest.approx([-0.1, -3.0, -9.0])
        assert traces.tokens.top_piece[row, 2] == traces.tokens.piece[row]
    traces = load_traces(json.dumps(chat([last], x_request={"top_logprobs": 2})))
    assert traces.tokens.n_top.tolist() == [2]
    assert load_traces(json.dumps(chat([last]))).tokens.n_top.tolist() == [3]


def test_alternatives_are_sorted(chat: Any, token: Any) -> None:
    top = [("c", -3.0), ("a", -0.5), ("b", -2.0)]
    traces = load_traces(json.dumps(chat([token("a", -0.5, top)])))
    assert traces.vocabulary.pieces(traces.tokens.top_piece[0]) == [b"a", b"b", b"c"]


def test_labels_are_found_or_named(chat: Any) -> None:
    item = chat(None, problem_id=7, ground_truth=8.0, answer="8", reward=0.5, temperature=0.7)
    row = load_traces(item | {"messages": [{"role": "user", "content": "q"}]}).rows.row(
        0, named=True
    )
    assert (row["group"], row["reference"], row["answer"], row["prompt"]) == ("7", "8", "8", "q")
    assert (row["reward"], row["temperature"], row["correct"]) == (0.5, 0.7, None)
    item["check"] = {"passed": 1}
    options = ReadOptions(label_field="check.passed", logprob_space="raw", strict=True)
    row = load_traces(item, options=options).rows.row(0, named=True)
    assert (row["correct"], row["logprobs_kind"]) == (True, "raw")
    item["check"] = {"passed": "perhaps"}
    with pytest.raises(InputError, match=r"label field 'check\.passed' holds 'perhaps'"):
        load_traces(item, options=options)


def test_several_choices_are_several_traces(chat: Any, token: Any) -> None:
    item = chat([token("a", -1)], correct=[True, False])
    item["choices"].append({"index": 1, "message": {"content": "second"}, "logprobs": None})
    rows = load_traces(item).rows
    assert rows["id"].to_list() == ["c1/0", "c1/1"]
    assert rows["group"].to_list() == ["c1", "c1"]
    assert rows["correct"].to_list() == [True, False]


def test_limits(log: Path, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"more than 300.*raise max_line_bytes"):
        report_of(log, max_line_bytes=300)
    with pytest.raises(LimitError, match="max_line_bytes"):
        report_of(log, max_line_bytes=300, batch_bytes=100)
    with pytest.raises(ConfigurationError, match="batch_bytes is 0"):
        ReadOptions(batch_bytes=0)
    with pytest.raises(ConfigurationError, match="logprob_space is 'log2'"):
        ReadOptions(logprob_space="log2")


def test_a_line_longer_than_a_batch_is_read(log: Path, chat: Any, token: Any) -> None:
    long = json.dumps(chat([token("a", -1.0, [("a", -1.0)])] * 3000))
    log.write_text(long + "\n" + log.read_text())
    assert report_of(log, batch_bytes=1000).tokens == 3210


@pytest.mark.slow
def test_one_line_of_200_megabytes(tmp_path: Path, chat: Any, token: Any) -> None:
    if documents.FAST_AFTER:
        pytest.skip("as objects, 200 MB would take gigabytes")
    path = tmp_path / "long.jsonl"
    one = json.dumps(token("a", -1.0, [(f"t{i}", -1.0 - i) for i in range(20)]))
    n = 200_000_000 // (len(one) + 2)
    head, tail = json.dumps(chat(["X"])).split('"X"')
    with path.open("w") as file:
        file.write(head + ", ".join([one] * n) + tail)
    report = report_of(path)
    assert (report.tokens, report.skipped_lines) == (n, 0)


def test_real_traces(real_traces: Path) -> None:
    traces = load_traces(real_traces)
    assert (len(traces), len(traces.tokens)) == (256, 8247)
    assert traces.tokens.top_piece.shape[1] == 20
    assert traces.rows["correct"].sum() == 54
    assert traces.rows["group"].n_unique() == 64
    assert set(traces.rows["temperature"].round(6)) == {0.0, 0.7}
    assert (traces.vocabulary.token_id >= 0).all()
    assert traces.tokens.entropy is not None
    assert traces.tokens.jsd is not None
    assert np.isnan(traces.tokens.jsd[traces.tokens.offsets[:-1]]).all()
    texts = [b"".join(traces.token_pieces(i)).decode() for i in range(len(traces))]
    assert all(t.startswith(" " + text) for t, text in zip(texts, traces.rows["text"], strict=True))


def test_real_shards_and_batches_agree(real_traces: Path, tmp_path: Path, assert_same: Any) -> None:
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(gzip.decompress(real_traces.read_bytes()))
    shards = plan_shards(plain, 1 << 20)
    assert len(shards) > 10
    assert_same(load_traces(shards), load_traces(plain))
