"""``entropilot score``: phase entropies and PEAR's reward of answers on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entropilot.cli.checks import check_output
from entropilot.cli.console import INTERRUPTED, err, fail

if TYPE_CHECKING:
    import polars as pl


def score(
    source: Annotated[
        Path,
        typer.Argument(
            help="Log of answers, or JSONL of {tokens, entropies, correct}, one answer a line."
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(help="Right or wrong: a field of the log, or a file by trace id."),
    ] = None,
    reward_threshold: Annotated[
        float | None, typer.Option(help="A reward at or above it is right.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Share of the answer's entropy that excuses the thinking's.")
    ] = 1.0,
    right: Annotated[float, typer.Option(help="Reward of a right answer without penalty.")] = 1.0,
    wrong: Annotated[float, typer.Option(help="Reward of a wrong answer.")] = 0.0,
    floor: Annotated[
        float | None, typer.Option(help="Least reward of a right answer; by default none.")
    ] = None,
    think_end: Annotated[
        str,
        typer.Option(help="Text that ends thinking; or its token ids, as in 151668 or 12,7."),
    ] = "</think>",
    think_start: Annotated[
        str | None, typer.Option(help="Text that begins it, not to be counted as thinking.")
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option(min=2, help="Of the model; tells entropies in bits.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="JSONL, .csv or .parquet file. [standard output]"),
    ] = None,
) -> None:
    """Write the entropy of thinking and answering of each answer, and PEAR's reward.

    The entropy of a token is that of the whole vocabulary where the log has it, else a lower bound
    from the listed alternatives, else the surprisal of the token.
    """
    from entropilot.policy.phase_scoring import (
        is_phase_lines,
        read_phase_lines,
        score_summary,
        with_pear_reward,
    )

    check_output(output, [source], example="rewards.jsonl")
    ids = [part.strip() for part in think_end.split(",")]
    tag: Any = [int(part) for part in ids] if all(p.isdigit() for p in ids) else think_end
    try:
        if source.is_file() and is_phase_lines(source):
            phases = read_phase_lines(source, tag, vocab_size)
            phases = _labelled(phases, labels, None)
        else:
            phases = _from_log(source, labels, reward_threshold, think_end, think_start)
        scored = with_pear_reward(phases, alpha, right, wrong, floor)
        _write(output, scored)
    except KeyboardInterrupt:
        fail("interrupted; nothing is written", INTERRUPTED)
    for line in _summary_lines(score_summary(scored), scored):
        err().print(line, markup=False, soft_wrap=True)


def _from_log(
    source: Path, labels: str | None, threshold: float | None, end_tag: str, start_tag: str | None
) -> pl.DataFrame:
    import polars as pl

    from entropilot.cli.labels import label_source
    from entropilot.diagnosis.labels import correct_from_reward
    from entropilot.policy.phase_scoring import phase_table
    from entropilot.traces.reading.options import ReadOptions
    from entropilot.traces.reading.sources import read_traces

    field, _ = label_source(labels)
    graded = field is not None and threshold is not None
    options = ReadOptions(
        label_field=None if graded else field, reward_field=field if graded else None
    )
    parts = []
    for batch in read_traces(source if str(source) != "-" else "-", options=options):
        part = phase_table(batch.traces, end_tag, start_tag)
        if threshold is not None:
            frame = part.with_columns(reward=batch.traces.rows["reward"])
            part = correct_from_reward(frame, threshold).drop("reward")
        parts.append(part)
    from entropilot.errors import InputError

    if not parts:
        raise InputError(f"{source} holds no answers")
    return _labelled(pl.concat(parts), labels, threshold)


def _labelled(phases: pl.DataFrame, labels: str | None, threshold: float | None) -> pl.DataFrame:
    from entropilot.cli.labels import label_source
    from entropilot.diagnosis.labels import join_labels

    _, file = label_source(labels)
    if file is None:
        return phases
    frame = join_labels(phases, file, reward_threshold=threshold).frame
    return frame.select(phases.columns)


def _write(output: Path | None, scored: pl.DataFrame) -> None:
    if output is None or str(output) == "-":
        sys.stdout.write(scored.write_ndjson())
        return
    from entropilot.files import replacing

    with replacing(output) as temporary:
        if output.suffix == ".csv":
            scored.write_csv(temporary)
        elif output.suffix == ".parquet":
            scored.write_parquet(temporary)
        else:
            scored.write_ndjson(temporary)
    err().print(f"written: {output}", markup=False, soft_wrap=True)


def _summary_lines(found: dict[str, Any], scored: pl.DataFrame) -> list[str]:
    from entropilot.report.wording import plural

    def shown(name: str) -> str:
        return "none" if found[name] is None else f"{found[name]:.3f}"

    kinds = ", ".join(sorted(set(scored["measure"].to_list())))
    lines = [
        f"{plural(found['n'], 'answer')}, {found['n_scored']:,} with a reward; measured by {kinds}",
        f"mean entropy: thinking {shown('h_think')}, answer {shown('h_answer')} nats; penalty "
        f"{shown('penalty')}, reward {shown('reward')}",
    ]
    if found["variance_share"] is not None:
        lines.append(
            f"{found['variance_share']:.0%} of the reward's variance comes from the penalty"
        )
    missing = found["missing_tag_share"]
    if missing is not None and missing > 0.2:
        lines.append(
            f"{missing:.0%} of the answers have no tag that ends thinking; all their tokens count "
            "as thinking. Are they cut by the length limit, or is the tag another (--think-end)?"
        )
    unscored = found["n"] - found["n_scored"]
    if unscored:
        lines.append(
            f"{plural(unscored, 'answer has', 'answers have')} no reward: right or wrong is not "
            "known (--labels, --reward-threshold), or they hold no log-probabilities"
        )
    return lines
