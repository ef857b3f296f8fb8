"""How to train offline with OREO (arXiv 2412.16145).

The defaults are the paper's where it has a number that fits a small network. Options that only the
released code has are off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.policy.offline import LEVELS, Level
from entropilot.policy.soft_bellman import check_beta

KL_KINDS: Final = ("exact", "k3")


@dataclass(frozen=True)
class OfflineSettings:
    """How to train; see the module for where the defaults come from.

    Args:
        beta: > 0; strength of the KL penalty in the soft Bellman equation.
        alpha: >= 0; weight of the KL to the reference in the loss (0.1 fits the step level, 0.3 the
            response level).
        level: "token", "step" or "response".
        epochs: passes over the data, >= 1.
        batch: answers a step, >= 1.
        learning_rate: of the policy (AdamW).
        value_learning_rate: of the value network (AdamW).
        grad_clip: largest gradient norm, > 0.
        warm_up: steps at the start that move the value network only.
        kl: "exact" reads both whole distributions; "k3" estimates from the tokens, so that the
            reference is read once for the whole data set and not again in each step.
        kl_target: nats a token, > 0; alpha then is only the first weight: its logarithm moves by
            Adam against log(alpha) (kl_target - KL), up while the KL is above the target. None:
            alpha stays.
        kl_learning_rate: > 0; of the logarithm of alpha. The code's value is not published; ours.
        average_decay: in [0, 1); the value learns from the log-ratios of a moving average of the
            policy, average = decay average + (1 - decay) policy, which costs a forward pass. None:
            from the policy itself.
        clip_log: see ``oreo_value_loss``.
        pcl: see ``oreo_policy_loss``.
        one_step: see ``oreo_policy_loss``.
        hinge: see ``oreo_policy_loss``; an answer is right if its reward is above 0.
        importance: weight answers by ``importance_weights``.
        reward_scale: the losses see reward_scale * reward + reward_shift.
        reward_shift: for rewards of answers; process rewards take 0 only.

    Raises:
        ConfigurationError: a value is out of range.

    Examples:
        >>> OfflineSettings(level="response", alpha=0.3).beta
        0.03
    """

    beta: float = 0.03
    alpha: float = 0.01
    level: Level = "token"
    epochs: int = 2
    batch: int = 128
    learning_rate: float = 3e-4
    value_learning_rate: float = 1e-3
    grad_clip: float = 1.0
    warm_up: int = 0
    kl: Literal["exact", "k3"] = "exact"
    kl_target: float | None = None
    kl_learning_rate: float = 0.01
    average_decay: float | None = None
    clip_log: float | None = None
    pcl: bool = False
    one_step: bool = False
    hinge: float = 0.0
    importance: bool = False
    reward_scale: float = 1.0
    reward_shift: float = 0.0

    def __post_init__(self) -> None:
        check_beta(self.beta)
        if self.level not in LEVELS:
            raise ConfigurationError(unknown_name("level", self.level, LEVELS))
        if self.kl not in KL_KINDS:
            raise ConfigurationError(unknown_name("kl", self.kl, KL_KINDS))
        for name, least in (("alpha", 0), ("epochs", 1), ("batch", 1), ("warm_up", 0)):
            if not getattr(self, name) >= least:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be >= {least}")
        positive = ("learning_rate", "value_learning_rate", "grad_clip", "kl_learning_rate")
        for name in (*positive, "kl_target"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"{name} is {value}; it must be above 0")
        if self.kl_target is not None and self.alpha == 0:
            raise ConfigurationError(
                "alpha is 0 and kl_target is set; alpha is the first weight, so it must be above 0"
            )
        if self.average_decay is not None and not 0 <= self.average_decay < 1:
            raise ConfigurationError(
                f"average_decay is {self.average_decay}; expected a number in [0, 1), or None"
            )
        if self.reward_scale == 0:
            raise ConfigurationError("reward_scale is 0: all answers would be equally good")
