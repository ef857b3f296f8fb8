"""The report of a comparison of recipes: one HTML file that needs nothing else.

It has no script. Every text is escaped, hidden characters become symbols, and a
Content-Security-Policy allows one style sheet, by hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from entropilot.files import write_atomically
from entropilot.policy.training.metrics_log import MEANINGS
from entropilot.policy.training.results import Comparison
from entropilot.report import training_entropy, training_outcomes, wording
from entropilot.report.html import Meta
from entropilot.report.line_labels import colour, short_names
from entropilot.report.tokens import LEVELS
from entropilot.report.training_change import change_picture, change_sentence, entropy_changes
from entropilot.report.training_examples import example_problems
from entropilot.report.training_figures import curve_picture, half_width
from entropilot.report.training_forms import training_json, training_markdown
from entropilot.report.training_held_figures import held_pictures
from entropilot.report.training_numbers import RecipeNumbers, recipe_numbers
from entropilot.report.training_tables import covariance_table, objective_cards, settings_table
from entropilot.report.training_verdict import findings
from entropilot.report.visible import prose, visible

#: Metric, title and unit of the pictures of curves, in their order.
CURVES: Final = (
    ("entropy", "Entropy", "nats a token"),
    ("reward", "Reward", "mean reward"),
    ("eval/pass@1", "Accuracy on the fixed problems", "pass@1"),
    ("eval/distinct", "Different right answers", "of one problem"),
    ("length", "Length of the answers", "tokens"),
    ("truncated", "Answers cut off by the limit", "share of answers"),
    ("frac_all_wrong_groups", "Groups with every answer wrong", "share of groups"),
    ("frac_all_right_groups", "Groups with every answer right", "share of groups"),
    ("surrogate/clip_fraction", "Tokens stopped by a ratio clip", "share of tokens"),
    ("entropy_change", "Change of entropy in a step", "nats, on the step\u2019s own answers"),
    ("covariance", "Covariance of log\u2011prob and advantage", "mean over tokens"),
)


class Curve(NamedTuple):
    """One picture with what it says.

    Examples:
        >>> Curve(Markup(""), "Entropy", "").title
        'Entropy'
    """

    picture: Markup
    title: str
    text: str


def write_training_report(
    path: Path, comparison: Comparison, *, meta: Meta | None = None
) -> tuple[Path, ...]:
    """Write the report as HTML, and beside it as Markdown and as JSON, under the same name.

    All three are made before the first is written; each appears whole or not at all.

    Args:
        path: of the HTML file.
        comparison: its first recipe is the baseline.
        meta: title, date, version, command.

    Returns:
        The files, the HTML first.
    """
    plain = json.dumps(training_json(comparison), indent=1, allow_nan=False)
    texts = {
        path: render_training(comparison, meta=meta),
        path.with_suffix(".md"): training_markdown(comparison),
        path.with_suffix(".json"): f"{plain}\n",
    }
    for file, content in texts.items():
        write_atomically(file, content)
    return tuple(texts)


def render_training(comparison: Comparison, *, meta: Meta | None = None) -> str:
    """The report as one HTML text.

    Args:
        comparison: its first recipe is the baseline.
        meta: title, date, version, command.

    Examples:
        >>> "nothing to compare" in render_training(Comparison("addition", "reasoner", ()))
        True
    """
    style = _asset("report.css") + _asset("training.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    recipes = recipe_numbers(comparison)
    said = findings(recipes, comparison.unfinished)
    # one sentence a recipe goes into a list of its own; the rest is the opening
    beside = [f for f in said if f.label and f.kind == "control"]
    page = _environment().get_template("training.html.j2")
    return page.render(
        policy=policy,
        style=Markup(style),
        meta=meta or Meta("Training report"),
        comparison=comparison,
        opening=[finding for finding in said if finding not in beside],
        beside=beside,
        recipes=recipes,
        seeds=sorted({seed for recipe in recipes for seed in recipe.seeds}),
        colours={recipe.label: colour(i) for i, recipe in enumerate(recipes)},
        short=short_names([recipe.label for recipe in recipes]),
        curves=_curves(comparison),
        smoothing=_smoothing(comparison),
        problems=example_problems(comparison.examples),
        level_edges=[0.0, *LEVELS["entropy"]],
        covariance=covariance_table(comparison),
        cards=objective_cards(recipes),
        settings=settings_table(comparison.settings),
        **(_pictures(comparison, recipes) if recipes else {}),
        missing=_missing(comparison),
    )


def _curves(comparison: Comparison) -> list[Curve]:
    made = []
    for name, title, unit in CURVES:
        if name == "truncated" and not any(any(a.curve(name)[1]) for a in comparison.arms):
            continue
        picture = curve_picture(comparison, name, title, unit) if comparison.arms else Markup("")
        if picture:
            meaning = MEANINGS.get(name, "")
            made.append(Curve(picture, title, f"{meaning[:1].upper()}{meaning[1:]}."))
    return made


def _smoothing(comparison: Comparison) -> str:
    """How far long curves are smoothed, as the end of a sentence."""
    half = half_width(max((len(arm.rows) for arm in comparison.arms), default=0))
    return f", both as running means of up to {2 * half + 1} points" if half else ""


def _pictures(comparison: Comparison, recipes: list[RecipeNumbers]) -> dict[str, Any]:
    """Everything drawn of outcomes, and of entropy beside reward and prediction."""
    reaches = training_outcomes.reaches(comparison)
    own = {reach.label: training_outcomes.recipe_reach_picture(reach, reaches) for reach in reaches}
    predicted = []
    for i, label in enumerate(comparison.labels):
        found = entropy_changes(label, comparison.of(label))
        if found is not None:
            picture = change_picture(found, colour(i))
            predicted.append(Curve(picture, label, change_sentence(found)))
    changes = (
        ("distinct", "Different right answers", f"among {recipes[0].n} answers to a problem"),
        ("answer_entropy", "Entropy over final answers", "nats, mean over problems"),
    )
    return {
        "reaches": reaches,
        "reach_picture": training_outcomes.reach_picture(reaches),
        "own_reach": own,
        "support_picture": training_outcomes.support_picture(recipes),
        "diversity": [
            Curve(training_outcomes.change_picture(recipes, name, title, unit), title, "")
            for name, title, unit in changes
        ],
        "held": held_pictures(comparison),
        "laws": training_entropy.law_pictures(comparison),
        "law": training_entropy.law_rows(comparison),
        "predicted": predicted,
    }


def _missing(comparison: Comparison) -> list[str]:
    """What the report would have shown, and the metric that it lacked."""
    logged = {name for arm in comparison.arms for row in arm.rows for name in row}
    needed = [(name, title) for name, title, _ in CURVES]
    needed += [
        ("covariance/top_1", "Covariance by share of the tokens"),
        ("entropy_change/first_order", "Predicted beside measured change of entropy"),
    ]
    said = [
        f"{title}: no row has the metric {name}." for name, title in needed if name not in logged
    ]
    if not comparison.examples:
        said.append("Answers before and after: none were kept.")
    return said


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
        estimate=wording.estimate,
        prose=prose,
        visible=visible,
    )
    return environment


def _asset(name: str) -> str:
    return (files("entropilot.report") / "static" / name).read_text(encoding="utf-8")
