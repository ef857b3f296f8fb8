"""Full distributions saved as safetensors: top 20 kept, entropy and divergence exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax
from scipy.stats import entropy as entropy_of

from entropilot.errors import FormatError, InputError
from entropilot.traces import ReadOptions, ReadReport, load_traces, read_traces

B, T, V = 3, 5, 64
RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(B, T, V)).astype(np.float32) * 3
SCORES[:, :, 7] = -np.inf  # a token that sampling had removed
SEQUENCES = RNG.integers(8, V, size=(B, T + 2))


def write(path: Path, **tensors: Any) -> Path:
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
    return path


def test_batches_of_sequences(tmp_path: Path) -> None:
    traces = load_traces(write(tmp_path / "r.safetensors", scores=SCORES, sequences=SEQUENCES))
    logprob = log_softmax(SCORES.astype(float), axis=-1)
    assert traces.rows["id"].to_list() == ["r/0", "r/1", "r/2"]
    assert traces.rows["logprobs_kind"][0] == "sampling"
    assert traces.tokens.lengths.tolist() == [T] * B
    assert traces.tokens.n_top.tolist() == [20] * (B * T)
    ids = SEQUENCES[:, 2:].ravel()
    flat = logprob.reshape(-1, V)
    assert traces.vocabulary.token_id[traces.tokens.piece].tolist() == ids.tolist()
    own = flat[np.arange(B * T), ids]
    np.testing.assert_allclose(traces.tokens.logprob, own, rtol=1e-6)
    top = -np.sort(-flat, axis=1)[:, :20]
    np.testing.assert_allclose(traces.tokens.top_logprob, top, rtol=1e-6)
    np.testing.assert_allclose(traces.tokens.entropy, entropy_of(np.exp(flat), axis=1), rtol=1e-6)
    p = np.exp(logprob)
    jsd = np.full((B, T), np.nan)
    for b in range(B):
        for t in range(1, T):
            jsd[b, t] = jensenshannon(p[b, t - 1], p[b, t]) ** 2
    np.testing.assert_allclose(traces.tokens.jsd, jsd.ravel(), rtol=1e-5)


def test_every_layout_gives_the_same(tmp_path: Path, assert_same: Any) -> None:
    expected = load_traces(write(tmp_path / "a.safetensors", scores=SCORES, sequences=SEQUENCES))
    steps = {f"scores.{t}": SCORES[:, t] for t in range(T)}
    for tensors in ({"scores": SCORES.transpose(1, 0, 2)}, steps, {"logits": SCORES}):
        path = write(tmp_path / "b.safetensors", sequences=SEQUENCES, **tensors)
        assert_same(load_traces(path), expected, columns=False)
    assert load_traces(path).rows["logprobs_kind"][0] == "raw"
    one = write(tmp_path / "c.safetensors", scores=SCORES[0], sequences=SEQUENCES[0])
    assert_same(load_traces(one), expected.take([0]), columns=False)


def test_texts_come_from_a_tokenizer_beside_it(tmp_path: Path) -> None:
    vocabulary = {f"Ġt{i}": i for i in range(V - 1)} | {"é"[:1].encode().hex(): V - 1}
    tokenizer = {
        "model": {"vocab": vocabulary},
        "decoder": {"type": "ByteLevel"},
        "added_tokens": [{"content": "<end>", "id": 9}],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    ids = np.array([9, 10, 11, 12, 13])
    traces = load_traces(write(tmp_path / "r.safetensors", scores=SCORES[0], sequences=ids))
    assert traces.token_pieces(0) == [b"<end>", b" t10", b" t11", b" t12", b" t13"]
    assert traces.rows["text"][0] == "<end> t10 t11 t12 t13"


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    gap = {"scores.0": SCORES[0, 0], "scores.2": SCORES[0, 0]}
    nan = SCORES[0].copy()
    nan[2, 3] = np.nan
    ids = SEQUENCES[0]
    for tensors, message in (
        ({"scores": SCORES}, "no integer tensor 'sequences'"),
        ({"sequences": ids}, "no tensor scores, logits or scores.0; tensors found: sequences"),
        ({"scores": SCORES[0], "sequences": ids[:3]}, "do not fit 5 steps"),
        ({**gap, "sequences": ids}, "have gaps"),
        ({"scores": SCORES[0, :, :5], "sequences": ids}, r"outside 0\.\.4"),
        ({"scores": nan, "sequences": ids}, "sequence 0, step 2: the scores hold NaN"),
    ):
        with pytest.raises(InputError, match=message):
            load_traces(write(path, **tensors))


@pytest.mark.parametrize("spoil", ["cut", "header", "offsets", "type"])
def test_damaged_files_are_refused(tmp_path: Path, spoil: str) -> None:
    path = write(tmp_path / "a.safetensors", scores=SCORES[0], sequences=SEQUENCES[0])
    raw = path.read_bytes()
    if spoil == "cut":
        raw = raw[:20]
    elif spoil == "header":
        raw = raw[:8] + b"}" + raw[9:]
    elif spoil == "offsets":
        raw = raw[:-8]
    else:
        raw = raw.replace(b'"F32"', b'"X32"')
    path.write_bytes(raw)
    with pytest.raises(FormatError):
        load_traces(path)
    with pytest.raises(FormatError, match="nothing could be read"):
        list(read_traces(path))


def test_reading_goes_on_after_a_bad_file(tmp_path: Path) -> None:
    write(tmp_path / "b.safetensors", scores=SCORES[0], sequences=SEQUENCES[0])
    (tmp_path / "a.safetensors").write_bytes(b"no")
    report = sum((b.report for b in read_traces(tmp_path, options=ReadOptions())), ReadReport())
    assert (report.traces, report.skipped_lines) == (1, 1)


@pytest.mark.parametrize("head", [b"\x80\x04K\x01.", b"PK\x03\x04....", b"\x93NUMPY\x01\x00"])
def test_pickles_and_arrays_are_never_loaded(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "scores.pt"
    path.write_bytes(head)
    with pytest.raises(FormatError, match="Convert it first"):
        load_traces(path)
