"""The report of a comparison of recipes: one HTML file that needs nothing else, and Markdown."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from entropilot.errors import InputError
from entropilot.files import write_atomically
from entropilot.information import crossing_k, forecast_entropy_law
from entropilot.policy.training.metrics_log import MEANINGS
from entropilot.policy.training.results import Comparison
from entropilot.report import wording
from entropilot.report.html import Meta
from entropilot.report.markdown import own_sentence, table
from entropilot.report.tokens import LEVELS, levels
from entropilot.report.training_figures import (
    colour,
    curve_picture,
    law_picture,
    law_points,
    pass_picture,
)
from entropilot.report.training_numbers import (
    WINDOW,
    RecipeNumbers,
    intervals,
    ks,
    recipe_numbers,
    solved,
)
from entropilot.report.training_verdict import against, training_verdict
from entropilot.report.visible import prose, visible

CURVES: Final = (
    ("entropy", "Entropy of the answers", "nats a token"),
    ("reward", "Reward", "mean reward"),
    ("eval/pass@1", "Accuracy on fixed problems", "pass@1"),
    ("eval/distinct", "Different right answers", "of one problem"),
    ("length", "Length of the answers", "tokens"),
    ("predicted_entropy_change", "Predicted change of entropy", "nats, first order"),
    ("covariance", "Covariance of log-prob and advantage", "mean over tokens"),
    ("frac_all_right_groups", "Groups with every answer right", "share of groups"),
    ("frac_all_wrong_groups", "Groups with every answer wrong", "share of groups"),
    ("surrogate/clip_fraction", "Tokens stopped by a ratio clip", "share of tokens"),
)
SUMMARY_HEAD: Final = (
    *("recipe", "entropy, nats", "pass@1", "against the first", "pass@{n}"),
    *("different right answers", "length, tokens"),
)


def write_training_report(path: Path, comparison: Comparison, *, meta: Meta | None = None) -> Path:
    """Write the report; the file appears whole or not at all.

    Args:
        path: of the HTML file.
        comparison: its first recipe is the baseline.
        meta: title, date, version, command.
    """
    write_atomically(path, render_training(comparison, meta=meta))
    return path


def render_training(comparison: Comparison, *, meta: Meta | None = None) -> str:
    """The report as one HTML text.

    Examples:
        >>> "nothing to compare" in render_training(Comparison("addition", "reasoner", ()))
        True
    """
    style = _asset("report.css") + _asset("training.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    recipes = recipe_numbers(comparison) if comparison.arms else []
    has_arms = bool(recipes)
    return (
        _environment()
        .get_template("training.html.j2")
        .render(
            policy=policy,
            style=Markup(style),
            meta=meta or Meta("Training report"),
            comparison=comparison,
            verdict=training_verdict(comparison),
            recipes=recipes,
            colours={recipe.label: colour(i) for i, recipe in enumerate(recipes)},
            curves=_curves(comparison),
            pass_picture=pass_picture(comparison) if has_arms else "",
            crossings=_crossings(comparison) if has_arms else [],
            law_picture=law_picture(comparison, WINDOW) if has_arms else "",
            law=law_rows(comparison) if has_arms else [],
            covariance=_covariance(comparison),
            examples=[_example(e) for e in comparison.examples],
            level_names=list(LEVELS),
            meanings=MEANINGS,
            against=against,
        )
    )


def training_markdown(comparison: Comparison) -> str:
    """Verdict and table as Markdown.

    Examples:
        >>> training_markdown(Comparison("addition", "reasoner", ())).splitlines()[0]
        '# Recipes on addition'
    """
    parts = [f"# Recipes on {comparison.task}"]
    parts += [f"- {own_sentence(sentence)}" for sentence in training_verdict(comparison)]
    text = parts[0] + "\n\n" + "\n".join(parts[1:])
    if not comparison.arms:
        return text + "\n"
    head, rows = summary_table(comparison)
    return f"{text}\n\n{table(head, 'l' + 'r' * (len(head) - 1), rows)}\n"


def summary_table(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows: what each recipe ended with."""
    recipes = recipe_numbers(comparison)
    head = tuple(title.format(n=recipes[0].n) for title in SUMMARY_HEAD)
    return head, [summary_row(recipe) for recipe in recipes]


def summary_row(recipe: RecipeNumbers) -> tuple[str, ...]:
    """One recipe in words and numbers."""
    return (
        recipe.label,
        f"{recipe.entropy_start:.3f} to {recipe.entropy_end:.3f}",
        f"{recipe.pass_1:.3f}",
        "-" if recipe.over_plain is None else against(recipe.over_plain),
        f"{recipe.reach:.3f}",
        f"{recipe.distinct_start:.1f} to {recipe.distinct:.1f}",
        f"{recipe.length_start:.1f} to {recipe.length:.1f}",
    )


def law_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """R = b - a exp(H) and its rivals for each recipe, seeds one by one."""
    rows = []
    for arm in comparison.arms:
        found = law_points(arm, WINDOW)
        if found is None:
            continue
        entropy, reward = found
        try:
            ahead = forecast_entropy_law(entropy, reward, max(3, round(0.3 * len(entropy))))
        except InputError:  # a curve too short to predict its end
            continue
        rows.append({"label": arm.label, "seed": arm.seed, "ahead": ahead, **_fits(found)})
    return rows


def _fits(found: tuple[Any, Any]) -> dict[str, Any]:
    from entropilot.information import fit_entropy_law, fit_entropy_line

    return {"law": fit_entropy_law(*found), "line": fit_entropy_line(*found)}


def _curves(comparison: Comparison) -> list[tuple[Markup, str, str]]:
    """Picture, title and what it measures, of the metrics that were logged."""
    made = []
    for name, title, unit in CURVES:
        picture = curve_picture(comparison, name, title, unit) if comparison.arms else Markup("")
        if picture:
            made.append((picture, title, MEANINGS.get(name, "")))
    return made


def _crossings(comparison: Comparison) -> list[tuple[str, str]]:
    """Where pass@k after training falls below that before it."""
    points = ks(comparison.arms[0].end.n)
    rows = []
    for label in comparison.labels:
        arms = comparison.of(label)
        before, after = solved(arms, "start", points), solved(arms, "end", points)
        k = crossing_k(
            _curve(points, before),
            _curve(points, after),
        )
        last = intervals((after - before)[:, -1:])[0]
        at = "never" if k is None else f"at k = {k:.1f}"
        rows.append((label, f"{at}; at k = {points[-1]}: {against(last)}"))
    return rows


def _curve(points: Sequence[int], values: Any) -> Any:
    from entropilot.information import PassCurve

    return PassCurve(np.asarray(points), values.mean(0), values)


def _covariance(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Mean covariance of the top fractions of tokens over the first steps, by recipe."""
    tops = sorted(
        {
            name
            for arm in comparison.arms
            for row in arm.rows[:2]
            for name in row
            if name.startswith("covariance/top_")
        },
        key=lambda name: float(name.rpartition("_")[2]),
    )
    if not tops:
        return []
    rows = [("share of the tokens", [f"{float(t.rpartition('_')[2]):.1%}" for t in tops])]
    for label in comparison.labels:
        cells = []
        for top in tops:
            values = [v for arm in comparison.of(label) for v in arm.curve(top)[1][:WINDOW]]
            cells.append(f"{np.mean(values):.3f}" if values else "-")
        rows.append((label, cells))
    return rows


def _example(example: dict[str, Any]) -> dict[str, Any]:
    """An example with the colour level of every token."""
    shown = dict(example)
    for when in ("before", "after"):
        answer = example[when]
        tints = levels(np.asarray(answer["entropy"], float)).tolist()
        shown[when] = {
            **answer,
            "spans": [
                (visible(text), level, f"{h:.2f} nats")
                for text, level, h in zip(answer["tokens"], tints, answer["entropy"], strict=True)
            ],
            "mean": float(np.mean(answer["entropy"])) if answer["entropy"] else 0.0,
        }
    return shown


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("entropilot.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=wording.count,
        percent=wording.percent,
        decimal=wording.decimal,
        prose=prose,
        visible=visible,
    )
    return environment


def _asset(name: str) -> str:
    return (files("entropilot.report") / "static" / name).read_text(encoding="utf-8")
