"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from entropilot.files import replacing, write_atomically


def _fail_half_way(path: Path, error: type[BaseException]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise error


def test_an_older_file_survives_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with pytest.raises(RuntimeError):
        _fail_half_way(path, RuntimeError)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _fail_half_way(tmp_path / "a.txt", KeyboardInterrupt)
    assert not list(tmp_path.iterdir())


def test_folders_are_made_and_the_file_is_an_ordinary_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    write_atomically(path, b"\x00")
    (tmp_path / "plain").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_half_a_surrogate_pair_is_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "a\ud83d")
    assert (tmp_path / "a").read_bytes() == b"a?"
