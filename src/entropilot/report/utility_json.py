"""The utility of reasoning steps as plain JSON, for other programs.

Keys are stable within one ``schema`` number; new ones may be added. What could not be computed is
null. The values depend on chains, inspector and options alone: two runs give the same document.

    schema      "entropilot/utility/1"
    version, source, inspector
    mode        "gold" (reference answers) or "own";  connector: text before the answer
    estimate    of lists that a server shows: "lump", "bounds" or "renormalise"; null: of logits
    unit        of all entropies: "nats" or "bits"
    counts      {chains, skipped, labelled, right, wrong, problems}
    verdicts    {decreasing, flat, rising}: how many chains
    chains      list of {id, group, category, correct, answer, n_steps, n_tokens, n_answer_tokens,
                h: [K+1], lower, upper: bounds of h, nll: [K+1], gains: [K], idle_steps, leak_step,
                h_first, h_before_last, h_last, drop, relative_drop, drop_before_last, early_drop,
                slope, area, monotone_fraction, verdict}; steps count from 1
    report      {curves: [{category, right, n, mean, low, high, n_steps, n_tokens}],
                aucs: {name: {value, low, high, n_right, n_wrong}}} of the labelled chains, or null
    leak_control  {with_last, without_last: intervals, sentence} or null
    ranking     list of {group, chosen, order}: ids, the chain to trust first
    selection   {problems, chosen, right, chance} or null: how often the chosen chain is right
    skipped     list of {id, reason}
    notes       sentences
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.report.json import finite
from entropilot.report.wording import plural
from entropilot.traces.chains import ReasoningChain
from entropilot.traces.utility import LONG_ANSWER, Trajectory, summarise_trajectory
from entropilot.traces.utility_ranking import rank_chains, selection_accuracy
from entropilot.traces.utility_report import GroupReport, check_comparable, group_report
from entropilot.traces.utility_run import MeasuredChains

SCHEMA: Final = "entropilot/utility/1"
_ENTROPIES: Final = ("h_first", "h_before_last", "h_last", "drop", "drop_before_last")
_SCALED: Final = (*_ENTROPIES, "early_drop", "slope", "area")

FEW_CHAINS: Final = 10  # right, and wrong: below it an interval says too much


def utility_json(
    measured: MeasuredChains,
    *,
    inspector: str = "",
    source: str = "",
    version: str = "",
    estimate: str | None = None,
    unit: str = "nats",
    seed: int = 0,
) -> dict[str, Any]:
    """Plain values of all chains and of their comparison; the keys stand at the top of this module.

    Args:
        measured: of ``measure_chains``.
        inspector: its name.
        source: where the chains come from.
        version: of this package.
        estimate: of a server's lists; None for a model that shows all.
        unit: "nats" or "bits", of every entropy in the document.
        seed: of the bootstrap.

    Raises:
        InputError: the trajectories mix answer modes or connectors.
        ConfigurationError: unknown unit.

    Examples:
        >>> from entropilot.traces.chains import chain_of_row
        >>> from entropilot.traces.utility import answer_entropy_of_span, trajectory_of_spans
        >>> spans = [answer_entropy_of_span(np.eye(2)[[0]] * s, [0]) for s in (0.0, 9.0)]
        >>> chain = chain_of_row({"question": "?", "steps": ["So 1."], "answer": "1"})
        >>> one = trajectory_of_spans(spans, connector=" is ", answer="1")
        >>> utility_json(MeasuredChains((chain,), (one,)))["verdicts"]
        {'decreasing': 1, 'flat': 0, 'rising': 0}
    """
    if unit not in ("nats", "bits"):
        raise ConfigurationError(unknown_name("unit", unit, ["nats", "bits"]))
    chains, trajectories = measured.chains, measured.trajectories
    check_comparable(trajectories)
    scale = 1 / math.log(2) if unit == "bits" else 1.0
    entries = [_chain(c, t, scale) for c, t in zip(chains, trajectories, strict=True)]
    rankings = rank_chains(trajectories, [chain.group for chain in chains])
    labels = [chain.right for chain in chains]
    report = _report(chains, trajectories, unit, seed)
    selected = selection_accuracy(rankings, labels)
    verdicts = Counter(entry["verdict"] for entry in entries)
    document = {
        "schema": SCHEMA,
        "version": version,
        "source": source,
        "inspector": inspector,
        "mode": trajectories[0].which if trajectories else None,
        "connector": trajectories[0].connector if trajectories else None,
        "estimate": estimate,
        "unit": unit,
        "counts": {
            "chains": len(chains),
            "skipped": len(measured.skipped),
            "labelled": sum(label is not None for label in labels),
            "right": labels.count(True),
            "wrong": labels.count(False),
            "problems": len(rankings),
        },
        "verdicts": {name: verdicts[name] for name in ("decreasing", "flat", "rising")},
        "chains": entries,
        "report": None if report is None else _report_values(report),
        "leak_control": None if report is None else _leak_control(report),
        "ranking": [
            {
                "group": ranking.group,
                "chosen": None if ranking.chosen is None else chains[ranking.chosen].id,
                "order": [chains[i].id for i in ranking.order],
            }
            for ranking in rankings
        ],
        "selection": {
            "problems": selected.n_problems,
            "chosen": selected.n_chosen,
            "right": selected.n_right,
            "chance": selected.chance,
        }
        if selected.n_problems
        else None,
        "skipped": [{"id": name, "reason": reason} for name, reason in measured.skipped],
        "notes": _notes(trajectories, labels, len(measured.skipped)),
    }
    found: dict[str, Any] = finite(document)
    return found


def _chain(chain: ReasoningChain, trajectory: Trajectory, scale: float) -> dict[str, Any]:
    summary = summarise_trajectory(trajectory)
    gains = trajectory.utility
    values = {name: value * scale if name in _SCALED else value for name, value in summary.items()}
    return {
        "id": chain.id,
        "group": chain.group,
        "category": chain.category,
        "correct": chain.right,
        "answer": chain.answer,
        "n_answer_tokens": trajectory.per_token.shape[1],
        "h": (trajectory.h * scale).tolist(),
        "lower": (trajectory.lower * scale).tolist(),
        "upper": (trajectory.upper * scale).tolist(),
        "nll": (trajectory.nll * scale).tolist(),
        "gains": (gains * scale).tolist(),
        "idle_steps": (np.flatnonzero(gains <= 0) + 1).tolist(),
        **values,
    }


def _report(
    chains: Sequence[ReasoningChain], trajectories: Sequence[Trajectory], unit: str, seed: int
) -> GroupReport | None:
    """Right beside wrong, of the chains with a label; None where one kind is missing."""
    chosen = [i for i, chain in enumerate(chains) if chain.right is not None]
    labels = [chains[i].right is True for i in chosen]
    if len(set(labels)) < 2:
        return None
    with_category = any(chains[i].category is not None for i in chosen)
    groups = {group: k for k, group in enumerate(dict.fromkeys(c.group for c in chains))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined areas are null
        return group_report(
            [trajectories[i] for i in chosen],
            labels,
            category=[chains[i].category or "none" for i in chosen] if with_category else None,
            problem=[groups[chains[i].group] for i in chosen],
            unit=unit,
            seed=seed,
        )


def _report_values(report: GroupReport) -> dict[str, Any]:
    return {
        "curves": [
            {
                "category": curve.category,
                "right": curve.right,
                "n": curve.n,
                "mean": curve.mean.tolist(),
                "low": curve.low.tolist(),
                "high": curve.high.tolist(),
                "n_steps": curve.n_steps,
                "n_tokens": curve.n_tokens,
            }
            for curve in report.curves
        ],
        "aucs": {
            name: {
                "value": area.value,
                "low": area.low,
                "high": area.high,
                "n_right": area.n_right,
                "n_wrong": area.n_wrong,
            }
            for name, area in report.aucs.items()
        },
    }


def _leak_control(report: GroupReport) -> dict[str, Any]:
    """What is left of the separation when the last step, which states the answer, is taken away."""
    whole, before = report.aucs["-drop"], report.aucs["-drop_before_last"]
    rarer = min(before.n_right, before.n_wrong)
    if rarer < FEW_CHAINS or not (math.isfinite(whole.low) and math.isfinite(before.low)):
        sentence = (
            "Too few chains of two steps or more to tell whether the answer leaks: at least "
            f"{FEW_CHAINS} right and {FEW_CHAINS} wrong ones are needed."
        )
    elif whole.low <= 0.5:
        sentence = "The fall of the entropy does not separate right from wrong chains."
    elif before.low > 0.5:
        sentence = "The fall separates right from wrong chains before the last step too."
    else:
        sentence = (
            "Without the last step nothing separates: the inspector reads the answer there, and "
            "the fall says no more than that the chain states it."
        )
    return {
        "with_last": {"value": whole.value, "low": whole.low, "high": whole.high},
        "without_last": {"value": before.value, "low": before.low, "high": before.high},
        "sentence": sentence,
    }


def _notes(
    trajectories: Sequence[Trajectory], labels: Sequence[bool | None], n_skipped: int
) -> list[str]:
    notes = []
    long = sum(t.per_token.shape[1] > LONG_ANSWER for t in trajectories)
    if long:
        notes.append(
            f"{plural(long, 'answer has', 'answers have')} more than {LONG_ANSWER} tokens; the "
            "mean over so long a span is ruled by its syntax. Use short final answers."
        )
    empty = sum(not t.n_steps for t in trajectories)
    if empty:
        notes.append(f"{plural(empty, 'chain has', 'chains have')} no steps, and so no slope.")
    unlabelled = sum(label is None for label in labels)
    if 0 < unlabelled < len(labels):
        notes.append(
            f"{plural(unlabelled, 'chain has', 'chains have')} no label; right and wrong are "
            "compared without."
        )
    if n_skipped:
        notes.append(
            f"{plural(n_skipped, 'chain does', 'chains do')} not fit the inspector's context and "
            "were left out."
        )
    return notes
