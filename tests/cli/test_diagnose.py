"""``entropilot diagnose``: its forms, its labels, its codes, and where it writes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from entropilot.traces.frame import FRAME_SCHEMA

Command = Callable[..., Any]

KEYS = {
    "schema", "title", "made", "version", "command", "sources", "headline", "counts", "signal",
    "threshold", "flagged", "signals", "prefix", "buckets", "timing", "groups", "replays",
    "histograms", "exemplars", "next_steps", "notes", "reading",
}  # fmt: skip
PARTS = {
    "counts": {"traces", "tokens", "labelled", "wrong", "flagged"},
    "flagged": {
        "id", "group", "correct", "score", "p_wrong", "p_wrong_low", "p_wrong_high", "peak_token",
        "peak_step", "peak_position", "timing", "reason",
    },
    "signals": {"name", "label", "auc", "n_right", "n_wrong", "roc", "note"},
    "prefix": {"tokens", "name", "label", "auc", "n_right", "n_wrong", "roc", "note"},
    "buckets": {"low", "high", "n", "n_right", "accuracy"},
    "groups": {
        "problems", "pass_at_k", "majority_accuracy", "answer_entropy_auc", "n_all_right",
        "n_all_wrong",
    },
    "replays": {
        "policy", "signal", "baseline", "random", "curve", "chosen", "threshold", "verdict",
    },
    "reading": {"traces", "formats", "skipped_lines", "skipped", "sentences"},
}  # fmt: skip


def labelled(log: Path) -> tuple[object, ...]:
    return ("diagnose", log, "--labels", "passed_test")


def test_without_options_a_report_is_written(command: Command, log: Path) -> None:
    ended = command("diagnose", log)
    assert ended.code == 0
    assert ended.out == ""
    assert "of 40 traces look suspicious" in ended.said
    assert ended.said.endswith("written: report.html")
    assert Path("report.html").read_text().startswith("<!doctype html>")
    assert sorted(file.name for file in Path().iterdir()) == ["log.jsonl", "report.html"]


@pytest.mark.parametrize(
    ("form", "begins"),
    [("html", "<!doctype html>"), ("json", "{\n"), ("md", "# Trace report")],
)
def test_each_form_to_standard_output_and_to_a_file(
    command: Command, log: Path, form: str, begins: str
) -> None:
    printed = command(*labelled(log), "--format", form, "-o", "-")
    assert printed.code == 0
    assert printed.out.startswith(begins)
    assert "reading" in printed.err
    assert "reading:" not in printed.out
    to_file = command(*labelled(log), "-o", f"a.{form}")  # the ending names the form
    assert to_file.out == ""
    assert Path(f"a.{form}").read_text().startswith(begins)


def test_the_text_form(command: Command, log: Path) -> None:
    ended = command(*labelled(log), "--format", "text")
    assert "traces are wrong" in ended.out.splitlines()[0]
    assert not Path("report.text").exists()
    assert command(*labelled(log), "-o", "said.txt").out == ""
    said = Path("said.txt").read_text()
    assert said.splitlines()[0] == ended.out.splitlines()[0]
    assert "\x1b" not in said


@pytest.mark.slow
def test_the_parquet_form_is_the_frame(command: Command, log: Path, started: Any) -> None:
    command(*labelled(log), "--format", "parquet")
    frame = pl.read_parquet("report.parquet")
    assert frame.height == 40
    assert set(FRAME_SCHEMA) <= set(frame.columns)
    process = started(*labelled(log), "--format", "parquet", "-o", "/dev/stdout", text=False)
    content, _ = process.communicate(timeout=60)
    assert content[:4] == content[-4:] == b"PAR1"


def test_the_keys_of_the_json_form_stay(command: Command, log: Path) -> None:
    document = json.loads(command(*labelled(log), "--format", "json", "-o", "-").out)
    assert set(document) == KEYS
    assert document["schema"] == "entropilot/assessment/1"
    for name, keys in PARTS.items():
        value = document[name]
        for part in value if isinstance(value, list) else [value]:
            assert set(part) == keys, name
    assert document["counts"]["labelled"] == 40
    assert document["sources"] == [str(log)]


def test_labels_from_a_file_and_from_a_field_say_the_same(
    command: Command, log: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    table = "id,correct\n" + "".join(f"{row['id']},{int(row['passed_test'])}\n" for row in rows)
    (tmp_path / "graded.csv").write_text(table)
    field = json.loads(command(*labelled(log), "--format", "json", "-o", "-").out)
    file = json.loads(
        command("diagnose", log, "--labels", "graded.csv", "--format", "json", "-o", "-").out
    )
    for name in ("counts", "flagged", "signals", "headline"):
        assert field[name] == file[name]


def test_labels_of_a_file_reach_the_traces_shown_in_full(
    command: Command, log: Path, tmp_path: Path
) -> None:
    (tmp_path / "graded.csv").write_text("id,correct\n" + "".join(f"t{i},1\n" for i in range(40)))
    shown = command("diagnose", log, "--labels", "graded.csv", "--format", "text", "--show", 1).out
    assert " · right · 12 tokens" in shown


def test_a_field_of_graded_rewards(command: Command, write_log: Any, answers: Any) -> None:
    rows = [{**row, "quality": i / 40} for i, row in enumerate(answers(40))]
    log = write_log("graded.jsonl", rows)
    ended = command(
        *("diagnose", log, "--labels", "quality", "--reward-threshold", 0.75),
        *("--format", "json", "-o", "-"),
    )
    assert json.loads(ended.out)["counts"]["wrong"] == 30


def test_partial_labels(command: Command, log: Path, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text(
        "id,correct\n" + "".join(f"t{i},{i % 2}\n" for i in range(30))
    )
    refused = command("diagnose", log, "--labels", "some.csv")
    assert refused.code == 2
    assert "10 traces have no label" in refused.said
    assert "pass --partial-labels" in refused.said
    taken = command(
        "diagnose", log, "--labels", "some.csv", "--partial-labels", "--format", "json", "-o", "-"
    )
    assert json.loads(taken.out)["counts"]["labelled"] == 30


@pytest.mark.parametrize(("limit", "code"), [("0.1", 1), ("0.9", 0)])
def test_fail_above_is_for_wrong_traces(command: Command, log: Path, limit: str, code: int) -> None:
    ended = command(*labelled(log), "--fail-above", limit)
    assert ended.code == code
    assert Path("report.html").exists()


def test_fail_above_is_for_flagged_traces_without_labels(command: Command, log: Path) -> None:
    rate = ("--rate", "0.2", "--fail-above")
    assert command("diagnose", log, *rate, "0.1").code == 1
    assert command("diagnose", log, *rate, "0.3").code == 0


def test_standard_input(command: Command, log: Path) -> None:
    ended = command("diagnose", "-", "--format", "md", "-o", "-", stdin=log.read_text())
    assert ended.code == 0
    assert ended.out.startswith("# Trace report\\: standard input")


def test_standard_input_is_never_taken_from_an_earlier_run(command: Command, answers: Any) -> None:
    counts = []
    for n in (8, 12):
        text = "\n".join(json.dumps(row) for row in answers(n))
        ended = command(
            "diagnose", "-", "--resume", "kept", "--format", "json", "-o", "-", stdin=text
        )
        counts.append(json.loads(ended.out)["counts"]["traces"])
    assert counts == [8, 12]


def test_several_files_and_a_folder(command: Command, answers: Any, tmp_path: Path) -> None:
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    for name, seed in (("a.jsonl", 0), ("deep/b.jsonl", 1)):
        rows = [{**row, "id": f"{seed}-{row['id']}"} for row in answers(6, seed)]
        (tmp_path / "logs" / name).write_text("\n".join(map(json.dumps, rows)))
    folder = json.loads(command("diagnose", "logs", "--format", "json", "-o", "-").out)
    files = json.loads(
        command("diagnose", "logs/a.jsonl", "logs/deep/b.jsonl", "--format", "json", "-o", "-").out
    )
    assert folder["counts"] == files["counts"]
    assert folder["counts"]["traces"] == 12


def test_resume_keeps_parts_and_gives_the_same(command: Command, log: Path) -> None:
    frames = []
    for _ in range(2):
        command(*labelled(log), "--resume", "kept", "-o", "a.parquet")
        frames.append(pl.read_parquet("a.parquet"))
    kept = list(Path("kept").iterdir())
    assert len(kept) == 1
    assert frames[0].equals(frames[1])
    age = kept[0].stat().st_mtime_ns
    command(*labelled(log), "--resume", "kept", "-o", "a.parquet", "--top-k", 3)
    assert len(list(Path("kept").iterdir())) == 2  # other settings, another part
    assert kept[0].stat().st_mtime_ns == age


def test_logs_of_different_k(command: Command, write_log: Any, answers: Any) -> None:
    short = [{**row, "id": f"s{row['id']}"} for row in answers(8, k=3)]
    log = write_log("mixed.jsonl", [*answers(12, k=5), *short])
    refused = command("diagnose", log)
    assert refused.code == 2
    assert "k = 5: 12 traces, k = 3: 8 traces" in refused.said
    assert "--top-k 3" in refused.said
    assert "--force" in refused.said
    assert not Path("report.html").exists()
    assert command("diagnose", log, "--force").code == 0
    assert command("diagnose", log, "--top-k", 3, "-o", "cut.parquet").code == 0
    assert pl.read_parquet("cut.parquet")["k"].unique().to_list() == [3]


def test_show_prints_the_most_suspicious_token_by_token(command: Command, log: Path) -> None:
    said = command("diagnose", log, "--format", "text", "--show", 3).out
    assert said.count(" · unlabelled · 12 tokens") == 3
    assert said.count("nats from") == 1  # the legend, once
    assert said.count("peak ") >= 3
    assert "Ben has three boxes" in said
    first = command("diagnose", log, "--format", "json", "-o", "-").out
    assert f"\n{json.loads(first)['flagged'][0]['id']} · unlabelled" in said


def test_show_escapes_what_a_model_wrote(command: Command, write_log: Any, answers: Any) -> None:
    rows = answers(8)
    for row in rows:
        row["id"] = f"\x1b[2J{row['id']}\u202e"
        for entry in row["choices"][0]["logprobs"]["content"][:2]:
            entry["token"] = "\x1b]0;owned\x07\u202e"
            entry["bytes"] = list(entry["token"].encode())
            entry["top_logprobs"][0] = {k: entry[k] for k in ("token", "bytes", "logprob")}
    ended = command("diagnose", write_log("wild.jsonl", rows), "--format", "text", "--show", 2)
    assert ended.code == 0
    assert not set("\x1b\x07\u202e") & set(ended.out + ended.err)
    assert "␛]0;owned␇⟨RLO⟩" in ended.out


@pytest.mark.slow
def test_colour_only_where_it_is_wanted(started: Any, log: Path) -> None:
    words = ("diagnose", log, "--format", "text", "--show", 1)
    for env, coloured in (
        ({"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm-256color"}, True),
        ({"NO_COLOR": "1"}, False),
        ({}, False),
    ):
        output, _ = started(*words, env=env).communicate(timeout=60)
        assert ("\x1b[" in output) == coloured


@pytest.mark.slow
def test_a_reader_that_has_seen_enough(started: Any, log: Path) -> None:
    for form, code in (("json", 0), ("text", 0), ("html", 1)):
        limit = ("--fail-above", "0.1" if code else "0.9")
        process = started(*labelled(log), "--format", form, "-o", "-", *limit)
        assert process.stdout is not None
        process.stdout.close()
        _, said = process.communicate(timeout=60)
        assert process.returncode == code
        assert "Traceback" not in said
        assert "BrokenPipe" not in said


@pytest.mark.slow
def test_text_that_a_narrow_encoding_lacks(started: Any, log: Path) -> None:
    for form in ("json", "md", "text"):
        process = started(
            *labelled(log), "--format", form, "-o", "-", env={"PYTHONIOENCODING": "ascii"}
        )
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(started: Any, log: Path) -> None:
    with open("/dev/full", "w") as full:
        process = started(*labelled(log), "--format", "json", "-o", "-", stdout=full)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.strip().endswith("error: no space left on device")


def test_devices_and_links_stay_what_they_are(command: Command, log: Path, tmp_path: Path) -> None:
    assert command("diagnose", log, "-o", os.devnull).code == 0
    assert Path(os.devnull).is_char_device()
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "latest.html").symlink_to("real.html")
    command("diagnose", log, "-o", "latest.html")
    assert (tmp_path / "latest.html").is_symlink()
    assert (tmp_path / "real.html").read_text().startswith("<!doctype")


def test_the_same_seed_gives_the_same_report(command: Command, log: Path) -> None:
    texts = [
        command(*labelled(log), "--seed", seed, "--format", "json", "-o", "-").out
        for seed in (3, 3, 4)
    ]
    documents = [json.loads(text) for text in texts]
    for document in documents:
        for name in ("made", "command"):
            document.pop(name)
    assert documents[0] == documents[1]
    assert documents[0]["signals"] != documents[2]["signals"]


@pytest.mark.slow
def test_processes_leave_the_result_as_it_is(started: Any, answers: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for part in range(3):
        rows = [{**row, "id": f"{part}-{row['id']}"} for row in answers(8, part)]
        (tmp_path / "logs" / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    frames = []
    for workers in (1, 2):
        process: subprocess.Popen[str] = started(
            "diagnose", "logs", "--workers", workers, "-o", "a.parquet"
        )
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        frames.append(pl.read_parquet(tmp_path / "a.parquet"))
    assert frames[0].equals(frames[1])
