from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from entropilot.diagnosis import compare_support, support_samples
from entropilot.errors import InputError
from entropilot.information import expected_support, pass_at_k_difference, support_category

Q, N = 120, 32


def drawn(rates, seed, n=N, **columns):
    """A table of verdicts: n samples of each problem."""
    rng = np.random.default_rng(seed)
    hits = rng.random((len(rates), n)) < np.asarray(rates)[:, None]
    answers = np.where(hits, "right", rng.choice(["w0", "w1", "w2"], hits.shape))
    table = pl.DataFrame(
        {
            "problem": np.repeat([f"q{i}" for i in range(len(rates))], n),
            "sample": np.tile([str(i) for i in range(n)], len(rates)),
            "answer": answers.ravel(),
            "correct": hits.ravel(),
        }
    )
    return table.with_columns(**{name: pl.lit(value) for name, value in columns.items()})


@pytest.fixture(scope="module")
def rates():
    return np.random.default_rng(0).beta(0.4, 1.5, Q)


@pytest.fixture(scope="module")
def base(rates):
    return support_samples(drawn(rates, 1))


def compare(base, table, **options):
    return compare_support(base, support_samples(table), n_resamples=400, **options)


def counts(table):
    return table.group_by("problem", maintain_order=True).agg(pl.col("correct").sum())["correct"]


@pytest.mark.parametrize("rule", ["expected", "observed", "certified"])
def test_same_model_is_no_change(base, rates, rule):
    report = compare(base, drawn(rates, 2), rule=rule)
    assert report.verdict == "no change beyond noise"
    assert sum(report.counts.values()) == pytest.approx(Q)
    assert report.counts["E"] + report.counts["S"] > 0 or rule == "certified"
    assert report.curve[0].difference.low < 0 < report.curve[0].difference.high
    assert report.sign_p > 0.05


@pytest.mark.parametrize("rule", ["expected", "observed", "certified"])
@pytest.mark.parametrize("planted", ["shrinkage", "expansion", "shrinkage and expansion"])
def test_planted_changes_are_found(rates, rule, planted):
    before = rates.copy()
    before[:60] = np.where(np.arange(60) < 30, 0.35, 0.0)  # 30 that can be lost, 30 won
    after = before.copy()
    if "shrinkage" in planted:
        after[:30] = 0
    if "expansion" in planted:
        after[30:60] = 0.35
    report = compare(support_samples(drawn(before, 1)), drawn(after, 2), rule=rule)
    assert report.verdict == f"{planted} beyond noise"
    if rule != "certified":  # which leaves some of them undecided
        assert (report.counts["S"] > 25) == ("shrinkage" in planted)
        assert (report.counts["E"] > 25) == ("expansion" in planted)
    assert report.headline[0].lower().startswith(planted)


def test_sharpening_crosses(base, rates):
    report = compare(base, drawn(np.where(rates < 0.15, 0, rates**0.4), 2))
    assert report.verdict == "shrinkage beyond noise"
    assert report.curve[0].difference.low > 0 > report.curve[-1].difference.high
    assert 1 < report.crossing_k < N
    assert report.answer_entropy.difference.high < 0
    assert "overtakes" in " ".join(report.headline)


def test_numbers_are_those_of_the_ground_floor(base, rates):
    table = drawn(rates * 0.7, 2)
    cb, cn = counts(base.frame), counts(table)
    report = compare(base, table, k=8)
    truth = expected_support(cb, cn, N, 8)
    for name in ("P", "E", "S", "O"):
        assert report.counts[name] == pytest.approx(float(truth[name]))
    for name in ("SRR", "NDR", "SDS", "NSCR"):
        found = report.metrics[name]
        assert found.value == pytest.approx(float(truth[name]))
        assert found.low <= found.value <= found.high
    assert report.null == pytest.approx(float(truth["null_E"]))
    gain = pass_at_k_difference(N, cb, cn, [8], n_resamples=400)
    point = next(p for p in report.curve if p.k == 8)
    assert (point.difference.value, point.difference.low) == pytest.approx(
        (float(gain.value[0]), float(gain.low[0]))
    )
    whole = compare(base, table, k=N, rule="observed")
    category = support_category(cb, N, cn, N)
    assert [whole.counts[x] for x in "PESO"] == np.bincount(category, minlength=4).tolist()
    strict = compare(base, table, k=N, rule="certified")
    category = support_category(cb, N, cn, N, rule="certified")
    assert list(strict.counts.values()) == np.bincount(category, minlength=5).tolist()


def test_observed_looks_at_the_first_k(base, rates):
    table = drawn(rates, 2)
    report = compare(base, table, k=4, rule="observed")
    first = pl.col("correct").head(4).any()
    hit = [
        x.group_by("problem", maintain_order=True).agg(first)["correct"].to_numpy()
        for x in (base.frame, table)
    ]
    assert report.counts["E"] == (~hit[0] & hit[1]).sum()
    shown = report.problems.filter(pl.col("category") == "expanded").height
    assert shown == report.counts["E"]


def test_a_judge_that_errs_asks_for_more_hits():
    rng = np.random.default_rng(0)  # no problem can be solved, yet 2 % of the answers pass
    before, after = (drawn(np.full(100, 0.02), seed) for seed in rng.integers(0, 99, 2))
    options = {"rule": "observed", "k": N}
    plain = compare(support_samples(before), after, **options)
    strict = compare(support_samples(before), after, **options, false_positive_rate=0.02)
    assert plain.counts["O"] < 50
    assert strict.counts["O"] > 90
    with pytest.raises(InputError, match="belongs to rule 'observed'"):
        compare(support_samples(before), after, false_positive_rate=0.02)


def test_problems_are_matched_and_the_missing_ones_listed(base, rates):
    table = drawn(rates, 2).filter(~pl.col("problem").is_in(["q3", "q7"]))
    extra = drawn([0.5], 3).with_columns(problem=pl.lit("new one"))
    report = compare(base, pl.concat([table, extra]).sample(fraction=1, shuffle=True, seed=0))
    assert (report.missing_in_new, report.missing_in_base) == (("q3", "q7"), ("new one",))
    assert report.n_problems == Q - 2
    with pytest.raises(InputError, match="share no problem"):
        compare(base, drawn([0.5], 3).with_columns(problem=pl.lit("other")))


def test_warnings_name_what_else_may_explain_a_change(rates):
    before = drawn(rates, 1, temperature=0.6, prompt_format="chat", token_entropy=0.5)
    after = drawn(rates, 2, temperature=1.0, prompt_format="raw", token_entropy=0.0)
    cut = pl.int_range(pl.len()) % 10 < 3
    after = after.with_columns(answer=pl.when(cut).then(pl.lit("NA")).otherwise("answer"))
    report = compare(support_samples(before), after)
    said = " ".join(report.warnings)
    assert "temperature is 0.6 in the base run and 1.0 in the new run" in said
    assert "prompt_format is 'chat'" in said
    assert "30% of the answers in the new run are missing" in said
    assert "100% of the token entropies in the new run are exactly 0" in said
    assert report.token_entropy.difference.value == pytest.approx(-0.5)
    quiet = compare(support_samples(before), drawn(rates, 2, temperature=0.6, prompt_format="chat"))
    assert [x for x in quiet.warnings if "budget" not in x] == []
    assert quiet.token_entropy is None


def test_more_warnings(rates):
    table = drawn(rates[:10], 1, temperature=0.0)
    mixed = table.with_columns(temperature=pl.int_range(pl.len()) % 2)
    report = compare(support_samples(table), mixed)
    said = " ".join(report.warnings)
    assert "base run is greedy" in said
    assert "temperature is mixed (0, 1) within the new run" in said
    assert "With 10 problems only" in said
    assert "one file given twice" in said
    fewer = table.filter(pl.int_range(pl.len()).over("problem") < 20)
    assert "different numbers of samples" in " ".join(
        compare(support_samples(table), fewer).warnings
    )


def test_prompts_of_logs_are_compared(tmp_path):
    def log(name, prompt):
        rows = [
            {"prompt": f"{prompt} {q}", "completion": "x", "group": f"q{q}", "correct": i < 2}
            for q in range(30)
            for i in range(4)
        ]
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, rows)))
        return support_samples(path)

    first, second, third = log("a.jsonl", "Q"), log("b.jsonl", "Q"), log("c.jsonl", "Please")
    assert "prompt differs" not in " ".join(compare_support(first, second, n_resamples=9).warnings)
    said = " ".join(compare_support(first, third, n_resamples=9).warnings)
    assert "The prompt differs on 30 of 30 problems" in said


def test_unequal_samples_and_the_answers_that_are_compared(base, rates):
    report = compare(base, drawn(rates, 2, n=64))
    assert (report.n_base, report.n_new) == ((N, N), (64, 64))
    assert report.verdict == "no change beyond noise"
    assert abs(report.answer_entropy.difference.value) < 0.05  # the same number of answers each


def test_nothing_in_support_is_undetermined():
    zero = support_samples(drawn(np.zeros(30), 1))
    report = compare(zero, drawn(np.zeros(30), 2))
    assert report.verdict == "undetermined"
    assert "neither model has a hit" in report.headline[0]
    assert report.metrics["SRR"] is None
    assert report.crossing_k is None


def test_rows_come_from_jsonl_csv_parquet_and_frames(tmp_path, rates):
    table = drawn(rates[:5], 1, temperature=0.7).with_columns(
        token_entropy=pl.int_range(pl.len()) / 10
    )
    table.write_ndjson(tmp_path / "a.jsonl")
    table.write_csv(tmp_path / "a.csv")
    table.write_parquet(tmp_path / "a.parquet")
    truth = support_samples(table)
    assert truth.entropy_kind == "as given"
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        found = support_samples(tmp_path / name)
        assert found.frame.equals(truth.frame), name
        assert found.settings == truth.settings == {"temperature": 0.7}


def test_token_entropies_may_be_lists(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"problem": "a", "sample": i, "correct": True, "token_entropy": [0.0, 0.0, 3.0]}
        for i in range(2)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = support_samples(path)
    assert found.frame["token_entropy"].to_list() == [1.0, 1.0]
    assert found.zero_share == pytest.approx(2 / 3)


def test_labels_come_from_a_file_a_reward_or_a_reference(tmp_path):
    def log(name, **fields):
        path = tmp_path / name
        rows = [
            {"prompt": "Q", "completion": "x", "group": f"q{i // 2}"}
            | {key: value(i) for key, value in fields.items()}
            for i in range(6)
        ]
        path.write_text("\n".join(map(json.dumps, rows)))
        return path

    right = [i % 3 == 0 for i in range(6)]
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "id,correct\n" + "\n".join(f"a.jsonl:{i},{x:d}" for i, x in enumerate(right[:5], 1))
    )
    found = support_samples(log("a.jsonl"), labels=labels)
    assert found.frame["correct"].to_list() == right[:5]
    assert found.n_unlabelled == 1
    graded = log("b.jsonl", reward=lambda i: 0.9 if right[i] else 0.1)
    assert support_samples(graded, reward_threshold=0.5).frame["correct"].to_list() == right
    answered = log("c.jsonl", answer=lambda i: 8 if right[i] else 9, reference=lambda i: "8.0")
    assert support_samples(answered).frame["correct"].to_list() == right


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"problem": ["a"]}, "no column correct"),
        ({"problem": ["a", None], "correct": [1, 0]}, "1 of 2 samples .* do not name"),
        ({"problem": ["a"], "correct": [None]}, "none of the 1 samples .* is labelled"),
        (
            {"problem": ["a", "a"], "sample": [1, 1], "correct": [1, 0]},
            "sample '1' of problem 'a' occurs twice",
        ),
        ({"problem": ["a"], "correct": [1], "token_entropy": [-1.0]}, "entropies are 0 or more"),
        ({"problem": ["a"], "correct": [1], "token_entropy": ["high"]}, "neither a number"),
    ],
)
def test_bad_tables(table, message):
    with pytest.raises(InputError, match=message):
        support_samples(pl.DataFrame(table))


def test_bad_settings(base, rates):
    with pytest.raises(InputError, match=f"k is 64, but {Q} of {Q} problems.*1 <= k <= {N}"):
        compare(base, drawn(rates, 2), k=64)
    with pytest.raises(InputError, match="expected 1 <= k"):
        compare(base, drawn(rates, 2), k=0)
    with pytest.raises(InputError, match="unknown rule"):
        compare(base, drawn(rates, 2), rule="strict")
    with pytest.raises(InputError, match="confidence"):
        compare(base, drawn(rates, 2), confidence=95)
