"""The metrics file of a run: one JSON object a line, and what its numbers mean."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from entropilot.errors import InputError
from entropilot.files import write_atomically

METRICS_NAME: Final = "metrics.jsonl"

#: Meaning, unit and token set of what every run logs; terms add ``<term>/<quantity>``.
MEANINGS: Final[dict[str, str]] = {
    "step": "rollout batches done, this one included",
    "reward": "mean reward of the step's answers, before reward terms",
    "shaped_reward": "mean reward after reward terms",
    "accuracy": "share of the step's answers that the verifier calls right",
    "entropy": "mean entropy of the sampling distributions over the step's answer tokens, nats",
    "temperature": "of sampling, and of every distribution that is measured",
    "length": "mean answer tokens, end token included",
    "truncated": "share of answers stopped by the length limit",
    "n_tokens": "answer tokens of the step",
    "n_answers": "answers of the step",
    "verifier/raised": "answers of the step on which the verifier raised; they are worth 0",
    "verifier/timed_out": "answers on which it took longer than its limit; they are worth 0",
    "verifier/died": "answers on which its process died; they are worth 0",
    "frac_zero_std_groups": "share of groups with one and the same reward: they teach nothing",
    "frac_all_right_groups": "share of groups in which every answer is right",
    "frac_all_wrong_groups": "share of groups in which every answer is wrong",
    "tokens_all_right": "answer tokens of the step in groups in which every answer is right",
    "tokens_all_wrong": "answer tokens of the step in groups in which every answer is wrong",
    "dead_tokens": "share of the step's tokens in groups that teach nothing",
    "loss": "loss of the objective, mean over the step's updates",
    "grad_norm": "norm of the gradient before clipping, mean over updates",
    "learning_rate": "of the step",
    "kept_fraction": "share of tokens left by masks, mean over updates",
    "surrogate/loss": "the per-token loss after aggregation, before regularisers",
    "surrogate/clip_fraction": "share of tokens whose gradient a ratio clip has stopped",
    "surrogate/clip_fraction_up": "the part of it with a positive advantage",
    "surrogate/approx_kl": "mean of old minus current log-prob, nats",
    "logprob_gap": "mean |log-prob of the trainer - of the sampler| at the first update, nats",
    "logprob_gap/k3": "estimate of KL(sampler || trainer) at the first update, nats",
    "logprob_gap/largest": "largest of these differences, nats",
    "logprob_gap/missing_mass": "probability that a truncated sampler leaves out, 0 where whole",
    "covariance": "covariance of log-prob and advantage over the tokens of the first update",
    "predicted_entropy_change": "change of the mean entropy by the theory of one token, nats",
    "entropy_change": "change of the mean entropy in the step, on its own answers, nats",
    "entropy_change/first_order": "that change to first order: gradient times the step taken, nats",
    "covariance/top_0.002": "mean covariance of the top 0.2 % of the tokens",
    "covariance/top_0.02": "mean covariance of the top 2 % of the tokens",
    "covariance/top_0.2": "mean covariance of the top 20 % of the tokens",
    "covariance/top_0.5": "mean covariance of the top half of the tokens",
    "covariance/top_1": "mean covariance of all tokens",
    "control/value": "value in this step of the knob that a controller turns",
    "control/set_point": "what a controller wants of its quantity in this step, in its unit",
    "control/error": "set point minus the smoothed quantity, as a share of the set point",
    "control/at_limit": "1 where the knob was at one of its limits, else 0",
    "seconds": "of the step",
    "seconds_rollout": "of drawing the answers",
    "tokens_per_second": "answer tokens of the step by its seconds",
    "eval/pass@1": "mean accuracy on the fixed problems",
    "eval/entropy": "mean token entropy on the fixed problems, nats",
    "eval/distinct": "mean number of different right answers a problem",
    "eval/length": "mean answer tokens on the fixed problems",
}

#: Names of the same quantities in other trainers' logs.
ALIASES: Final[dict[str, str]] = {
    "actor/entropy": "entropy",
    "actor/entropy_loss": "entropy",  # an entropy, not a loss
    "train/entropy": "entropy",
    "entropy_loss": "entropy",
    "critic/rewards/mean": "reward",
    "train/reward": "reward",
    "rollout/raw_reward": "reward",
    "response_length/mean": "length",
    "completions/mean_length": "length",
    "train/completions/mean_length": "length",
    "response_length/clip_ratio": "truncated",
    "completions/clipped_ratio": "truncated",
    "actor/pg_clipfrac": "surrogate/clip_fraction",
    "clip_ratio/region_mean": "surrogate/clip_fraction",
    "actor/ppo_kl": "surrogate/approx_kl",
    "frac_reward_zero_std": "frac_zero_std_groups",
    "actor/grad_norm": "grad_norm",
    "actor/lr": "learning_rate",
}


def canonical_name(name: str) -> str:
    """Our name of a quantity that another trainer logs, or the name itself.

    Examples:
        >>> canonical_name("actor/entropy_loss"), canonical_name("actor/surrogate/clip_fraction")
        ('entropy', 'surrogate/clip_fraction')
    """
    plain = name.removeprefix("actor/").removeprefix("train/")  # of our own names in hosts' logs
    return ALIASES.get(name, plain if plain in MEANINGS else name)


def append_metrics(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row, whole and on disk before this returns; nan and infinities become null.

    Raises:
        InputError: it can't be written, for example because the disk is full.
    """
    line = json.dumps({k: _plain(v) for k, v in row.items()}, allow_nan=False) + "\n"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"{path} can't be written: {error.strerror}. Free some space and run again; the run "
            "goes on from the last checkpoint"
        ) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole rows; a last line cut off by a kill is left out.

    Raises:
        InputError: the file is no text, a line before the last is no JSON, or a row has no number
            of its step.
    """
    return list(_rows(path)) if path.is_file() else []


def keep_steps(path: Path, last: int) -> list[dict[str, Any]]:
    """Drop rows after step ``last``, as when a run goes on from an earlier checkpoint."""
    rows = [row for row in read_metrics(path) if int(row["step"]) <= last]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(path, text)
    return rows


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no text (byte {error.start}); give a metrics.jsonl, one JSON object a line"
        ) from error
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                return
            raise InputError(f"{path}, line {number}, is no JSON: {error}") from error
        if not isinstance(row, dict) or "step" not in row:
            raise InputError(f"{path}, line {number}, is no row of metrics with a step")
        step = row["step"]
        if isinstance(step, bool) or not isinstance(step, int | float) or not abs(step) < 2**63:
            shown = f"{step!r:.40}"
            raise InputError(f"{path}, line {number}: step is {shown}, expected a finite number")
        yield row


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
