"""A comparison of recipes as Markdown, and as plain JSON for other programs.

Keys of the JSON are stable within one ``schema`` number; new ones may be added. An interval is
``{"value", "low", "high"}``, a quantity that could not be computed is null.

    schema      "entropilot/training/1"
    task, model, baseline, seeds, settings
    verdict     list of {kind, label, text}
    recipes     list of {label, recipe, objective, knobs, seeds, nature, entropy, entropy_ends,
                reward, length, truncated, outcomes, support, dead, dead_tokens, n_tokens, seconds,
                tokens_per_second, stopped, held, crossing_k, pass_at_k}
    held        {knob, quantity, slope, n_steps, wanted, kept, by_seed, knob_low, knob_high,
                at_limit} of a controller over the last steps, or null
    entropy     {start, end, noise, lowest, lowest_step, n_steps}, as reward, length, truncated
    outcomes    {pass_1, reach, distinct, answer_entropy}: {before, after, change, against, by_seed}
    pass_at_k   list of {k, before, after, change}
    covariance  {shares, rows: [[label, cells]]}, cells "first steps to last steps", or null
    predicted   list of {label, correlation, interval, slope, by_token, same_sign, measured,
                predicted}: the change of entropy in a step, to first order beside measured;
                by_token is the correlation with the theory of one distribution; the last two are
                sums over the steps, mean over seeds, in nats
    law         list of {label, seed, a, b, ceiling, r2, line_r2, forecast_rmse, line_rmse,
                last_value_rmse}
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from entropilot.policy.training.results import Comparison
from entropilot.report.json import finite
from entropilot.report.markdown import escaped, own_sentence, table
from entropilot.report.training_change import entropy_changes
from entropilot.report.training_entropy import LawRow, law_rows
from entropilot.report.training_nature import nature
from entropilot.report.training_numbers import RecipeNumbers, recipe_numbers
from entropilot.report.training_outcomes import Reach, reaches
from entropilot.report.training_tables import covariance_table, settings_table, summary_table
from entropilot.report.training_verdict import findings
from entropilot.report.wording import count, decimal, percent

SCHEMA: Final = "entropilot/training/1"
ERRORS: Final = ("rmse", "line_rmse", "last_value_rmse")  # of a forecast


def training_markdown(comparison: Comparison) -> str:
    """Verdict, outcomes, reach, objectives and cost as Markdown.

    Examples:
        >>> training_markdown(Comparison("addition", "reasoner", ())).splitlines()[0]
        '# Recipes on addition'
    """
    recipes = recipe_numbers(comparison)
    said = [own_sentence(finding.text) for finding in findings(recipes, comparison.unfinished)]
    parts = [f"# Recipes on {escaped(comparison.task)}", "\n".join(f"- {text}" for text in said)]
    if not recipes:
        return "\n\n".join(parts) + "\n"
    head, rows = summary_table(recipes)
    cells = [[escaped(cell, limit=200) for cell in row] for row in rows]
    parts += ["## Outcome", table([escaped(h) for h in head], "l" + "r" * (len(head) - 1), cells)]
    lines = [(escaped(r.label), own_sentence(r.sentence)) for r in reaches(comparison)]
    parts += ["## Problems solved in k answers", table(("recipe", "crossing"), "ll", lines)]
    parts += ["## Support against the start", _support(recipes)]
    if law := _fits(law_rows(comparison)):
        parts += ["## R = b - a exp(H) beside a straight line and the last value", law]
    parts += ["## Objectives and cost", _costs(recipes)]
    settings = [f"- {escaped(k)}: {escaped(v)}" for k, v in settings_table(comparison.settings)]
    parts += ["## Settings", "\n".join(settings)] if settings else []
    return "\n\n".join(part for part in parts if part) + "\n"


def training_json(comparison: Comparison) -> dict[str, Any]:
    """Plain values of a comparison; the keys stand at the top of this module.

    Returns:
        Values that ``json.dumps`` takes with ``allow_nan=False``.

    Examples:
        >>> training_json(Comparison("addition", "reasoner", ()))["recipes"]
        []
    """
    recipes = recipe_numbers(comparison)
    reach = {found.label: found for found in reaches(comparison)} if recipes else {}
    tops = covariance_table(comparison)
    plain = {
        "schema": SCHEMA,
        "task": comparison.task,
        "model": comparison.model,
        "baseline": recipes[0].label if recipes else None,
        "seeds": sorted({seed for recipe in recipes for seed in recipe.seeds}),
        "settings": comparison.settings,
        "verdict": [finding._asdict() for finding in findings(recipes, comparison.unfinished)],
        "recipes": [_recipe(recipe, reach[recipe.label]) for recipe in recipes],
        "covariance": None if tops is None else tops._asdict(),
        "predicted": _predicted(comparison),
        "law": [_law(row) for row in law_rows(comparison)],
    }
    found: dict[str, Any] = finite(plain)
    return found


def _recipe(recipe: RecipeNumbers, reach: Reach) -> dict[str, Any]:
    points = zip(reach.ks, reach.before, reach.after, reach.change, strict=True)
    return {
        **asdict(recipe),
        "nature": nature(recipe),
        "tokens_per_second": recipe.tokens_per_second,
        "crossing_k": reach.crossing,
        "pass_at_k": [
            {"k": k, "before": asdict(a), "after": asdict(b), "change": asdict(c)}
            for k, a, b, c in points
        ],
    }


def _predicted(comparison: Comparison) -> list[dict[str, Any]]:
    found = [(entropy_changes(n, comparison.of(n)), comparison.of(n)) for n in comparison.labels]
    return [
        {
            "label": one.label,
            "correlation": one.correlation.value,
            "interval": asdict(one.correlation),
            "slope": one.slope,
            "by_token": None if one.by_token is None else asdict(one.by_token),
            "same_sign": one.same_sign,
            "measured": float(one.measured.sum()) / len(arms),
            "predicted": float(one.predicted.sum()) / len(arms),
        }
        for one, arms in found
        if one is not None
    ]


def _law(row: LawRow) -> dict[str, Any]:
    ahead = row.ahead
    return {
        "label": row.label,
        "seed": row.seed,
        "a": row.law.a,
        "b": row.law.b,
        "ceiling": row.law.ceiling,
        "r2": row.law.r2,
        "line_r2": row.line.r2,
        "forecast_rmse": None if ahead is None else ahead.rmse,
        "line_rmse": None if ahead is None else ahead.line_rmse,
        "last_value_rmse": None if ahead is None else ahead.last_value_rmse,
    }


def _support(recipes: list[RecipeNumbers]) -> str:
    rows = [
        (
            escaped(r.label),
            *(f"{part.value:.1f}" for part in (s.kept, s.lost, s.found)),
            f"{s.by_chance:.1f}",
        )
        for r in recipes
        if (s := r.support) is not None
    ]
    head = ("recipe", "kept", "lost", "found", "by chance")
    return table(head, "lrrrr", rows) if rows else ""


def _fits(rows: list[LawRow]) -> str:
    cells = [
        (
            f"{escaped(row.label)}, {row.seed}",
            *(decimal(r2, 3) for r2 in (row.law.r2, row.line.r2)),
            *(
                decimal(None if row.ahead is None else getattr(row.ahead, name), 3)
                for name in ERRORS
            ),
        )
        for row in rows
    ]
    head = ("recipe, seed", "R2", "of a line", "forecast error", "of a line", "of the last value")
    return table(head, "lrrrrr", cells) if cells else ""


def _costs(recipes: list[RecipeNumbers]) -> str:
    rows = [
        (
            escaped(r.label),
            own_sentence(r.objective),
            count(r.n_tokens),
            f"{r.seconds:.0f}",
            *(
                f"{percent(share)} of groups, {count(spent)} tokens"
                for share, spent in (
                    (r.all_wrong, r.tokens_all_wrong),
                    (r.all_right, r.tokens_all_right),
                )
            ),
            percent(r.dead_share),
        )
        for r in recipes
    ]
    head = ("recipe", "objective", "tokens", "seconds", "all wrong", "all right", "taught nothing")
    return table(head, "llrrrrr", rows)
