"""The report of a comparison as HTML, Markdown and JSON."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.information import expected_support, support_category, support_dynamics
from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.html import Meta
from entropilot.report.line_labels import apart, short_names
from entropilot.report.svg import Plot
from entropilot.report.training import render_training, write_training_report
from entropilot.report.training_change import change_sentence, correlation, entropy_changes
from entropilot.report.training_entropy import law_points
from entropilot.report.training_figures import curve_picture, nice, over_seeds, smoothed, steps_axis
from entropilot.report.training_forms import SCHEMA, training_json, training_markdown
from entropilot.report.training_outcomes import reaches
from entropilot.report.training_support import support_numbers


@pytest.fixture(scope="module")
def page(comparison: Comparison) -> str:
    return render_training(comparison, meta=Meta("<i>T</i>", "today", "0", "entropilot run '<x>'"))


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]


def test_the_policy_allows_our_style_and_nothing_else(page: str) -> None:
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page.replace("&#39;", "'")
    assert "style=" not in page
    assert not {"script", "img", "link", "iframe", "object"} & set(Tags(page).names)
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page


def test_foreign_text_is_escaped_and_made_visible(page: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;⟨RLO⟩" in page
    assert "\u202e" not in page
    assert "&lt;b&gt;84&lt;/b&gt;" in page


def test_it_is_small_and_ids_are_unique(page: str) -> None:
    assert len(page.encode()) < 600_000
    ids = Tags(page).ids
    assert len(ids) == len(set(ids))


def test_every_picture_is_well_formed_and_inside_its_frame(page: str) -> None:
    pictures = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(pictures) > 20
    for drawn in pictures:
        root = ElementTree.fromstring(drawn)
        assert "nan" not in drawn
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for node in root.iter():
            if node.tag.endswith("text"):
                assert -1 <= float(node.attrib["y"]) <= height + 1
                assert -1 <= float(node.attrib["x"]) <= width + 1


def test_labels_at_the_ends_of_lines_do_not_cover_each_other(page: str) -> None:
    for drawn in re.findall(r"<svg.*?</svg>", page, re.S):
        ends = re.findall(r'<text class="note own c\d" x="([\d.]+)" y="([\d.]+)"', drawn)
        for x in {x for x, _ in ends}:
            places = sorted(float(y) for other, y in ends if other == x)
            assert all(b - a > 10 for a, b in itertools.pairwise(places))


def test_every_section_is_there(page: str) -> None:
    ids = set(Tags(page).ids)
    wanted = "outcome curves held reach diversity support entropy answers objectives cost reading"
    assert set(wanted.split()) <= ids
    assert "What is not shown" not in page
    assert "hold the tokens that spend the most entropy" in page
    assert "0.28</td>" in page


def test_what_is_not_logged_is_named(make_arm: Callable[..., Arm]) -> None:
    base = make_arm()
    kept = ("step", "entropy", "reward", "length", "n_tokens")
    rows = [{name: row[name] for name in kept if name in row} for row in base.rows]
    page = render_training(Comparison("t", "m", [replace(base, rows=rows, recipe="of mine")]))
    assert "Covariance by share of the tokens: no row has the metric covariance/top_1." in page
    assert "Answers before and after: none were kept." in page


@pytest.mark.parametrize("name", ["half_stopped", "one_seed"])
def test_broken_and_small_runs_are_rendered(name: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(name)
    assert "</html>" in render_training(found)
    json.dumps(training_json(found), allow_nan=False)
    assert training_markdown(found).startswith("# Recipes on addition")


def test_no_arm_that_ended_and_no_row_can_be_rendered(make_arm: Callable[..., Arm]) -> None:
    arm = make_arm(stopped="nan")
    for rows in (arm.rows, arm.rows[:1], ()):
        found = Comparison("t", "m", [replace(arm, rows=rows)])
        assert "no seed came to its end" in render_training(found)
        json.dumps(training_json(found), allow_nan=False)
        training_markdown(found)


def test_one_answer_a_problem_has_no_reach(make_arm: Callable[..., Arm]) -> None:
    arm = make_arm()
    ones = [min(c, 1) for c in arm.end.n_correct]
    single = replace(arm.end, n=1, n_correct=ones, n_distinct=ones)
    found = Comparison("t", "m", [replace(arm, start=single, end=single)])
    assert "</html>" in render_training(found)
    assert "pass@1 went from" in training_markdown(found).replace("\\", "")


def test_many_recipes_have_names_and_colours_of_their_own(make_arm: Callable[..., Arm]) -> None:
    arms = [make_arm(f"kl-cov ratio=0.{i}, coef=1.0") for i in range(1, 10)]
    page = render_training(Comparison("t", "m", arms))
    assert "own c1 again" in page
    assert len(set(short_names([arm.label for arm in arms]).values())) == 9


def test_many_recipes_with_long_answers_stay_small(make_arm: Callable[..., Arm]) -> None:
    labels = [f"kl-cov ratio=0.{i}" for i in range(1, 10)]
    arms = [make_arm(label, seed, n_steps=400) for label in labels for seed in (0, 1, 2)]
    answer = {"tokens": [f"<{i}>" for i in range(900)], "entropy": [1.2] * 900, "correct": True}
    examples = [
        {"label": label, "seed": 0, "prompt": p, "reference": "", "before": answer, "after": answer}
        for p in "abcd"
        for label in labels
    ]
    page = render_training(Comparison("t", "m", arms, {}, examples))
    assert len(page.encode()) < 600_000
    assert "825 tokens not shown" in page


def test_bars_of_support_have_the_colour_of_their_recipe(page: str) -> None:
    for i in range(4):
        assert f'class="support lost own c{i}"' in page
        assert f'class="support found own c{i}"' in page


def test_points_of_the_law_are_means_of_eight_steps(make_arm: Callable[..., Arm]) -> None:
    base = make_arm()
    steps = range(1, 65)
    rows = [{"step": i, "entropy": 1 / i, "reward": float(i)} for i in steps]
    found = law_points(replace(base, rows=rows))
    assert found is not None
    entropy, reward = found
    assert reward.tolist() == [4.5 + 8 * i for i in range(8)]
    assert entropy[0] == pytest.approx(sum(1 / i for i in range(1, 9)) / 8)
    short = law_points(replace(base, rows=rows[:18]))
    assert short is not None
    assert len(short[0]) == 6
    assert law_points(replace(base, rows=rows[:3])) is None


def test_json_says_what_the_page_says(comparison: Comparison) -> None:
    found: dict[str, Any] = json.loads(json.dumps(training_json(comparison), allow_nan=False))
    assert found["schema"] == SCHEMA
    natures = [recipe["nature"] for recipe in found["recipes"]]
    assert natures == ["collapsed", "healthy", "healthy", "healthy", "healthy"]
    assert found["recipes"][0]["outcomes"]["pass_1"]["against"] is None
    assert found["verdict"][0]["text"].startswith("Entropy collapsed under grpo")
    assert len(found["law"]) == 10
    assert [recipe["held"] is None for recipe in found["recipes"]] == [True] * 4 + [False]
    assert [one["label"] for one in found["predicted"]] == [r["label"] for r in found["recipes"]]
    assert found["covariance"]["shares"][0] == "0.2%"


def test_markdown_has_a_row_for_every_recipe(comparison: Comparison) -> None:
    text = training_markdown(comparison)
    assert text.count("| grpo |") == 4
    assert "<script>" not in text


def test_the_file_appears_whole(comparison: Comparison, tmp_path: Path) -> None:
    page, text, plain = write_training_report(tmp_path / "report.html", comparison)
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert text.read_text(encoding="utf-8") == training_markdown(comparison)
    assert json.loads(plain.read_text(encoding="utf-8")) == training_json(comparison)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"report.html", "report.md", "report.json"}


def test_support_agrees_with_the_expected_counts(make_arm: Callable[..., Arm]) -> None:
    arm = make_arm(accuracy=(0.4, 0.7), spread=0.2)
    found = support_numbers([arm])
    before, after = np.array(arm.start.n_correct), np.array(arm.end.n_correct)
    wanted = expected_support(before, after, arm.end.n, found.budget)
    for name, part in (("P", found.kept), ("S", found.lost), ("E", found.found)):
        assert part.value == pytest.approx(float(wanted[name]), abs=1e-9)


def test_more_seeds_of_a_policy_that_stood_still_find_nothing(make_arm: Callable[..., Arm]) -> None:
    """Seeds share the draws of the start; adding counts up would see more hits after training."""
    arms = [make_arm(seed=seed, accuracy=(0.03, 0.03)) for seed in range(4)]
    found = support_numbers(arms)
    assert found.net.low < 0 < found.net.high
    assert found.sign_p > 0.05
    one = support_numbers(arms[:1])
    alone = support_dynamics(
        support_category(arms[0].start.n_correct, 16, arms[0].end.n_correct, 16)
    )
    assert (one.retained.value, one.net.value) == pytest.approx((alone["SRR"], alone["NSCR"]))
    assert one.sign_p == pytest.approx(alone["sign_p"])


def test_the_crossing_is_where_the_start_overtakes(comparison: Comparison) -> None:
    grpo, clip, *_ = reaches(comparison)
    assert grpo.crossing is not None
    assert 2 < grpo.crossing < 16
    assert clip.crossing is None
    assert grpo.change[0].value > 0 > grpo.change[-1].value


def test_a_true_prediction_correlates(make_arm: Callable[..., Arm]) -> None:
    base = make_arm()
    change = 0.01 * np.sin(np.arange(60.0))
    rows = [
        {"step": i + 1, "entropy_change": 0.5 * c, "entropy_change/first_order": c}
        for i, c in enumerate(change.tolist())
    ]
    found = entropy_changes("grpo", [replace(base, rows=rows)])
    assert found is not None
    assert found.correlation.low > 0.999
    assert found.slope == pytest.approx(0.5)
    assert found.same_sign == 1.0
    assert found.by_token is None
    assert entropy_changes("grpo", [replace(base, rows=rows[:5])]) is None
    still = [row | {"entropy_change": 0.0} for row in rows]
    quiet = entropy_changes("grpo", [replace(base, rows=still)])
    assert quiet is not None
    assert change_sentence(quiet) == "One of the two never changed."


def test_interval_of_a_correlation_holds_it_and_covers_nothing_where_there_is_none() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, 60))
        found = correlation(x, y, np.arange(60) // 5)
        assert found.low <= found.value <= found.high
        assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
        covered += found.low <= 0 <= found.high
    assert covered >= 0.8 * 200  # 12 blocks are few, so a nominal 95 % is less


def test_pictures_of_a_control_come_only_with_one(
    page: str, make_arm: Callable[..., Arm], compare: Callable[..., Comparison]
) -> None:
    assert page.count('id="held-entropy-bonus-held-title"') == 1
    assert page.count('id="knob-entropy-bonus-held-title"') == 1
    plain = render_training(compare(make_arm()))
    assert 'id="held"' not in plain


def test_tiny_values_are_drawn_in_a_unit_that_shows_them(make_arm: Callable[..., Arm]) -> None:
    base = make_arm()

    def drawn(size: float) -> str:
        rows = [{"step": i, "covariance": -size * i} for i in range(1, 20)]
        made = Comparison("t", "m", [replace(base, rows=rows)])
        return str(curve_picture(made, "covariance", "Covariance", "nats"))

    assert "nats, in 10⁻⁸" in drawn(1e-9)
    assert ">-1.0</text>" in drawn(1e-9)
    assert "in 10" not in drawn(1e-17)  # rounding, no curve
    assert "in 10" not in drawn(0.01)


def test_seeds_are_averaged_step_by_step(make_arm: Callable[..., Arm]) -> None:
    base = make_arm()
    long = [{"step": i, "entropy": 1.0} for i in range(1, 5)]
    short = [{"step": i, "entropy": 0.0} for i in range(1, 3)]
    found = over_seeds([replace(base, rows=long), replace(base, rows=short)], "entropy")
    assert found is not None
    assert found.mean == [0.5, 0.5, 1.0, 1.0]
    assert (found.low, found.high) == ([0.0, 0.0, 1.0, 1.0], [1.0] * 4)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 8))
def test_running_means_begin_at_the_curve_and_stay_inside_it(v: list[float], half: int) -> None:
    found = smoothed(v, half)
    assert len(found) == len(v)
    assert found[0] == pytest.approx(v[0], abs=1e-9)
    assert min(v) - 1e-9 <= min(found)
    assert max(found) <= max(v) + 1e-9


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_labels_keep_their_order_and_their_gap(wanted: list[float]) -> None:
    places = apart(wanted, 0.0, 100.0, 10.0)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for i, j in itertools.pairwise(order):
        assert places[j] - places[i] >= 10.0 - 1e-9
    assert min(places) >= -1e-9
    assert max(places) <= 100.0 + 1e-9


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_nice_ends_hold_the_values(low: float, span: float) -> None:
    a, b = nice(low, low + span)
    slack = 1e-6 * max(1.0, abs(low) + span)
    assert a <= low + slack
    assert b >= low + span - slack
    assert b > a


def test_groups_all_wrong_and_all_right_stand_with_the_tokens_they_cost(
    comparison: Comparison, page: str
) -> None:
    arms = comparison.of(comparison.labels[0])
    for name in ("tokens_all_wrong", "tokens_all_right"):
        spent = sum(row.get(name, 0) for arm in arms for row in arm.rows)
        assert f"{spent:,} tokens" in page
        assert f"{spent:,} tokens" in training_markdown(comparison)
    assert "groups all wrong" in page


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7])
def test_steps_of_a_short_run_are_whole_numbers(n_steps: int) -> None:
    drawn = str(steps_axis(Plot((0.0, float(n_steps)), (0.0, 1.0))))
    shown = re.findall(r">(\d+)</text>", drawn)
    assert shown == sorted(set(shown), key=int)
    assert shown[0] == "0"
