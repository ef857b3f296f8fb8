"""Replays: a perfect signal saves, noise does not, and every policy is held against chance."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.diagnosis.assessment import Interval, Replay
from entropilot.diagnosis.replay import replay_drop, replay_route
from entropilot.diagnosis.replay_points import judged, threshold_interval, thresholds_at
from entropilot.diagnosis.replay_stop import replay_early_stop, replay_prefix_stop
from entropilot.diagnosis.replay_vote import replay_vote
from entropilot.errors import InputError

N = 200
RNG = np.random.default_rng(0)
RIGHT = RNG.random(N) < 0.6
GROUPS = np.arange(N) // 4
LENGTH = RNG.integers(20, 60, N)
PERFECT = np.where(RIGHT, 0.0, 1.0) + RNG.random(N) / 100
NOISE = RNG.normal(size=N)
OFFSETS = np.concatenate([[0], np.cumsum(LENGTH)])
ANSWERS = pl.Series(["right" if r else f"w{i % 3}" for i, r in enumerate(RIGHT)])


def token_values(score: np.ndarray) -> np.ndarray:
    """Each token of a trace carries the score of its trace, from the tenth token on."""
    position = np.arange(OFFSETS[-1]) - np.repeat(OFFSETS[:-1], LENGTH)
    return np.where(position < 10, -5.0, np.repeat(score, LENGTH))


def replays(score: np.ndarray, rate: float) -> dict[str, Replay]:
    return {
        "drop": replay_drop(score, RIGHT, GROUPS, rate=rate),
        "route": replay_route(score, RIGHT, GROUPS, n_tokens=LENGTH, rate=rate),
        "prefix": replay_prefix_stop(score, RIGHT, GROUPS, window=10, n_tokens=LENGTH, rate=rate),
        "tokens": replay_early_stop(
            token_values(score), OFFSETS, RIGHT, GROUPS, window=4, rate=rate
        ),
        "vote": replay_vote(score, ANSWERS, RIGHT, GROUPS, n_tokens=LENGTH, window=10, rate=rate),
    }


def test_a_perfect_signal_saves_with_every_policy() -> None:
    for name, replay in replays(PERFECT, 0.3).items():
        assert replay.verdict.endswith("better than chance."), name
        assert replay.chosen is not None
        assert replay.chosen.accuracy.value > replay.baseline.value, name


@pytest.mark.parametrize("name", ["drop", "route", "prefix", "tokens", "vote"])
def test_noise_gets_the_plain_verdict(name: str) -> None:
    assert replays(NOISE, 0.3)[name].verdict.endswith("no saving to be had.")


def test_noise_is_rarely_called_a_gain() -> None:
    called = 0
    for seed in range(40):
        score = np.random.default_rng(seed).normal(size=N)
        called += "better" in replay_drop(score, RIGHT, GROUPS, rate=0.3).verdict
    assert called <= 5  # 2.5 % are expected; more than 5 of 40 has a probability of 2e-4


def test_drop_by_hand() -> None:
    found = replay_drop(PERFECT, RIGHT, rate=0.2)
    assert found.chosen is not None
    kept = N - round(0.2 * N)
    assert found.chosen.share == pytest.approx(0.2)
    assert found.chosen.accuracy.value == pytest.approx(RIGHT.sum() / kept)
    assert found.chosen.tokens_saved == 0
    assert all(p.accuracy.value == found.baseline.value for p in found.random)
    shares = [p.share for p in found.curve]
    assert shares == sorted(shares)
    assert shares[0] >= 0.05
    assert shares[-1] < 1


def test_route_by_hand() -> None:
    found = replay_route(
        PERFECT, RIGHT, rate=0.2, larger=0.5, cost_ratio=4.0, handover_cost=2.0, n_tokens=LENGTH
    )
    handed = found.chosen.threshold <= PERFECT
    accuracy = (RIGHT & ~handed).sum() + 0.5 * handed.sum()
    assert found.chosen.accuracy.value == pytest.approx(accuracy / N)
    cost = LENGTH.sum() + 4 * LENGTH[handed].sum() + 2 * handed.sum()
    assert found.chosen.tokens_saved == pytest.approx(1 - cost / (4 * LENGTH.sum()))
    assert "assumed to be right 50%" in found.verdict


def test_route_takes_recorded_answers_of_the_larger_model() -> None:
    found = replay_route(PERFECT, RIGHT, rate=0.3, larger=np.ones(N))
    assert found.chosen is not None
    assert found.chosen.accuracy.value == pytest.approx(RIGHT.mean() + 0.3, abs=0.01)
    assert "assumed" not in found.verdict


def test_a_larger_model_that_is_no_better_saves_nothing() -> None:
    found = replay_route(NOISE, RIGHT, rate=0.3, larger=RIGHT.astype(float))
    assert found.chosen.accuracy.value == found.baseline.value
    assert "no saving" in found.verdict


def test_tokens_saved_by_hand() -> None:
    found = replay_prefix_stop(PERFECT, RIGHT, window=10, n_tokens=LENGTH, rate=0.3)
    stopped = found.chosen.threshold <= PERFECT
    assert found.chosen.tokens_saved == pytest.approx((LENGTH[stopped] - 10).sum() / LENGTH.sum())
    # The running mean over 4 tokens is whole at token 14, four tokens after the signal starts.
    running = replay_early_stop(token_values(PERFECT), OFFSETS, RIGHT, window=4, rate=0.3)
    expected = (LENGTH[stopped] - 14).sum() / LENGTH.sum()
    assert running.chosen.tokens_saved == pytest.approx(expected)


def test_running_means_stay_within_their_trace() -> None:
    values = np.array([9.0, 9.0, 9.0, 0.0, 0.0, 0.0, np.nan, 3.0, 3.0])
    found = replay_early_stop(
        values, np.array([0, 3, 6, 9]), np.array([False, True, True]), window=3, rate=0.4
    )
    # running means at the last tokens are 9, 0 and 3 (the missing value is left out)
    assert found.chosen.threshold == 3.0
    assert found.chosen.share == pytest.approx(2 / 3)
    assert found.chosen.tokens_saved == 0.0


def test_short_traces_cannot_be_stopped() -> None:
    length = np.where(np.arange(N) < N // 2, 5, 40)
    found = replay_prefix_stop(np.arange(N)[::-1] / N, RIGHT, window=10, n_tokens=length, rate=0.1)
    assert found.chosen.tokens_saved > 0
    with pytest.raises(InputError, match="no trace with a score is longer than 50 tokens"):
        replay_prefix_stop(PERFECT, RIGHT, window=50, n_tokens=length, rate=0.1)


def test_vote_by_hand() -> None:
    # Two wrong samples outvote a right one until they are dropped; a problem never loses all.
    answers = pl.Series(["1", "2", "2", "3", None])
    right = np.array([True, False, False, True, False])
    groups = np.array([0, 0, 0, 1, 1])
    found = replay_vote(np.array([0.0, 8, 9, 7, 6]), answers, right, groups, rate=0.5)
    assert found.baseline.value == 0.5
    assert found.chosen.share == pytest.approx(0.6)
    assert found.chosen.accuracy.value == 0.5  # 3 is dropped, and the rest of its problem is mute
    every = replay_vote(np.array([0.0, 8, 9, 7, 7.5]), answers, right, groups, rate=0.7)
    assert every.chosen.accuracy.value == 1.0  # all of problem 1 flagged: its best one stays


def test_traces_without_a_score_are_never_acted_on() -> None:
    score = PERFECT.copy()
    score[:50] = np.nan
    found = replay_drop(score, RIGHT, rate=0.9)
    assert found.chosen.share <= 0.75
    assert found.threshold is not None


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=12, max_size=12), st.floats(0.05, 0.9))
def test_thresholds_act_on_at_least_their_share(score: list[float], rate: float) -> None:
    values = np.array(score)
    threshold = thresholds_at(values, (rate,))[0]
    assert (values >= threshold).mean() >= rate - 1e-9
    assert (values > threshold).mean() <= rate + 1e-9


def test_threshold_interval_covers_the_true_quantile() -> None:
    hits = 0
    for seed in range(60):
        score = np.random.default_rng(seed).normal(size=300)
        found = threshold_interval(score, np.arange(300), 0.1, 0.95, seed)
        hits += found.low <= 1.2816 <= found.high  # the 90 % quantile of a normal variable
    assert hits >= 51  # 57 expected; below 51 of 60 has a probability of 0.7 %


def test_groups_widen_the_interval() -> None:
    score = np.repeat(np.random.default_rng(3).normal(size=50), 8)
    alone = threshold_interval(score, np.arange(400), 0.2, 0.95, 0)
    together = threshold_interval(score, np.repeat(np.arange(50), 8), 0.2, 0.95, 0)
    assert together.high - together.low > alone.high - alone.low


def test_equal_seeds_give_equal_replays() -> None:
    assert replays(NOISE, 0.2) == replays(NOISE, 0.2)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (Interval(0.1, 0.01, 0.2), "better than chance"),
        (Interval(0.1, 0.0, 0.2), "no saving to be had"),
        (Interval(-0.1, -0.2, -0.05), "no saving to be had"),
        (Interval(float("nan"), float("nan"), float("nan")), "no saving to be had"),
    ],
)
def test_verdicts(gain: Interval, said: str) -> None:
    assert judged(gain) == said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": 10}, "rate is 10"),
        ({"score": NOISE[:5]}, "5 scores, 200 labels and 200 groups"),
        ({"score": np.full(N, np.nan)}, "no trace has a score"),
        ({"larger": 1.5}, "accuracy must lie in"),
        ({"cost_ratio": 0.0}, "expected a positive ratio"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    given_ = {"score": NOISE, "right": RIGHT, "groups": GROUPS} | change
    with pytest.raises(InputError, match=message):
        replay_route(**given_)  # type: ignore[arg-type]


def test_bad_token_tables() -> None:
    with pytest.raises(InputError, match="offsets end at 9, but there are 10 token values"):
        replay_early_stop(np.zeros(10), np.array([0, 9]), RIGHT[:1])
    with pytest.raises(InputError, match="window is 0"):
        replay_early_stop(np.zeros(9), np.array([0, 9]), RIGHT[:1], window=0)
    with pytest.raises(InputError, match="1 labelled traces"):
        replay_drop(np.zeros(1), np.ones(1, dtype=bool))
    with pytest.raises(InputError, match="no problem has two samples"):
        replay_vote(NOISE, ANSWERS, RIGHT, np.arange(N))
