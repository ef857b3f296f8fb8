"""A made-up but plausible assessment, with everything in it that a hostile model could write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pytest

from entropilot.diagnosis.assessment import (
    Assessment,
    Bucket,
    GroupView,
    Interval,
    Replay,
    ReplayPoint,
    Signal,
    Timing,
    TimingCell,
)
from entropilot.report.tokens import TokenMeasures
from entropilot.traces.table import Tokens, Traces, Vocabulary, ragged_offsets, trace_rows

HOSTILE = [
    b"</script><img src=x onerror=alert(1)>",
    b" <b>bold</b> & \"quoted\" 'single'",
    b"\x1b[31mred\x1b[0m\x07",
    "\u202eevil\u202c \u2066isolated\u2069".encode(),
    b"]]><!-- ${alert(2)} {{ 7*7 }} javascript:alert(3)",
    b"\xf0\x9f",
    b"\x98\x80",  # with the one before: an emoji in two tokens
    b" \xff\xc3",
    b"x" * 3000,
    b"\n\n",
    b"",
    b"\t \x00",
    "עברית العربية".encode(),
]
SENTENCE = (
    " Ben has 3 boxes with 12 pencils in each . He gives 5 pencils to Eva , so he keeps "
    "36 - 5 = 31 pencils . Wait , Eva gives 2 back . So Ben has 33 pencils . The answer is 33 ."
)


BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Measures:
    """Token measures with the names of the real ones."""

    entropy: Any
    jsd: Any
    instability: Any


@dataclass(frozen=True)
class SkippedLine:
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True)
class Reading:
    traces: int = 256
    formats: Mapping[str, int] = field(default_factory=lambda: {"OpenAI chat completion": 256})
    skipped_lines: int = 3
    skipped: tuple[SkippedLine, ...] = (
        SkippedLine("a.jsonl, line 3", "not JSON: <b>unexpected</b> end"),
        SkippedLine("a.jsonl, line 9", "no log-probabilities"),
    )

    def sentences(self) -> tuple[str, ...]:
        return ("3 lines could not be read.",)


def made_traces(lengths: list[int], seed: int = 0) -> tuple[Traces, TokenMeasures]:
    """Traces of the given lengths; the first holds the hostile pieces, whatever its length."""
    rng = np.random.default_rng(seed)
    words = [f" {word}".encode() for word in SENTENCE.split()]
    pieces = [*dict.fromkeys([*words, *HOSTILE, *(f" w{i}".encode() for i in range(30))])]
    entry = {piece: i for i, piece in enumerate(pieces)}
    taken = [
        [entry[p] for p in (HOSTILE if i == 0 else [words[t % len(words)] for t in range(n)])]
        for i, n in enumerate(lengths)
    ]
    piece = np.array([p for trace in taken for p in trace], dtype=np.int32)
    n_tokens, k = len(piece), 20
    sharpness = rng.gamma(1.2, 3.0, (n_tokens, 1)) + 0.2
    logits = np.sort(rng.gumbel(size=(n_tokens, k)) * sharpness)[:, ::-1]
    logprob = logits - np.log(np.exp(logits).sum(1, keepdims=True)) - 0.01
    top = np.argsort(rng.random((n_tokens, len(pieces))), axis=1)[:, :k].astype(np.int32)
    rank = np.minimum(rng.geometric(0.6, n_tokens) - 1, k - 1)
    for t in range(n_tokens):  # the token taken stands at its rank, and nowhere else
        other = np.flatnonzero(top[t] == piece[t])
        if len(other):
            top[t, other[0]] = top[t, rank[t]]
        top[t, rank[t]] = piece[t]
    lengths = [len(trace) for trace in taken]
    offsets = ragged_offsets(lengths)
    n = len(lengths)
    rows = trace_rows(
        {
            "id": [f"trace-{i:05d}" if i else "trace-<b>0</b>\u202e" for i in range(n)],
            "group": [f"problem-{i // 4}" for i in range(n)],
            "prompt": [
                "Ben has 3 boxes with 12 pencils.\nHow many pencils has he?" for _ in range(n)
            ],
            "reference": ["33" for _ in range(n)],
            "answer": ["<script>alert(9)</script>" if i == 0 else "31" for i in range(n)],
            "correct": [bool(i % 3 == 0) for i in range(n)],
            "finish_reason": ["stop" for _ in range(n)],
            "model": ["made-up-1B" for _ in range(n)],
            "temperature": [0.7 for _ in range(n)],
            "logprobs_kind": ["raw" for _ in range(n)],
            "source": ["traces.jsonl" for _ in range(n)],
            "line": list(range(1, n + 1)),
        },
        n,
    )
    tokens = Tokens(
        offsets,
        piece,
        logprob[np.arange(n_tokens), rank].astype(np.float32),
        top,
        logprob.astype(np.float32),
        np.full(n_tokens, k, np.int16),
    )
    p = np.exp(logprob) / np.exp(logprob).sum(1, keepdims=True)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
    jsd = rng.beta(9, 1, n_tokens) * np.log(2)
    jsd[offsets[:-1][np.asarray(lengths) > 0]] = np.nan
    traces = Traces(rows, tokens, Vocabulary.from_pieces(pieces))
    return traces, Measures(entropy, jsd, jsd + entropy)


def _signal(name: str, label: str, strength: float, rng: np.random.Generator) -> Signal:
    alarm = np.linspace(0, 1, 41)
    roc = tuple((float(x), float(x ** (1 / strength))) for x in alarm)
    auc = 1 / (1 + 1 / strength)
    half = 0.05 + 0.02 * float(rng.random())
    return Signal(name, label, Interval(auc, auc - half, auc + half), 54, 202, roc)


def made_assessment(n_flagged: int = 64, n_exemplars: int = 12) -> tuple[Assessment, TokenMeasures]:
    rng = np.random.default_rng(1)
    lengths = [
        len(HOSTILE),
        40,
        1,
        0,
        900,
        *rng.integers(20, 160, max(n_exemplars - 5, 0)).tolist(),
    ]
    exemplars, measures = made_traces(lengths[:n_exemplars])
    ids = [
        *exemplars.rows["id"].to_list(),
        *(f"onestep-{i // 4}-{i % 4}-s{i % 7}" for i in range(n_exemplars, n_flagged)),
    ][:n_flagged]
    score = np.sort(rng.gamma(9, 0.28, n_flagged))[::-1]
    position = rng.beta(0.8, 1.5, n_flagged)
    chance = np.clip(0.55 + 0.12 * (score - 2), 0.02, 0.97)
    flagged = pl.DataFrame(
        {
            "id": ids,
            "group": [f"problem-{i // 4}" for i in range(n_flagged)],
            "correct": [
                None if i % 11 == 0 else bool(rng.random() > c) for i, c in enumerate(chance)
            ],
            "score": score,
            "p_wrong": chance,
            "p_wrong_low": np.clip(chance - 0.12, 0, 1),
            "p_wrong_high": np.clip(chance + 0.09, 0, 1),
            "peak_token": (position * 120).astype(int),
            "peak_step": (position * 8).astype(int),
            "peak_position": position,
            "timing": np.where(
                position < 0.25, "early", np.where(position < 0.5, "middle", "late")
            ),
            "reason": [
                f"peak instability {s:.3f}, above {c:.0%} of traces; peak at token {i} of {2 * i}"
                for i, (s, c) in enumerate(zip(score, chance, strict=True))
            ],
        }
    )
    signals = tuple(
        _signal(name, label, strength, rng)
        for name, label, strength in (
            ("instability_peak", "peak instability", 1.6),
            ("entropy_mean", "mean entropy", 2.4),
            ("surprisal_mean", "mean surprisal", 2.1),
            ("entropy_max", "largest entropy", 1.3),
            ("n_tokens", "length", 1.6),
            ("probability_min", "smallest token probability", 0.7),
            ("jsd_mean", "mean divergence", 0.6),
        )
    )
    shares = (0.31, 0.25, 0.22, 0.2, 0.1)
    buckets = tuple(
        Bucket(0.7 + 0.55 * i, 1.25 + 0.55 * i, 51, round(51 * p), Interval(p, p - 0.09, p + 0.12))
        for i, p in enumerate(shares)
    )
    cells = tuple(
        TimingCell(f, when, 12 + 3 * f, round((12 + 3 * f) * share * (1.1 - 0.15 * f)))
        for f in range(5)
        for when, share in (("early", 0.46), ("middle", 0.35), ("late", 0.16))
    )
    points = tuple(
        ReplayPoint(3.5 - x, x, x * 0.8, Interval(0.21 + 0.05 * x - 0.12 * x**3, 0.17, 0.29))
        for x in np.linspace(0, 0.6, 13).tolist()
    )
    chance_line = tuple(
        ReplayPoint(
            p.threshold, p.share, p.tokens_saved, Interval(0.21 - 0.05 * p.share, 0.15, 0.24)
        )
        for p in points
    )
    replays = (
        Replay(
            "early stop",
            "instability_peak",
            Interval(0.21, 0.16, 0.27),
            chance_line,
            points,
            points[4],
            Interval(2.5, 2.2, 2.9),
            "Stopping at 2.50 nats saves 16% of the tokens and keeps the accuracy.",
        ),
        Replay(
            "route",
            "entropy_mean",
            Interval(0.21, 0.16, 0.27),
            chance_line,
            chance_line,
            None,
            None,
            "No saving to be had: the curve stays within the interval of the random line.",
        ),
    )
    groups = GroupView(
        pl.DataFrame(
            {
                "group": [f"problem-{i}" for i in range(64)],
                "n": [4] * 64,
                "n_right": [i % 5 for i in range(64)],
                "answer_entropy": rng.random(64) * 1.38,
                "majority_answer": [str(i) for i in range(64)],
                "majority_share": rng.random(64) * 0.5 + 0.5,
                "majority_right": [bool(i % 3 == 0) for i in range(64)],
            }
        ),
        tuple((k, Interval(1 - 0.79**k, 0.9 - 0.79**k, 1.05 - 0.79**k)) for k in (1, 2, 3, 4)),
        Interval(0.25, 0.16, 0.36),
        Interval(0.64, 0.5, 0.77),
        13,
        13,
    )
    edges = tuple(float(x) for x in np.linspace(0, 4.5, 19))
    counts = tuple(int(x) for x in np.histogram(rng.gamma(9, 0.28, 256), edges)[0])
    made = Assessment(
        headline=(
            f"{n_flagged} of 256 traces look failing: three in four of them are expected to be "
            "wrong.",
            "They peak early, half of them within the first quarter of their tokens; the strongest "
            "is trace onestep-9-2-s1, at token 7 (step 2), with 4.1 nats.",
            "The signal is weak here: the area under the curve is 0.62 [0.55, 0.68], and mean "
            "entropy does better.",
        ),
        n_traces=256,
        n_tokens=8247,
        n_labelled=256,
        n_wrong=202,
        signal="instability_peak",
        threshold=float(score[-1]) if n_flagged else None,
        flagged=flagged,
        signals=signals,
        prefix=tuple(
            (w, _signal("instability_peak", f"first {w}", s, rng))
            for w, s in ((10, 1.3), (20, 1.4), (50, 1.5), (100, 1.55))
        ),
        buckets=buckets,
        timing=Timing(cells, Interval(1.9, 1.05, 3.4), 31, 44, 17),
        groups=groups,
        replays=replays,
        next_steps=(
            "Look at the 12 traces that peak late first: 84% of such traces are wrong.",
            "Flag by mean entropy in place of peak instability: AUC 0.70 against 0.62.",
            "Sample 8 answers for the 13 problems that are never solved, or leave them out.",
        ),
        notes=("Bootstrap over 64 problems.", "Trace <i>9</i> has no label."),
        exemplars=exemplars,
        histograms={
            "instability_peak": (edges, counts),
            "entropy": (edges, counts),
            "n_tokens": (tuple(60 * e for e in edges), counts),
        },
    )
    return made, measures


@pytest.fixture(scope="session")
def assessment() -> Assessment:
    return made_assessment()[0]


@pytest.fixture(scope="session")
def measures() -> TokenMeasures:
    return made_assessment()[1]


@pytest.fixture(scope="session")
def make_assessment() -> Callable[..., tuple[Assessment, TokenMeasures]]:
    return made_assessment


@pytest.fixture(scope="session")
def make_traces() -> Callable[..., tuple[Traces, TokenMeasures]]:
    return made_traces


@pytest.fixture(scope="session")
def reading() -> Reading:
    return Reading()


@pytest.fixture(scope="session")
def empty() -> Assessment:
    """An assessment of nothing."""
    from entropilot.traces.table import empty_traces

    full = made_assessment()[0]
    return Assessment(
        headline=(), n_traces=0, n_tokens=0, n_labelled=0, n_wrong=0, signal="instability_peak",
        threshold=None, flagged=full.flagged.head(0), signals=(), prefix=(), buckets=(),
        timing=None, groups=None, replays=(), next_steps=(), notes=(), exemplars=empty_traces(),
    )  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium on PATH; set CHROMIUM to one")
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=found, args=BROWSER_FLAGS)
        yield launched
        launched.close()
