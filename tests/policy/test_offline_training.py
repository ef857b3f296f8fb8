"""Learning from written answers on a task of three tokens, and the table of answers."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.offline_data import (
    OfflineAnswers,
    balanced_rows,
    offline_answers,
    read_offline_answers,
)
from entropilot.policy.offline_losses import offline_losses, reference_logprobs
from entropilot.policy.offline_settings import OfflineSettings
from entropilot.policy.offline_training import fit_offline, fit_rounds
from entropilot.policy.value_network import ValueNetwork

END = 3


def network() -> SmallTransformer:
    return SmallTransformer.seeded(TransformerConfig(8, width=16, layers=1, heads=2, context=6), 0)


def written(n: int = 96) -> OfflineAnswers:
    """Two tokens and an end; right if the first is 1, whatever the prompt."""
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(4, 8, (n, 2), generator=draw).tolist()
    bodies = torch.randint(0, 3, (n, 2), generator=draw).tolist()
    rewards = [float(body[0] == 1) for body in bodies]
    with pytest.warns(UserWarning, match="duplicates"):
        return offline_answers(prompts, [[*b, END] for b in bodies], rewards, step_ends=range(3))


def right_share(policy: SmallTransformer) -> float:
    prompts = torch.tensor([[4, 5], [6, 7]])
    with torch.no_grad():
        return float(policy(prompts)[:, -1].softmax(-1)[:, 1].mean())


@pytest.mark.parametrize("level", ["token", "step", "response"])
def test_training_moves_the_policy_to_right_answers(level: Any) -> None:
    policy, data = network(), written()
    before = copy.deepcopy(policy)
    value = ValueNetwork(policy, float(data.reward.mean()))
    settings = OfflineSettings(
        level=level, epochs=12, batch=32, learning_rate=3e-3, value_learning_rate=3e-3
    )
    fit = fit_offline(policy, value, data, settings, generator=torch.Generator().manual_seed(0))
    assert len(fit.history) == 36
    assert right_share(policy) > 2 * right_share(before)
    # the reference is the policy as it was
    assert right_share(fit.reference) == right_share(before)  # type: ignore[arg-type]
    first, last = (
        sum(row["value_loss"] for row in rows) for rows in (fit.history[:3], fit.history[-3:])
    )
    assert last < first


def test_the_value_learns_which_first_token_is_right() -> None:
    policy, data = network(), written()
    value = ValueNetwork(policy, 0.3)
    settings = OfflineSettings(epochs=40, batch=32, warm_up=10**6, value_learning_rate=1e-2)
    before = {k: v.clone() for k, v in policy.state_dict().items()}
    fit_offline(policy, value, data, settings, generator=torch.Generator().manual_seed(0))
    good, bad = value(torch.tensor([[4, 5, 1], [4, 5, 2]]))[:, -1].tolist()
    assert good > bad + 0.3
    for name, parameter in policy.state_dict().items():  # the policy waits for the warm-up's end
        assert torch.equal(parameter, before[name])


def test_the_same_seed_gives_the_same_history() -> None:
    histories = []
    for _ in range(2):
        policy = network()
        fit = fit_offline(
            policy,
            ValueNetwork(policy, 0.3),
            written(),
            OfflineSettings(epochs=1, batch=32, importance=True, clip_log=1.0),
            generator=torch.Generator().manual_seed(5),
        )
        histories.append(fit.history)
    assert histories[0] == histories[1]


FULL = {"kl_target": 0.02, "average_decay": 0.9, "importance": True, "epochs": 2, "batch": 16}


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_after", [1, 5, 6, 7, 11])  # 6 steps an epoch
def test_a_killed_fit_ends_as_one_that_ran_through(tmp_path: Any, killed_after: int) -> None:
    data, settings = written(), OfflineSettings(**FULL)  # type: ignore[arg-type]

    def fit(folder: Any, die: int | None = None) -> Any:
        def report(step: int, steps: int, _numbers: Any) -> None:
            assert steps == 12
            if step == die:
                raise KilledError

        policy, draw = network(), torch.Generator().manual_seed(4)
        options: dict[str, Any] = {"folder": folder, "save_every": 2, "report": report}
        found = fit_offline(
            policy, ValueNetwork(policy, 0.3), data, settings, generator=draw, **options
        )
        return found, torch.randint(1000, (1,), generator=draw).item()

    whole, next_draw = fit(None)
    with pytest.raises(KilledError):
        fit(tmp_path, killed_after)
    again, its_draw = fit(tmp_path)
    assert again.history == whole.history
    assert its_draw == next_draw
    for ours, theirs in (
        (again.policy, whole.policy),
        (again.value, whole.value),
        (again.average, whole.average),
    ):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
    finished, _ = fit(tmp_path, killed_after)  # nothing is left to do, so nothing is reported
    assert finished.history == whole.history


def test_a_folder_of_another_fit_is_refused(tmp_path: Any) -> None:
    data = written()

    def fit(settings: OfflineSettings, policy: Any) -> None:
        value = ValueNetwork(policy, 0.3)
        draw = torch.Generator().manual_seed(4)
        fit_offline(policy, value, data, settings, generator=draw, folder=tmp_path)

    fit(OfflineSettings(epochs=1), network())
    with pytest.raises(InputError, match="another fit: alpha, beta differ"):
        fit(OfflineSettings(epochs=1, beta=0.1, alpha=0.1), network())
    other = network()
    torch.nn.init.zeros_(other.head.weight)
    with pytest.raises(InputError, match="another fit: reference differ"):
        fit(OfflineSettings(epochs=1), other)


def test_rounds_go_on_after_a_kill(tmp_path: Any) -> None:
    def rounds(folder: Any, die: bool) -> list[Any]:
        def sample(_policy: Any, _number: int) -> OfflineAnswers:
            if die:
                raise KilledError
            return written(64)

        policy = network()
        return fit_rounds(
            policy, ValueNetwork(policy, 0.3), written(), OfflineSettings(batch=32), sample,
            rounds=2, generator=torch.Generator().manual_seed(1), folder=folder,
        )  # fmt: skip

    whole = rounds(None, die=False)
    with pytest.raises(KilledError):
        rounds(tmp_path, die=True)
    again = rounds(tmp_path, die=False)
    assert [fit.history for fit in again] == [fit.history for fit in whole]


def test_alpha_moves_towards_the_target_of_the_kl() -> None:
    alphas = []
    for target in (1e-4, 5.0):
        policy = network()
        settings = OfflineSettings(
            epochs=4, batch=16, kl_target=target, kl_learning_rate=0.1, learning_rate=3e-3
        )
        fit = fit_offline(
            policy,
            ValueNetwork(policy, 0.3),
            written(),
            settings,
            generator=torch.Generator().manual_seed(0),
        )
        rows = fit.history
        assert rows[0]["alpha"] == pytest.approx(0.01)
        assert all(math.isfinite(row["alpha"]) for row in rows)
        alphas.append(rows[-1]["alpha"])
    # the policy leaves the reference by more than 1e-4 nats a token, and by far less than 5
    assert alphas[0] > 0.02
    assert alphas[1] < 0.005


def test_the_moving_average_gives_the_value_its_log_ratios() -> None:
    settings = OfflineSettings(average_decay=0.5)
    data, policy, reference = written(8), network(), network()
    torch.nn.init.normal_(policy.head.weight, generator=torch.Generator().manual_seed(1))
    value = ValueNetwork(policy, 0.3)
    still = offline_losses(policy, value, reference, data, settings, average=reference)
    own = offline_losses(policy, value, reference, data, settings)
    # log-ratios of the reference to itself are 0: what is left is the squared miss of the reward
    miss = ((0.3 - data.reward) ** 2).mean()
    assert still.numbers["value_loss"] == pytest.approx(float(miss), rel=1e-5)
    assert own.numbers["value_loss"] != pytest.approx(float(miss), rel=1e-3)
    assert still.numbers["policy_loss"] == own.numbers["policy_loss"]
    fit = fit_offline(
        policy, value, data, OfflineSettings(epochs=1, average_decay=0.0),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert fit.average is not None
    for mean, now in zip(fit.average.parameters(), policy.parameters(), strict=True):
        assert torch.equal(mean, now)  # without memory it is the policy


def test_k3_reads_the_reference_once() -> None:
    data, policy = written(24), network()
    reference = copy.deepcopy(policy)
    torch.nn.init.normal_(policy.head.weight, generator=torch.Generator().manual_seed(1))
    value = ValueNetwork(policy, 0.3)
    known = reference_logprobs(reference, data, rows_per_batch=7)
    settings = OfflineSettings(kl="k3")
    numbers = []
    for base in (None, known):
        losses = offline_losses(policy, value, reference, data, settings, reference_logprob=base)
        numbers.append(losses.numbers)
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4)
    exact = offline_losses(policy, value, reference, data, OfflineSettings()).numbers
    assert exact["policy_loss"] == pytest.approx(numbers[0]["policy_loss"], rel=1e-4)
    assert exact["kl"] != pytest.approx(numbers[0]["kl"], rel=1e-3)

    class Counted(torch.nn.Module):
        calls = 0

        def forward(self, tokens: Any, valid: Any) -> Any:
            Counted.calls += 1
            return reference(tokens, valid)

    fit_offline(
        policy, value, data, OfflineSettings(kl="k3", epochs=3, batch=8),
        generator=torch.Generator().manual_seed(0), reference=Counted(),
    )  # fmt: skip
    assert Counted.calls == 1  # one batch of the whole data, in 9 steps


def test_the_map_of_rewards() -> None:
    data, policy = written(8), network()
    value = ValueNetwork(policy, 0.3)
    mapped = OfflineAnswers(data.tokens, data.valid, data.action, 2 * data.reward - 1)
    ours = offline_losses(
        policy, value, policy, data, OfflineSettings(reward_scale=2.0, reward_shift=-1.0)
    )
    theirs = offline_losses(policy, value, policy, mapped, OfflineSettings())
    assert ours.numbers == theirs.numbers
    table = OfflineAnswers(data.tokens, data.valid, data.action, torch.zeros(data.tokens.shape))
    with pytest.raises(ConfigurationError, match="and the rewards are those of tokens"):
        offline_losses(policy, value, policy, table, OfflineSettings(reward_shift=1.0))


def test_a_loss_that_is_not_finite_stops_the_fit() -> None:
    policy = network()
    value = ValueNetwork(policy, math.nan)
    with pytest.raises(InputError, match="value_loss, policy_loss, residual_rms of step 1"):
        fit_offline(policy, value, written(8), OfflineSettings(), generator=torch.Generator())


def test_losses_do_not_depend_on_padding_and_process_rewards_add_up() -> None:
    policy = network()
    value = ValueNetwork(policy, 0.3)
    torch.nn.init.normal_(value.weight)
    data = written(8)
    settings = OfflineSettings()
    plain = offline_losses(policy, value, policy, data, settings)
    wide = {
        name: torch.nn.functional.pad(getattr(data, name), (0, 1))
        for name in ("tokens", "valid", "action", "step_start")
    }
    padded = OfflineAnswers(reward=data.reward, **wide)
    assert offline_losses(policy, value, policy, padded, settings).numbers == pytest.approx(
        plain.numbers, abs=1e-6
    )
    last = torch.zeros(data.tokens.shape)
    last[:, -1] = data.reward
    process = OfflineAnswers(data.tokens, data.valid, data.action, last)
    assert offline_losses(policy, value, policy, process, settings).numbers == pytest.approx(
        plain.numbers, abs=1e-6
    )


def test_rounds_sample_with_the_trained_policy() -> None:
    for reference in ("initial", "previous"):
        policy, seen = network(), []
        start = right_share(policy)

        def sample(now: Any, number: int, seen: list[Any] = seen) -> OfflineAnswers:
            seen.append((number, right_share(now)))
            return written()

        fits = fit_rounds(
            policy,
            ValueNetwork(policy, 0.3),
            written(),
            OfflineSettings(epochs=3, batch=32, learning_rate=3e-3),
            sample,
            rounds=2,
            generator=torch.Generator().manual_seed(0),
            reference=reference,  # type: ignore[arg-type]
        )
        assert [number for number, _ in seen] == [1]
        held = right_share(fits[1].reference)  # type: ignore[arg-type]
        assert held == (start if reference == "initial" else seen[0][1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beta": 0.0}, "beta is 0"),
        ({"level": "steps"}, "did you mean 'step'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"kl": "k2"}, "kl"),
        ({"kl_target": 0.0}, "kl_target is 0"),
        ({"kl_target": 0.1, "alpha": 0.0}, "alpha is 0 and kl_target is set"),
        ({"average_decay": 1.0}, "average_decay is 1"),
        ({"reward_scale": 0.0}, "all answers would be equally good"),
    ],
)
def test_settings_out_of_range_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OfflineSettings(**changed)


def test_bad_data_are_named_and_doubtful_data_warned_of(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="1 prompts, 2 answers"):
        offline_answers([[1]], [[2], [3]], [0.0, 1.0])
    with pytest.raises(InputError, match="answer 0 has 1 prompt and 0 own"):
        offline_answers([[1]], [[]], [0.0])
    with pytest.raises(InputError, match="not finite"):
        offline_answers([[1]], [[2]], [math.nan])
    with pytest.warns(UserWarning, match="all 2 rewards are 1"):
        offline_answers([[1], [1]], [[2], [3]], [1.0, 1.0])
    with pytest.warns(UserWarning, match="50% of the answers hold no step end"):
        offline_answers([[1], [1]], [[2, 5, 3], [3]], [1.0, 0.0], step_ends=[5])
    with pytest.warns(UserWarning, match="1 answers do not end with token 9"):
        offline_answers([[1], [1]], [[2], [3, 9]], [1.0, 0.0], end=9)
    file = tmp_path / "answers.jsonl"
    file.write_text('{"prompt": "a", "response": "b", "reward": 1}\n\n{"prompt": "a"}\n')
    with pytest.raises(InputError, match="line 3: KeyError 'response'"):
        read_offline_answers(file, lambda text: [ord(c) for c in text])
    file.write_text('{"prompt": "a", "response": "b", "reward": 1}\n' * 2)
    with pytest.warns(UserWarning, match="2 answers do not end with token 9"):
        read_offline_answers(file, lambda text: [ord(c) for c in text], end=9)
    data = offline_answers([[1], [1]], [[2], [3]], [1.0, 0.0])
    value = ValueNetwork(network())
    with pytest.raises(InputError, match="give step_ends"):
        fit_offline(
            network(), value, data, OfflineSettings(level="step"), generator=torch.Generator()
        )
    other = SmallTransformer.seeded(TransformerConfig(9, width=16, heads=2, context=6), 0)
    with pytest.raises(InputError, match="policy has 8 tokens, the reference 9"):
        offline_losses(network(), value, other, data, OfflineSettings())
    with pytest.raises(InputError, match="position 0"):
        OfflineAnswers(data.tokens, data.valid, data.valid, data.reward)
    with pytest.raises(ConfigurationError, match="rounds is 0"):
        fit_rounds(
            network(), value, data, OfflineSettings(), lambda *_: data, rounds=0,
            generator=torch.Generator(),
        )  # fmt: skip


def test_balanced_rows_keep_as_many_right_as_wrong_but_one() -> None:
    correct = torch.tensor([1, 1, 1, 1, 1, 0, 0] + [1, 1, 1] + [0] * 6 + [1, 0, 0]).bool()
    group = torch.tensor([0] * 7 + [1] * 3 + [2] * 6 + [3] * 3)
    rows = balanced_rows(correct, group, generator=torch.Generator().manual_seed(0))
    assert rows.tolist() == sorted(set(rows.tolist()))
    kept = [(int(group[r]), bool(correct[r])) for r in rows]
    # two wrong: two right; no wrong: one right all the same; no right: four wrong at most
    assert [kept.count((g, right)) for g in range(4) for right in (True, False)] == [
        2, 2, 1, 0, 0, 4, 1, 2,
    ]  # fmt: skip
    again = balanced_rows(correct, group, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rows, again)
    with pytest.raises(InputError, match="expected bool, one verdict an answer"):
        balanced_rows(group, group, generator=torch.Generator())
    with pytest.raises(ConfigurationError, match="at_most is 0"):
        balanced_rows(correct, group, generator=torch.Generator(), at_most=0)
