"""Compressed input: limits on what comes out, damaged streams, what is not read at all."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from entropilot.errors import FormatError, LimitError
from entropilot.traces import ReadOptions, ReadReport, read_traces
from entropilot.traces.reading import compressed


def total(path: Path, **options: float) -> ReadReport:
    batches = read_traces(path, options=ReadOptions(**options))  # type: ignore[arg-type]
    return sum((batch.report for batch in batches), ReadReport())


LINE = b'{"input": "q", "output": "a", "score": 1}\n'


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_is_stopped(tmp_path: Path, pack: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl.packed"
    path.write_bytes(pack(LINE * 4000))  # type: ignore[operator]
    assert total(path).traces == 4000
    with pytest.raises(LimitError, match=r"more than 1000 bytes.*--max-decompressed"):
        total(path, max_decompressed_bytes=1000)
    monkeypatch.setattr(compressed, "RATIO_GRACE", 1000)
    with pytest.raises(LimitError, match=r"more than 10 to 1.*raise max_ratio"):
        total(path, max_ratio=10)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_damaged_streams(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "log.jsonl.packed"
    raw = pack(LINE * 200)  # type: ignore[operator]
    path.write_bytes(raw[:6] + b"\xff" * 12 + raw[18:])
    with pytest.raises(FormatError, match="damaged or cut off"):
        total(path)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_stream(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "log.jsonl.packed"
    path.write_bytes(pack(LINE * 200)[:-12])  # type: ignore[operator]
    with pytest.raises(FormatError, match=r"breaks after \d+ bytes"):
        total(path)


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"BZh91AY", "bzip2"), (b"\xfd7zXZ\0", "xz"), ("{}".encode("utf-16"), "UTF-16")],
)
def test_other_containers_are_named(tmp_path: Path, head: bytes, kind: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(head)
    with pytest.raises(FormatError, match=kind):
        total(path)


def test_frames_of_zstd_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.zst"
    frames = [zstandard.compress(LINE * n) for n in (1, 3000, 0, 2)]
    path.write_bytes(b"".join(frames))
    assert total(path).traces == 3003
