"""The one table from a recipe's name to its objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.policy.advantages import group_normalised, leave_one_out, whitened
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.covariance_clip import clip_cov
from entropilot.policy.covariance_penalty import kl_cov
from entropilot.policy.discriminator import clip_b, clip_v
from entropilot.policy.entropy_bonus import adaptive_entropy_bonus, entropy_bonus
from entropilot.policy.entropy_change_weights import entropy_change_weights
from entropilot.policy.forking_tokens import forking_tokens
from entropilot.policy.objective import Objective
from entropilot.policy.phase_entropy_reward import phase_entropy_reward
from entropilot.policy.recipes import Knob, Recipe
from entropilot.policy.selective_entropy import selective_entropy_control
from entropilot.policy.step_potential_advantage import step_potential_advantage
from entropilot.policy.surrogates import clipped_ratio, sequence_ratio, stop_gradient_clip

Values = Mapping[str, Any]

_LOW: Final = Knob("eps_low", 0.2, "width of the ratio clip below 1; wider lets go further", 0, 1)
_HIGH: Final = Knob(
    "eps_high", 0.2, "width of the ratio clip above 1; wider raises entropy", 0, 100
)


def _clip(values: Values) -> Any:
    return clipped_ratio(values["eps_low"], values["eps_high"])


def _grpo(values: Values) -> Objective:
    return Objective(surrogate=_clip(values))


def _dr_grpo(values: Values) -> Objective:
    return Objective(
        advantages=(group_normalised("none"),),
        surrogate=_clip(values),
        aggregation=Aggregation("seq-mean-token-sum-norm", values["norm_length"]),
    )


def _rloo(values: Values) -> Objective:
    return Objective(advantages=(leave_one_out(),), surrogate=_clip(values))


def _gspo(values: Values) -> Objective:
    return Objective(
        surrogate=sequence_ratio(values["eps_low"], values["eps_high"]),
        aggregation=Aggregation("seq-mean-token-mean"),
    )


def _cispo(values: Values) -> Objective:
    return Objective(surrogate=stop_gradient_clip(values["low"], values["high"]))


def _clip_cov(values: Values) -> Objective:
    names = ("ratio", "lb", "ub", "eps_low", "eps_high")
    return Objective(surrogate=clip_cov(**{name: values[name] for name in names}))


def _kl_cov(values: Values) -> Objective:
    return Objective(surrogate=kl_cov(values["ratio"], values["coef"], values["penalty"]))


def _siren(values: Values) -> Objective:
    term = selective_entropy_control(values["p"], values["tau"], values["coef"], values["anchor"])
    return Objective(surrogate=_clip(values), regularisers=(term,))


def _pear(values: Values) -> Objective:
    term = phase_entropy_reward(values["alpha"])
    return Objective(rewards=(term,), surrogate=_clip(values))


def _spae(values: Values) -> Objective:
    term = step_potential_advantage(values["alpha"], values["xi"], values["eps_sat"])
    return Objective(advantages=(term,), surrogate=_clip(values))


def _reinforce(values: Values) -> Objective:
    return Objective(advantages=(group_normalised("none"), whitened()), surrogate=_clip(values))


def _clip_b(values: Values) -> Objective:
    return Objective(masks=(clip_b(values["mu"], values["mu_pos"]),), surrogate=_clip(values))


def _clip_v(values: Values) -> Objective:
    term = clip_v(values["mu"], values["mu_pos"], values["max_frac"])
    return Objective(masks=(term,), surrogate=_clip(values))


def _steer(values: Values) -> Objective:
    term = entropy_change_weights(
        values["w_min"], values["w_max"], values["mapping"], values["estimator"]
    )
    return Objective(weights=(term,), surrogate=clipped_ratio(0.2, 0.28, 10.0))


def _forking(values: Values) -> Objective:
    return Objective(weights=(forking_tokens(values["share"]),), surrogate=_clip(values))


def _bonus(values: Values) -> Objective:
    return Objective(surrogate=_clip(values), regularisers=(entropy_bonus(values["coef"]),))


def _adaptive(values: Values) -> Objective:
    term = adaptive_entropy_bonus(values["target"], values["start"], values["step"])
    return Objective(surrogate=_clip(values), regularisers=(term,))


_ALL: Final = (
    Recipe(
        "grpo",
        "plain GRPO",
        "Advantages from the group's mean and deviation, PPO's ratio clip, mean over tokens.",
        "the baseline that every control is compared with",
        "groups whose answers are all right or all wrong teach nothing",
        "2402.03300",
        (_LOW, _HIGH),
        _grpo,
    ),
    Recipe(
        "dr-grpo",
        "GRPO without its length and difficulty biases",
        "No division by the group's deviation, and sums over tokens by a constant length.",
        "when answers grow longer without growing better",
        "its loss is a sum: coefficients of regularisers mean something else than under a mean",
        "2503.20783",
        (_LOW, _HIGH, Knob("norm_length", 32, "constant that replaces the answer's length", 1)),
        _dr_grpo,
    ),
    Recipe(
        "rloo",
        "leave-one-out baseline",
        "Reward minus the mean of the group's other answers, without division.",
        "small groups",
        "equal in direction to GRPO without the deviation",
        "2402.14740",
        (_LOW, _HIGH),
        _rloo,
    ),
    Recipe(
        "reinforce-pp",
        "group baseline, whitened over the batch",
        "Reward minus the group's mean; then mean 0 and deviation 1 over all tokens of the batch.",
        "when a few groups with a small deviation dominate plain GRPO",
        "near to GRPO where groups are alike",
        "2501.03262",
        (_LOW, _HIGH),
        _reinforce,
    ),
    Recipe(
        "clip-higher",
        "wider clip above 1",
        "DAPO's clip: rare tokens that were right may rise further in one rollout.",
        "the first thing to try when entropy falls; it costs nothing",
        "nothing on the first update of a rollout, where the ratio is 1",
        "2503.14476",
        (_LOW, Knob("eps_high", 0.28, "width of the clip above 1; wider raises entropy", 0, 100)),
        _grpo,
        updates=2,
    ),
    Recipe(
        "gspo",
        "ratio of whole answers",
        "PPO's clip on the geometric mean of the token ratios of an answer.",
        "long answers and mixture-of-experts models, whose token ratios are noisy",
        "nothing on the first update of a rollout",
        "2507.18071",
        (
            Knob("eps_low", 3e-4, "width of the clip below 1", 0, 1),
            Knob("eps_high", 4e-4, "width of the clip above 1", 0, 100),
        ),
        _gspo,
        updates=2,
    ),
    Recipe(
        "cispo",
        "clipped ratio as a constant weight",
        "Every token keeps a gradient; the clip limits its weight instead of stopping it.",
        "when a clip stops rare tokens that matter",
        "nothing on the first update of a rollout",
        "2506.13585",
        (
            Knob("low", 0.8, "lowest weight", 0, 1, optional=True),
            Knob("high", 1.28, "highest weight", 1, 100),
        ),
        _cispo,
        updates=2,
    ),
    Recipe(
        "clip-cov",
        "drop some of the tokens that spend the most entropy",
        "Tokens whose log-prob and advantage vary together strongly lose their gradient, a few at "
        "random.",
        "when a small share of tokens carries the covariance",
        "no token between the bounds: see the metric clip-cov/n_candidates",
        "cov-clip",
        (
            Knob("ratio", 2e-4, "share of all tokens to drop; more holds more entropy", 1e-9, 1),
            Knob("lb", 1.0, "least covariance of a candidate"),
            Knob("ub", 5.0, "greatest covariance of a candidate"),
            Knob("eps_low", 1.0, "width of the ratio clip below 1", 0, 1),
            Knob("eps_high", 1.0, "width of the ratio clip above 1", 0, 100),
        ),
        _clip_cov,
    ),
    Recipe(
        "kl-cov",
        "hold the tokens that spend the most entropy",
        "Tokens of the largest covariance pay for moving away from the policy that sampled; there "
        "is no ratio clip.",
        "strong collapse with several updates a rollout",
        "the first update of a rollout; with one update a rollout it does nothing at all",
        "cov-clip",
        (
            Knob("ratio", 2e-3, "share of all tokens to hold; more holds more entropy", 1e-9, 1),
            Knob("coef", 1.0, "weight of the penalty", 0, 1e6),
            Knob("penalty", "abs", "form of the penalty", choices=("abs", "k2", "k3")),
        ),
        _kl_cov,
        updates=2,
    ),
    Recipe(
        "siren",
        "entropy of the nucleus at its peaks, held at its first value",
        "Squared distance of the selected entropy from its value before training.",
        "when a plain bonus explodes or spends itself on the tail of the vocabulary",
        "with the paper's coefficient under a mean over tokens: use 0.2 to 2 there",
        "siren",
        (
            _LOW,
            _HIGH,
            Knob("coef", 5e-3, "weight of the penalty; more holds the entropy tighter", 0, 1e6),
            Knob("p", 0.8, "mass of the nucleus", 1e-6, 1),
            Knob("tau", 0.8, "quantile above which a token counts as a peak", 0, 0.999999),
            Knob("anchor", None, "entropy to hold; none takes the first", 0, optional=True),
        ),
        _siren,
    ),
    Recipe(
        "entropy-bonus",
        "plain entropy bonus",
        "Subtracts the mean entropy of all tokens from the loss.",
        "small vocabularies, or as the baseline of every other control",
        "in a large vocabulary it spends itself on the tail, then explodes",
        "1602.01783",
        (_LOW, _HIGH, Knob("coef", 0.01, "weight of the bonus; more raises entropy", 0, 1e6)),
        _bonus,
    ),
    Recipe(
        "adaptive-bonus",
        "entropy bonus with a target",
        "TRL's rule: the coefficient rises while the entropy is at or below the target.",
        "when one coefficient is too little early and too much late",
        "nothing while the entropy is above the target",
        "2505.22312",
        (
            _LOW,
            _HIGH,
            Knob("target", 0.2, "entropy to hold, nats; choose it by the run's own start", 1e-9),
            Knob("start", 0.0, "first coefficient", 0, 1),
            Knob("step", 0.005, "change of the coefficient an update", 0, 1),
        ),
        _adaptive,
    ),
    Recipe(
        "clip-b",
        "drop punished tokens far below the batch's level",
        "Tokens with a negative advantage whose entropy discriminator lies mu deviations below the "
        "batch mean leave the loss; with mu_pos, rewarded ones far above too.",
        "long vocabularies, where rare tokens that are punished drag the entropy down",
        "one-sided, on small vocabularies: it may drop no token; see clip-b/frac_clipped",
        "entropy-dynamics",
        (
            _LOW,
            _HIGH,
            Knob("mu", 2.5, "deviations below the mean; more drops fewer", 0, 1e6),
            Knob("mu_pos", None, "the same for rewarded tokens", 0, 1e6, optional=True),
        ),
        _clip_b,
    ),
    Recipe(
        "clip-v",
        "drop punished tokens far below their vocabulary's level",
        "As clip-b, against the mean over the vocabulary of each token's own distribution.",
        "as clip-b, where positions differ much in entropy",
        "max_frac of a small batch is less than a token; one is dropped all the same",
        "entropy-dynamics",
        (
            _LOW,
            _HIGH,
            Knob("mu", 8.5, "deviations below the mean; more drops fewer", 0, 1e6),
            Knob("mu_pos", None, "the same for rewarded tokens", 0, 1e6, optional=True),
            Knob("max_frac", 1e-4, "largest share of all tokens to drop", 1e-12, 1),
        ),
        _clip_v,
    ),
    Recipe(
        "steer",
        "damp the tokens that change the entropy most",
        "Weights between w_min and 1 on the per-token loss, least where the estimated change of "
        "the entropy is largest; clip 0.2 and 0.28, dual clip 10.",
        "a gentle brake on collapse that keeps every token",
        "one outlier that sets the scale leaves all other weights at 1; see steer/below_095",
        "steer",
        (
            Knob("w_min", 0.8, "least weight; lower brakes more, 1 is plain", 1e-6, 1),
            Knob("w_max", 1.0, "greatest weight; above 1 for the linear mapping only", 1e-6, 100),
            Knob("mapping", "exp", "from change to weight", choices=("exp", "linear", "clip")),
            Knob(
                "estimator",
                "reference",
                "of the change: the released code's, its square form, or exact",
                choices=("reference", "squared", "exact"),
            ),
        ),
        _steer,
    ),
    Recipe(
        "forking",
        "learn on forking tokens only",
        "Only the share of tokens with the highest entropy has a gradient.",
        "long reasoning, where most tokens are foregone",
        "share 1; on short answers it may drop what teaches most",
        "2506.01939",
        (_LOW, _HIGH, Knob("share", 0.2, "share of all tokens that learn", 1e-6, 1)),
        _forking,
    ),
    Recipe(
        "pear",
        "reward short, sure thinking",
        "Right answers lose reward for entropy in the thinking phase beyond alpha times that of "
        "the answer phase.",
        "answers that think too long",
        "answers without a thinking phase; wrong answers keep their reward",
        "pear",
        (
            _LOW,
            Knob("eps_high", 0.28, "width of the clip above 1", 0, 100),
            Knob("alpha", 1.0, "share of the answer's entropy that is free; less shortens more"),
        ),
        _pear,
    ),
    Recipe(
        "spae",
        "credit steps by the potential of their answer",
        "Probes after each step how sure and how right the policy is already, and takes credit "
        "from steps that come after.",
        "answers that go on checking after they have the result",
        "one step an answer, or a task without steps",
        "spae",
        (
            _LOW,
            Knob("eps_high", 0.28, "width of the clip above 1", 0, 100),
            Knob("alpha", 0.5, "how much late steps lose", 0, 1),
            Knob("xi", 0.5, "weight of the change of the potential", 0, 1e6),
            Knob("eps_sat", 0.9, "potential above which the answer is there", -0.999999, 0.999999),
        ),
        _spae,
        probes=True,
    ),
)

RECIPES: Final[dict[str, Recipe]] = {recipe.name: recipe for recipe in _ALL}


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ConfigurationError: unknown; the message lists the near ones.

    Examples:
        >>> find_recipe("clip-higher").objective().surrogate.settings["eps_high"]
        0.28
    """
    if name not in RECIPES:
        raise ConfigurationError(unknown_name("recipe", name, RECIPES))
    return RECIPES[name]
