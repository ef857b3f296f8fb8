"""Ground floor: pure functions on arrays. Nothing here knows what a token or a fish is.

What acts on probabilities, logits or listed log-probabilities (entropies, divergences, masked
means, tilting) takes numpy or torch and gives back the same kind; the last axis is the outcome axis
unless named; natural logarithms unless ``base=`` is given. Statistics of counts and scores (pass@k,
PassUntil, support, intervals, ranking, scaling laws) are numpy by design: their inputs are a few
numbers a problem, and float64 on the CPU is what their exactness rests on.
"""

from entropilot.information._backend import (
    with_gradient,
)
from entropilot.information._topk_kernels import (
    IMPOSSIBLE,
    MASS_SLACK,
)
from entropilot.information.answers import (
    answer_entropy,
    answer_entropy_of_groups,
    majority_at_k,
    token_entropy_mean,
)
from entropilot.information.cellular_automata import (
    eca,
    eca_history,
    eca_pairs,
)
from entropilot.information.chain_entropy import (
    EntropyProduction,
    EntropyProductionEstimate,
    Relaxation,
    entropy_production,
    entropy_production_from_counts,
    relaxation_information,
)
from entropilot.information.constraint_hull import (
    Feasibility,
    feasibility,
)
from entropilot.information.context_observer import (
    ContextMemory,
    context_memory,
    forget_stream,
    read_stream,
)
from entropilot.information.description_frontier import (
    DescriptionRun,
    Frontier,
    epiplexity_at,
    mdl_frontier,
    training_flop,
)
from entropilot.information.diffusion_spectrum import (
    diffusion_eigenvalues,
)
from entropilot.information.divergence import (
    js_divergence,
    js_divergence_from_logits,
    js_share,
    kl_divergence,
    kl_estimate,
)
from entropilot.information.entropy import (
    cross_entropy,
    entropy,
    entropy_from_logits,
    mutual_information,
    surprisal,
    varentropy,
    varentropy_from_logits,
)
from entropilot.information.entropy_change import (
    EntropyChange,
    discriminator_all,
    discriminator_vocab_mean,
    entropy_change_exact,
    entropy_change_first_order,
    entropy_change_policy_gradient,
    entropy_change_single_logit,
)
from entropilot.information.entropy_law import (
    EntropyForecast,
    EntropyLaw,
    EntropyLine,
    fit_entropy_law,
    fit_entropy_line,
    forecast_entropy_law,
)
from entropilot.information.exchange import (
    ExchangeTest,
    exchange_test,
)
from entropilot.information.extrapolation import (
    ExtrapolatedPass,
    pass_at_k_extrapolated,
)
from entropilot.information.frechet import (
    frechet_distance,
)
from entropilot.information.growth import (
    GrowthShape,
    circuits,
    fit_two_circuits,
    growth_shape,
)
from entropilot.information.head import (
    HeadGradients,
    HeadStatistics,
    head_gradients,
    head_statistics,
)
from entropilot.information.hidden_data import (
    HiddenChains,
    hidden_automaton,
    hidden_chains,
)
from entropilot.information.instance_scaling import (
    InstanceFit,
    InstancePrediction,
    fit_instances,
)
from entropilot.information.intervals import (
    BootstrapInterval,
    clopper_pearson,
    cluster_bootstrap,
    cluster_bootstrap_of,
    wilson,
)
from entropilot.information.kt_observer import (
    KTCode,
    kt_code_from_counts,
    kt_epiplexity,
)
from entropilot.information.learnable_structure import (
    LearnableStructure,
    SpreadMean,
    learnable_structure,
    spread_mean,
    structure_difference,
)
from entropilot.information.marginal_divergence import (
    StepKL,
    gaussian_step_kl,
    mixture_step_kl,
    sample_step_kl,
)
from entropilot.information.markov_chains import (
    closed_classes,
    lumped_chain,
    simulate_chain,
    stationary,
    transition_counts,
)
from entropilot.information.masked import (
    check_entropy,
    check_logprob,
    masked_mean,
    masked_quantile,
    masked_variance,
)
from entropilot.information.maximum_entropy import (
    Ladder,
    MaxEntResult,
    gaussian_entropy,
    maxent,
    maxent_ladder,
    relative_entropy,
    temperature_for_entropy,
)
from entropilot.information.noise_schedule import (
    alpha_bar,
    signal_to_noise,
)
from entropilot.information.nucleus import (
    nucleus_entropy,
    nucleus_mask,
)
from entropilot.information.odds import (
    MantelHaenszel,
    mantel_haenszel,
)
from entropilot.information.pass_at_k import (
    PassCurve,
    crossing_k,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_difference,
    pass_at_k_interval,
)
from entropilot.information.pass_until import (
    PassUntilResult,
    pass_until,
    pu_from_counts,
    stack_results,
)
from entropilot.information.path_ensembles import (
    DrivenChain,
    GreenKubo,
    PathFreeEnergy,
    driven_chain,
    gaussian_path_free_energy,
    green_kubo,
    path_free_energy,
)
from entropilot.information.path_inference import (
    MaxCaliber,
    max_caliber,
)
from entropilot.information.path_response import (
    PathResponse,
    path_response,
    response,
)
from entropilot.information.prequential import (
    prequential_epiplexity,
    requential_epiplexity,
)
from entropilot.information.ranking import (
    AucInterval,
    Buckets,
    RocCurve,
    auc,
    auc_interval,
    delong,
    equal_count_buckets,
    roc_curve,
    spearman,
)
from entropilot.information.sampler_match import (
    ListedKind,
    SamplerMatch,
    listed_kind,
    sampler_match,
)
from entropilot.information.samples import (
    SampleCounts,
    compare_settings,
    count_samples,
    match_problems,
)
from entropilot.information.scaling import (
    ScalingFit,
    fit_task_scaling,
    fit_task_scaling_counts,
    log_minus_log,
    pass_rate,
)
from entropilot.information.scaling_epiplexity import (
    ScalingEpiplexity,
    ScalingLaw,
    law_from_compute_fit,
    published_laws,
    scaling_law_epiplexity,
)
from entropilot.information.spectral_approximation import (
    DSEEstimate,
    dse_estimate,
)
from entropilot.information.spectral_entropy import (
    adjacency_entropy,
    dse,
    dse_from_eigenvalues,
    matrix_entry_entropy,
    shannon_binned,
)
from entropilot.information.spectral_information import (
    DSMIResult,
    dsmi,
)
from entropilot.information.statistics import (
    TokenStatistics,
    token_statistics,
)
from entropilot.information.stiffness import (
    lipschitz_index,
    rate_index,
    stiffness_match,
    stiffness_ratio,
)
from entropilot.information.support import (
    SupportMonitor,
    expected_support,
    null_support,
    sign_test,
    support_category,
    support_dynamics,
    support_metrics,
    support_threshold,
)
from entropilot.information.support_perplexity import (
    perplexity_by_category,
)
from entropilot.information.task_rate import (
    TaskRate,
    above_chance,
    instance_rates,
    task_pu,
)
from entropilot.information.tilting import (
    beta_for_reward,
    nsr_bound,
    tilt,
    tilt_entropy_derivative,
)
from entropilot.information.topk import (
    Estimate,
    TopK,
    entropy_topk,
    jsd_topk,
)
from entropilot.information.topk_sequence import (
    SequenceBounds,
    SequenceMeasures,
    SequenceSignal,
    sequence_bounds,
    sequence_measures,
    sequence_signal,
)

__all__ = [
    "IMPOSSIBLE",
    "MASS_SLACK",
    "AucInterval",
    "BootstrapInterval",
    "Buckets",
    "ContextMemory",
    "DSEEstimate",
    "DSMIResult",
    "DescriptionRun",
    "DrivenChain",
    "EntropyChange",
    "EntropyForecast",
    "EntropyLaw",
    "EntropyLine",
    "EntropyProduction",
    "EntropyProductionEstimate",
    "Estimate",
    "ExchangeTest",
    "ExtrapolatedPass",
    "Feasibility",
    "Frontier",
    "GreenKubo",
    "GrowthShape",
    "HeadGradients",
    "HeadStatistics",
    "HiddenChains",
    "InstanceFit",
    "InstancePrediction",
    "KTCode",
    "Ladder",
    "LearnableStructure",
    "ListedKind",
    "MantelHaenszel",
    "MaxCaliber",
    "MaxEntResult",
    "PassCurve",
    "PassUntilResult",
    "PathFreeEnergy",
    "PathResponse",
    "Relaxation",
    "RocCurve",
    "SampleCounts",
    "SamplerMatch",
    "ScalingEpiplexity",
    "ScalingFit",
    "ScalingLaw",
    "SequenceBounds",
    "SequenceMeasures",
    "SequenceSignal",
    "SpreadMean",
    "StepKL",
    "SupportMonitor",
    "TaskRate",
    "TokenStatistics",
    "TopK",
    "above_chance",
    "adjacency_entropy",
    "alpha_bar",
    "answer_entropy",
    "answer_entropy_of_groups",
    "auc",
    "auc_interval",
    "beta_for_reward",
    "check_entropy",
    "check_logprob",
    "circuits",
    "clopper_pearson",
    "closed_classes",
    "cluster_bootstrap",
    "cluster_bootstrap_of",
    "compare_settings",
    "context_memory",
    "count_samples",
    "cross_entropy",
    "crossing_k",
    "delong",
    "diffusion_eigenvalues",
    "discriminator_all",
    "discriminator_vocab_mean",
    "driven_chain",
    "dse",
    "dse_estimate",
    "dse_from_eigenvalues",
    "dsmi",
    "eca",
    "eca_history",
    "eca_pairs",
    "entropy",
    "entropy_change_exact",
    "entropy_change_first_order",
    "entropy_change_policy_gradient",
    "entropy_change_single_logit",
    "entropy_from_logits",
    "entropy_production",
    "entropy_production_from_counts",
    "entropy_topk",
    "epiplexity_at",
    "equal_count_buckets",
    "exchange_test",
    "expected_support",
    "feasibility",
    "fit_entropy_law",
    "fit_entropy_line",
    "fit_instances",
    "fit_task_scaling",
    "fit_task_scaling_counts",
    "fit_two_circuits",
    "forecast_entropy_law",
    "forget_stream",
    "frechet_distance",
    "gaussian_entropy",
    "gaussian_path_free_energy",
    "gaussian_step_kl",
    "green_kubo",
    "growth_shape",
    "head_gradients",
    "head_statistics",
    "hidden_automaton",
    "hidden_chains",
    "instance_rates",
    "js_divergence",
    "js_divergence_from_logits",
    "js_share",
    "jsd_topk",
    "kl_divergence",
    "kl_estimate",
    "kt_code_from_counts",
    "kt_epiplexity",
    "law_from_compute_fit",
    "learnable_structure",
    "lipschitz_index",
    "listed_kind",
    "log_minus_log",
    "lumped_chain",
    "majority_at_k",
    "mantel_haenszel",
    "masked_mean",
    "masked_quantile",
    "masked_variance",
    "match_problems",
    "matrix_entry_entropy",
    "max_caliber",
    "maxent",
    "maxent_ladder",
    "mdl_frontier",
    "mixture_step_kl",
    "mutual_information",
    "nsr_bound",
    "nucleus_entropy",
    "nucleus_mask",
    "null_support",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_difference",
    "pass_at_k_extrapolated",
    "pass_at_k_interval",
    "pass_rate",
    "pass_until",
    "path_free_energy",
    "path_response",
    "perplexity_by_category",
    "prequential_epiplexity",
    "pu_from_counts",
    "published_laws",
    "rate_index",
    "read_stream",
    "relative_entropy",
    "relaxation_information",
    "requential_epiplexity",
    "response",
    "roc_curve",
    "sample_step_kl",
    "sampler_match",
    "scaling_law_epiplexity",
    "sequence_bounds",
    "sequence_measures",
    "sequence_signal",
    "shannon_binned",
    "sign_test",
    "signal_to_noise",
    "simulate_chain",
    "spearman",
    "spread_mean",
    "stack_results",
    "stationary",
    "stiffness_match",
    "stiffness_ratio",
    "structure_difference",
    "support_category",
    "support_dynamics",
    "support_metrics",
    "support_threshold",
    "surprisal",
    "task_pu",
    "temperature_for_entropy",
    "tilt",
    "tilt_entropy_derivative",
    "token_entropy_mean",
    "token_statistics",
    "training_flop",
    "transition_counts",
    "varentropy",
    "varentropy_from_logits",
    "wilson",
    "with_gradient",
]
