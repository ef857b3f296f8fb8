"""Learning from written answers on a task of three tokens, and the table of answers."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.offline_data import OfflineAnswers, offline_answers, read_offline_answers
from entropilot.policy.offline_training import (
    OfflineSettings,
    ValueNetwork,
    fit_offline,
    fit_rounds,
    offline_losses,
)

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
