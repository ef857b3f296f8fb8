"""What an assessment says with labels, with some, with none, and without log-probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from entropilot.diagnosis.assess import assess
from entropilot.diagnosis.assessment import Assessment
from entropilot.diagnosis.flags import FLAG_SCHEMA
from entropilot.errors import InputError
from entropilot.traces.reading.sources import load_traces
from entropilot.traces.summary import summarise
from entropilot.traces.table import Tokens, Traces, Vocabulary, trace_rows


def frame_of(n: int = 240, seed: int = 0) -> pl.DataFrame:
    """Problems of four samples; wrong ones have a mean entropy higher by 1.5 deviations."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < 0.5
    position = rng.random(n) * 0.99
    length = rng.integers(12, 60, n)
    return pl.DataFrame(
        {
            "id": [f"t{i}" for i in range(n)],
            "source": ["log"] * n,
            "line": np.arange(n),
            "group": [f"q{i // 4}" for i in range(n)],
            "correct": ~wrong,
            "reward": pl.Series([None] * n, dtype=pl.Float64),
            "answer": ["8" if not w else str(9 + i % 3) for i, w in enumerate(wrong)],
            "model": ["m"] * n,
            "n_tokens": length,
            "k": np.full(n, 20),
            "entropy_mean": rng.normal(size=n) + 1.5 * wrong,
            "instability_peak": rng.normal(size=n) + 3,
            "instability_peak_10": rng.normal(size=n) + 3,
            "peak_token": np.maximum(1, (position * length).astype(int)),
            "peak_position": position,
            "peak_step": rng.integers(0, 3, n),
            "timing": np.where(
                position < 0.25, "early", np.where(position < 0.5, "middle", "late")
            ),
        }
    )


def small_log() -> Traces:
    """Three traces of four tokens; the entropy of the listed pair grows from trace to trace."""
    offsets = np.arange(0, 13, 4)
    odds = np.repeat([0.05, 0.2, 0.5], 4)
    top = np.log(np.stack([1 - odds, odds], axis=1)).astype(np.float32)
    piece = np.tile(np.array([0, 1], dtype=np.int32), (12, 1))
    tokens = Tokens(offsets, piece[:, 0], top[:, 0], piece, top, np.full(12, 2, dtype=np.int16))
    rows = trace_rows(
        {"id": ["a", "b", "c"], "source": ["log"] * 3, "line": [1, 2, 3], "group": ["q"] * 3}, 3
    )
    return Traces(rows, tokens, Vocabulary.from_pieces([b"x", b"y"]))


def unlabelled(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(correct=pl.lit(None, dtype=pl.Boolean))


def everything_said(found: Assessment) -> str:
    texts = [*found.headline, *found.next_steps, *found.notes, *(r.verdict for r in found.replays)]
    return " ".join(texts)


def test_with_labels() -> None:
    frame = frame_of()
    found = assess(frame, rate=0.1)
    n_wrong = int((~frame["correct"]).sum())
    assert found.headline[0].startswith(f"{n_wrong} of 240 traces are wrong: ")
    assert (found.n_traces, found.n_labelled, found.n_wrong) == (240, 240, n_wrong)
    assert found.n_tokens == frame["n_tokens"].sum()
    assert found.signal == "entropy_mean"
    assert found.flagged.height == 24
    assert found.flagged.schema == pl.Schema(FLAG_SCHEMA)
    assert found.flagged["score"].is_sorted(descending=True)
    assert found.flagged["score"][-1] >= found.threshold
    assert found.flagged["p_wrong"].min() > 0.6
    assert (found.flagged["p_wrong_low"] <= found.flagged["p_wrong"]).all()
    assert (found.flagged["p_wrong"] <= found.flagged["p_wrong_high"]).all()
    assert len(found.buckets) == 5
    assert [w for w, _ in found.prefix] == [10]
    assert {r.policy for r in found.replays} == {"drop", "route", "early stop", "vote"}
    assert len(found.exemplars) == 0
    assert any("do not prove" in note for note in found.notes)
    assert any("signals were compared" in note for note in found.notes)


def test_headline_says_how_many_which_where_and_how_sure() -> None:
    found = assess(frame_of())
    first = found.flagged.row(0, named=True)
    said = " ".join(found.headline)
    assert f"The most suspicious is {first['id']}" in said
    assert f"token {first['peak_token']}, in step {first['peak_step']}" in said
    assert "24 traces are flagged" in said
    assert "How sure: mean entropy ranks a wrong trace above a right one" in said
    assert "early" in said
    assert "late" in said


def test_without_labels_there_is_no_probability_of_error() -> None:
    found = assess(unlabelled(frame_of()))
    assert found.n_labelled == 0
    assert found.flagged["p_wrong"].null_count() == found.flagged.height
    assert found.signals == ()
    assert found.replays == ()
    assert found.timing is None
    said = everything_said(found)
    assert "not a probability of error" in said
    assert "are wrong" not in said
    assert "Label 50 traces" in said


def test_without_labels_departing_from_the_majority_is_suspicious() -> None:
    frame = unlabelled(frame_of(8)).with_columns(
        answer=pl.Series(["8", "8", "8", "9", "1", "2", "3", "4"]),
        entropy_mean=pl.Series([0.0, 0.1, 0.2, -1.0, 0.3, 0.4, 0.5, 2.0]),
    )
    found = assess(frame, rate=0.1)
    assert found.flagged["id"].to_list() == ["t7", "t3"]  # top share first, then the departed
    assert "answers 9 where most of its group answer 8" in found.flagged["reason"][1]
    assert "majority" in found.headline[0]
    labelled = frame.with_columns(correct=pl.Series([True] * 7 + [False]))
    assert assess(labelled, rate=0.1).flagged["id"].to_list() == ["t7"]


def test_partly_labelled_predicts_the_rest() -> None:
    frame = frame_of(480)
    hidden = frame.with_columns(
        correct=pl.when(pl.int_range(pl.len()) < 240).then(pl.col("correct"))
    )
    found = assess(hidden)
    n_wrong = int((~frame["correct"][240:]).sum())
    sentence = next(s for s in found.headline if "without a label" in s)
    expected = float(sentence.split("about ")[1].split()[0])
    assert abs(expected - n_wrong) < 25  # two standard errors of the share of wrong ones
    assert found.flagged["p_wrong"].null_count() == 0


def test_two_reward_values_are_labels() -> None:
    frame = frame_of()
    rewards = unlabelled(frame).with_columns(reward=frame["correct"].cast(pl.Float64))
    found = assess(rewards)
    assert found.n_labelled == 240
    assert any("reward values counts as right" in note for note in found.notes)
    graded = unlabelled(frame).with_columns(reward=pl.int_range(pl.len()).cast(pl.Float64))
    found = assess(graded)
    assert found.n_labelled == 0
    assert any("Rewards were not used as labels" in note for note in found.notes)


def test_without_logprobs_answers_speak() -> None:
    frame = frame_of().select("id", "source", "line", "group", "correct", "answer", "n_tokens")
    found = assess(frame)
    assert found.signal == ""
    assert found.threshold is None
    assert found.groups is not None
    said = everything_said(found)
    assert "no log-probabilities" in said
    assert "pass@4" in said
    assert "top_logprobs" in said
    assert [s.name for s in found.signals] == ["n_tokens"]


def test_null_logprob_columns_are_no_logprobs() -> None:
    columns = ["entropy_mean", "instability_peak", "instability_peak_10", "k"]
    frame = frame_of().with_columns(pl.lit(None, dtype=pl.Float64).alias(c) for c in columns)
    assert "no log-probabilities" in everything_said(assess(frame))


def test_equal_labels_say_why_there_is_no_auc() -> None:
    found = assess(frame_of().with_columns(correct=pl.lit(False)))
    assert all(s.auc is None for s in found.signals)
    assert any("All 240 labels say wrong" in note for note in found.notes)
    assert found.replays == ()
    assert found.flagged["p_wrong"].null_count() == found.flagged.height


def test_small_numbers_are_warned_of() -> None:
    assert any("Small numbers" in note for note in assess(frame_of(40)).notes)
    assert not any("Small numbers" in note for note in assess(frame_of(240)).notes)


def test_different_k_need_force() -> None:
    frame = frame_of().with_columns(k=pl.when(pl.int_range(pl.len()) < 9).then(5).otherwise(20))
    with pytest.raises(InputError, match="different numbers of alternatives"):
        assess(frame)
    assert any("forced" in note for note in assess(frame, force=True).notes)


def test_dead_groups_are_told_apart_with_their_tokens() -> None:
    frame = frame_of(16).with_columns(
        correct=pl.Series([True] * 4 + [False] * 8 + [True, False, True, False]),
        n_tokens=pl.Series([10] * 16),
    )
    said = everything_said(assess(frame))
    assert "2 of 4 problems are all wrong (too hard; 80 tokens)" in said
    assert "1 all right (too easy; 40 tokens)" in said


def test_short_and_mixed_traces_are_noted() -> None:
    frame = frame_of().with_columns(
        n_tokens=pl.when(pl.int_range(pl.len()) < 2).then(1).otherwise("n_tokens"),
        entropy_mean=pl.when(pl.int_range(pl.len()) < 3).then(None).otherwise("entropy_mean"),
        model=pl.when(pl.int_range(pl.len()) < 4).then(pl.lit("other")).otherwise("model"),
    )
    said = everything_said(assess(frame))
    assert "2 traces have fewer than 2 tokens" in said
    assert "3 of 240 traces have no entropy_mean" in said
    assert "mix models: m, other" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": 5}, "rate is 5"),
        ({"confidence": 95}, "confidence is 95"),
        ({"signal": "entropy"}, "unknown signal 'entropy'"),
        ({"signal": "jsd_mean"}, "unknown signal 'jsd_mean'"),
    ],
)
def test_bad_options(options: dict[str, float | str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        assess(frame_of(40), **options)  # type: ignore[arg-type]


def test_nothing_and_one_trace() -> None:
    empty = assess(frame_of().clear())
    assert empty.headline == ("There are no traces.",)
    assert empty.flagged.height == 0
    one = assess(frame_of(1))
    assert one.flagged.height == 1
    assert one.n_labelled == 1


def test_equal_seeds_give_equal_assessments() -> None:
    first, second = assess(frame_of(), seed=3), assess(frame_of(), seed=3)
    assert first.flagged.equals(second.flagged)
    assert (first.headline, first.signals, first.replays) == (
        second.headline,
        second.signals,
        second.replays,
    )


def test_order_of_traces_changes_no_number() -> None:
    frame = frame_of()
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
    assert assess(frame).threshold == assess(shuffled).threshold
    assert set(assess(frame).flagged["id"]) == set(assess(shuffled).flagged["id"])


def test_a_signal_no_better_than_chance_is_called_so() -> None:
    frame = frame_of().with_columns(entropy_mean=pl.col("instability_peak"))
    found = assess(frame, signal="entropy_mean")
    assert "the interval includes chance" in " ".join(found.headline)
    assert all("no saving" in r.verdict for r in found.replays if r.policy == "drop")


def test_a_summary_brings_exemplars_and_histograms() -> None:
    log = small_log()
    found = assess(summarise(log), rate=0.3)
    assert found.exemplars.rows["id"].to_list() == ["c", "b", "a"]  # most suspicious first
    assert found.flagged["id"].to_list() == ["c"]
    edges, counts = found.histograms["entropy"]
    assert len(edges) == len(counts) + 1
    assert sum(counts) == 12


def test_the_real_traces_give_the_known_numbers(real_traces: Path) -> None:
    found = assess(summarise(load_traces(real_traces)))
    auc = {s.name: s.auc.value for s in found.signals if s.auc is not None}
    # Six digits in the log: the third place of an AUC is safe.
    assert auc["instability_peak"] == pytest.approx(0.601, abs=0.002)
    assert auc["entropy_mean"] == pytest.approx(0.704, abs=0.002)
    assert auc["instability_peak_full"] == pytest.approx(0.654, abs=0.002)
    assert found.signal == "entropy_mean"
    assert (found.n_traces, found.n_tokens, found.n_wrong) == (256, 8247, 202)
    assert found.groups is not None
    assert found.groups.n_all_wrong == 33


def test_a_signal_that_ties_flags_nothing_and_says_so() -> None:
    frame = pl.DataFrame(
        {
            "id": ["a", "b", "c"],
            "group": ["q", "r", "s"],
            "correct": [None, None, None],
            "entropy_mean": [0.5, 0.5, 0.5],
            "n_tokens": [4, 4, 4],
            "k": [20, 20, 20],
        }
    )
    found = assess(frame)
    assert found.flagged.height == 0
    assert found.threshold is None
    assert any("same mean entropy" in note for note in found.notes)
    assert found.headline[0].startswith("0 of 3 traces")


def cut_log(log_p: np.ndarray[tuple[int, int], np.dtype[np.float64]], kind: str) -> Traces:
    """One trace a row of tokens: [N, K] lists as a server names them."""
    n, k = log_p.shape
    piece = np.tile(np.arange(k, dtype=np.int32), (n, 1))
    top = log_p.astype(np.float32)
    tokens = Tokens(
        np.array([0, n // 2, n]), piece[:, 0], top[:, 0], piece, top, np.full(n, k, np.int16)
    )
    columns = {"id": ["a", "b"], "source": ["log"] * 2, "logprobs_kind": [kind] * 2}
    return Traces(
        trace_rows(columns, 2), tokens, Vocabulary.from_pieces([bytes([97 + i]) for i in range(k)])
    )


def test_lists_after_truncation_are_recognised_by_missing_mass_0() -> None:
    rng = np.random.default_rng(0)
    p = -np.sort(-rng.dirichlet(np.ones(50) / 3, 40))[:, :6]
    raw = assess(summarise(cut_log(np.log(p), "raw")))
    assert not any("leave no probability over" in note for note in raw.notes)
    cut = np.log(p / p.sum(-1, keepdims=True))
    found = assess(summarise(cut_log(cut, "raw")))
    (note,) = [note for note in found.notes if "leave no probability over" in note]
    assert note.startswith("In 2 of 2 traces")
    assert note.endswith("The log calls them raw.")
    honest = assess(summarise(cut_log(cut, "sampling")))
    assert not any("calls them raw" in note for note in honest.notes)
