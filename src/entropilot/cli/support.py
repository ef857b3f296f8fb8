"""``entropilot support``: what two models reach on the same problems, and whether it changed."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from entropilot.cli.console import TableFormat, out, print_json


class SupportRule(StrEnum):
    """When a problem counts as reached."""

    EXPECTED = "expected"
    OBSERVED = "observed"
    CERTIFIED = "certified"


def support(
    base: Annotated[Path, typer.Argument(help="Log, or table of verdicts, of the model before.")],
    new: Annotated[Path, typer.Argument(help="The same of the model after.")],
    k: Annotated[
        int | None, typer.Option("--k", help="Budget of samples. [16, or all where fewer]")
    ] = None,
    rule: Annotated[
        SupportRule,
        typer.Option(
            help="expected counts, a hit in the first k samples, or what is certified by intervals."
        ),
    ] = SupportRule.EXPECTED,
    labels: Annotated[
        str | None, typer.Option(help="Right or wrong: a field of the logs, or a file by trace id.")
    ] = None,
    new_labels: Annotated[
        Path | None, typer.Option(help="File of labels of the new model, if it is another.")
    ] = None,
    group_field: Annotated[str | None, typer.Option(help="Field that names the problem.")] = None,
    answer_field: Annotated[str | None, typer.Option(help="Field of the final answer.")] = None,
    reward_threshold: Annotated[
        float | None, typer.Option(help="A reward at or above it is right.")
    ] = None,
    false_positive_rate: Annotated[
        float, typer.Option(help="Wrong answers that the judge lets pass; for rule observed.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of bootstrap and exchange test.")] = 0,
    output: Annotated[
        TableFormat, typer.Option("--format", help="text, json or md.")
    ] = TableFormat.TEXT,
) -> None:
    """Say whether training widened or narrowed what a model can reach.

    Each source is a log of traces, or a table with problem, correct, and perhaps sample, answer and
    token_entropy. Problems are matched by id.
    """
    from entropilot.cli.labels import label_source
    from entropilot.diagnosis import compare_support, support_samples
    from entropilot.report import print_support, support_json, support_markdown
    from entropilot.traces.reading.options import ReadOptions

    field, file = label_source(labels)
    graded = field is not None and reward_threshold is not None
    options = ReadOptions(
        label_field=None if graded else field,
        reward_field=field if graded else None,
        group_field=group_field,
        answer_field=answer_field,
    )
    first, second = (
        support_samples(source, labels=labelled, reward_threshold=reward_threshold, options=options)
        for source, labelled in ((base, file), (new, new_labels or file))
    )
    report = compare_support(
        first,
        second,
        k=k,
        rule=rule.value,
        false_positive_rate=false_positive_rate,
        seed=seed,
    )
    if output is TableFormat.JSON:
        print_json(support_json(report))
    elif output is TableFormat.MD:
        sys.stdout.write(support_markdown(report))
    else:
        print_support(report, out())
