"""What is said first: how many traces look failing, which, where, how sure; and what to do next.

Sentences carry their numbers. Without labels nothing here speaks of a probability of error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from entropilot.diagnosis.assessment import GroupView, Interval, Replay, Signal, Timing
from entropilot.diagnosis.calibration import Calibration
from entropilot.diagnosis.replay_points import NO_SAVING
from entropilot.diagnosis.signals import Choice, signal_label


@dataclass(frozen=True)
class Facts:
    """What the sentences are made of."""

    n_traces: int
    n_labelled: int
    n_wrong: int
    wrong_share: Interval | None  # of the labelled traces
    choice: Choice | None
    threshold: float | None
    flagged: pl.DataFrame
    signal: Signal | None  # the chosen signal on the labelled traces
    calibration: Calibration | None
    expected_wrong: float | None  # among the unlabelled, by calibration
    groups: GroupView | None
    group_tokens: tuple[int, int]  # tokens of groups all right, and all wrong
    rate: float
    confidence: float
    lengths: tuple[int, int, int] | None = None  # characters a text: least, median, most


def headline(facts: Facts) -> tuple[str, ...]:
    """How many traces look failing, which, where, and how sure that is.

    Args:
        facts: what was found.

    Returns:
        Plain sentences, the most important first.

    Examples:
        >>> headline(Facts(0, 0, 0, None, None, None, pl.DataFrame(), None, None, None, None,
        ...     (0, 0), 0.1, 0.95))
        ('There are no traces.',)
    """
    if facts.n_traces == 0:
        return ("There are no traces.",)
    said = [*_how_many(facts), *_which(facts), *_how_sure(facts)]
    return tuple(said)


def next_steps(
    facts: Facts, replays: Sequence[Replay], timing: Timing | None = None
) -> tuple[str, ...]:
    """What to do next, each a sentence with its number.

    Args:
        facts: what was found.
        replays: policies replayed on these traces.
        timing: early against late peaks, where labels allow it.

    Returns:
        Sentences, the most useful first.

    Examples:
        >>> facts = Facts(10, 0, 0, None, None, None, pl.DataFrame(), None, None, None, None,
        ...     (0, 0), 0.1, 0.95)
        >>> next_steps(facts, ())[0][:40]
        'Record log-probabilities: set logprobs a'
    """
    steps = []
    if facts.choice is None and facts.n_traces:
        steps.append(
            "Record log-probabilities: set logprobs and top_logprobs (20) in the request, or "
            "return_logprobs in the engine, and read the new log."
        )
    if facts.n_labelled == 0 and facts.n_traces:
        n = min(50, facts.n_traces)
        steps.append(
            f"Label {n} traces, half of them flagged and half not: from 10 right and 10 wrong ones "
            "on, thresholds come with probabilities and policies can be replayed."
        )
    elif 0 < facts.n_labelled < facts.n_traces and facts.calibration is None:
        steps.append(
            f"Label more: {facts.n_labelled} of {facts.n_traces} traces have a label, too few or "
            "too alike to calibrate the rest."
        )
    if facts.flagged.height and facts.choice is not None:
        n = facts.flagged.height
        which = "the flagged trace from its" if n == 1 else f"the {n} flagged traces from their"
        steps.append(f"Read {which} peak token on, the most suspicious first.")
    steps += [replay.verdict for replay in replays if NO_SAVING not in replay.verdict]
    idle = [replay for replay in replays if NO_SAVING in replay.verdict]
    if idle:
        names = ", ".join(dict.fromkeys(replay.policy for replay in idle))
        steps.append(
            f"Leave these off for now, for no gain over chance could be shown at the rate of "
            f"{facts.rate:.0%}: {names}."
        )
    steps += _dead_groups(facts)
    if timing is not None and timing.odds_ratio is not None and timing.odds_ratio.low > 1:
        steps.append(
            "Look at late peaks first: at equal size an early peak has "
            f"{timing.odds_ratio.value:.1f} times the odds of a right answer."
        )
    return tuple(steps)


def interval_words(interval: Interval, percent: bool = True) -> str:
    """A value with its interval, for reading.

    Args:
        interval: value and ends.
        percent: as per cent, without places; otherwise with two places.

    Returns:
        For example "79% [72, 86]".

    Examples:
        >>> interval_words(Interval(0.7, 0.6, 0.8)), interval_words(Interval(0.7, 0.6, 0.8), False)
        ('70% [60, 80]', '0.70 [0.60, 0.80]')
    """
    value, low, high = interval.value, interval.low, interval.high
    if percent:
        return f"{value:.0%} [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _how_many(facts: Facts) -> list[str]:
    said = []
    if facts.wrong_share is not None:
        whole = "" if facts.n_labelled == facts.n_traces else " labelled"
        said.append(
            f"{facts.n_wrong:,} of {facts.n_labelled:,}{whole} traces are wrong: "
            f"{interval_words(facts.wrong_share)}."
        )
        rest = facts.n_traces - facts.n_labelled
        if facts.expected_wrong is not None and rest:
            said.append(
                f"Of the {rest} without a label about {facts.expected_wrong:.0f} are expected to "
                "be wrong."
            )
    if facts.choice is None:
        said.append(
            "The traces hold no log-probabilities, so no trace can be ranked by its entropy; "
            "answers, lengths and rewards are all there is to judge by."
        )
    elif not facts.n_labelled:
        said.append(
            f"{facts.flagged.height:,} of {facts.n_traces:,} traces look suspicious, by "
            f"{signal_label(facts.choice.name)}"
            + (" or by departing from their group's majority" if _by_majority(facts) else "")
            + "."
        )
    return said


def _which(facts: Facts) -> list[str]:
    flagged, choice = facts.flagged, facts.choice
    if not flagged.height:
        return []
    said = []
    judged = flagged["correct"].drop_nulls()
    if choice is not None and facts.threshold is not None and judged.len():
        n_wrong = int((~judged).sum())
        base = facts.n_wrong / facts.n_labelled
        said.append(
            f"{flagged.height:,} {'trace is' if flagged.height == 1 else 'traces are'} flagged, "
            f"{signal_label(choice.name)} from {facts.threshold:.2f} on: {n_wrong:,} of the "
            f"{judged.len():,} with a label {'is' if n_wrong == 1 else 'are'} wrong "
            f"({n_wrong / judged.len():.0%}, against {base:.0%} overall)."
        )
    first = flagged.row(0, named=True)
    if first["peak_token"] is not None:
        step = "" if first["peak_step"] is None else f", in step {first['peak_step']}"
        said.append(
            f"The most suspicious is {first['id']}: its largest instability is at token "
            f"{first['peak_token']}{step}, {first['peak_position']:.0%} of the way."
        )
        times = flagged["timing"].drop_nulls()
        count = {name: int((times == name).sum()) for name in ("early", "middle", "late")}
        said.append(
            f"Of the flagged traces' peaks {count['early']} lie early, {count['middle']} in the "
            f"middle and {count['late']} late."
        )
    return said


def _how_sure(facts: Facts) -> list[str]:
    if facts.choice is None:
        return _answers_only(facts)
    if not facts.n_labelled:
        return [
            "How sure: without labels this is an order of suspicion, not a probability of error."
        ]
    auc = None if facts.signal is None else facts.signal.auc
    if auc is None:
        why = "" if facts.signal is None else f" ({facts.signal.note})"
        return [f"How sure: the labels can't tell how well the signal does{why}."]
    said = (
        f"How sure: {signal_label(facts.choice.name)} ranks a wrong trace above a right one "
        f"{interval_words(auc)} of the time"
    )
    said += ", where chance is 50%"
    if auc.low <= 0.5 <= auc.high:
        said += "; the interval includes chance"
    held_out = facts.choice.auc_held_out
    if held_out is not None and not math.isnan(held_out):
        said += f"; {held_out:.0%} where the signal was chosen on other problems"
    return [said + "."]


def _answers_only(facts: Facts) -> list[str]:
    groups = facts.groups
    said = []
    if facts.lengths is not None:
        low, middle, high = facts.lengths
        said.append(
            f"The texts are {low:,} to {high:,} characters long, half of them {middle:,} or more."
            if low < high
            else f"Every text is {low:,} characters long."
        )
    if groups is None:
        return said
    entropies = groups.frame["answer_entropy"].drop_nulls()
    if entropies.len():
        split = int((entropies > 0).sum())
        said.append(
            f"Samples disagree on the answer in {split} of {entropies.len()} problems; mean answer "
            f"entropy {float(entropies.mean()):.2f} nats."  # type: ignore[arg-type]
        )
    if groups.pass_at_k:
        k, share = groups.pass_at_k[-1]
        said.append(f"pass@{k} is {interval_words(share)}.")
    return said


def _by_majority(facts: Facts) -> bool:
    if facts.threshold is None:
        return True
    below = facts.flagged["score"].fill_null(-math.inf) < facts.threshold
    return bool(below.any())


def _dead_groups(facts: Facts) -> list[str]:
    groups = facts.groups
    if groups is None or not groups.n_all_right + groups.n_all_wrong:
        return []
    right_tokens, wrong_tokens = facts.group_tokens
    return [
        f"For training, {groups.n_all_wrong} of {groups.frame.height} problems are all wrong (too "
        f"hard; {wrong_tokens} tokens) and {groups.n_all_right} all right (too easy; "
        f"{right_tokens} tokens): groups without spread give no gradient, so filter "
        "them or sample more."
    ]
