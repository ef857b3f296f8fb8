"""The 39 papers: what each does with entropy, and at which kind of step.

A paper's state is not written here: it has a study, or it has not (see ``registry``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["measures", "explains", "steers"]


@dataclass(frozen=True)
class Paper:
    """One paper of the catalogue."""

    slug: str
    title: str  # the method, as the field names it
    paper: str  # arXiv id
    field: str  # the process that moves by steps
    role: Role  # what the paper does with entropy
    idea: str  # one sentence


PAPERS: Final[tuple[Paper, ...]] = (
    Paper("instability", "Dynamic instability", "2602.02863", "reasoning traces", "measures",
          "The largest jump between next-token distributions tells which answers go wrong."),
    Paper("reasoning-utility", "Conditional entropy reduction", "2508.20395", "reasoning traces",
          "measures", "A useful reasoning step lowers the entropy of the answer."),
    Paper("passuntil", "PassUntil", "2310.03262", "evaluation", "measures",
          "Sample until r answers pass: tiny pass rates become measurable and extrapolate."),
    Paper("invisible-leash", "Empirical support dynamics", "2507.14843", "RL post-training",
          "measures", "Does RL reach answers that the base model could not, or lose some it had?"),
    Paper("siren", "SIREN", "2509.25133", "RL post-training", "steers",
          "Regularise entropy only at peak tokens, inside the nucleus, anchored to its start."),
    Paper("cov-clip", "Clip-Cov and KL-Cov", "2505.22617", "RL post-training", "steers",
          "Entropy falls with the covariance of log-prob and advantage; restrain the few tokens "
          "that carry it."),
    Paper("entropy-dynamics", "Entropy discriminator clipping", "2602.03392", "RL post-training",
          "steers", "A first-order theory says which tokens lower entropy; clip those."),
    Paper("steer", "STEER", "2510.10150", "RL post-training", "steers",
          "Weight tokens by the entropy change that their update would cause."),
    Paper("diversity-precision", "Diversity-precision objective", "2512.22955", "pre-training",
          "steers", "Shape next-token prediction as a reward, for a better start of RL."),
    Paper("pear", "PEAR", "2510.08026", "RL post-training", "steers",
          "Punish entropy while thinking, allow it while answering: shorter traces."),
    Paper("spae", "SPAE", "2601.03823", "RL post-training", "steers",
          "Credit each step with the change of confidence and correctness that it brings."),
    Paper("oreo", "OREO", "2412.16145", "offline RL", "steers",
          "Learn policy and value from logged reasoning by the soft Bellman equation."),
    Paper("cntp", "Cautious next-token prediction", "2507.03038", "decoding", "steers",
          "Where entropy is high, try several continuations and keep the most likely."),
    Paper("glimprouter", "GlimpRouter", "2601.05110", "decoding", "steers",
          "The entropy of a step's first token decides which model writes the step."),
    Paper("ccd", "Coherent contextual decoding", "2512.02044", "masked diffusion decoding",
          "steers", "Unmask what stays certain over several denoising steps."),
    Paper("flm", "FLM and FMLM", "2602.16813", "continuous denoising", "explains",
          "Language modelling by a flow, down to one step."),
    Paper("apao", "APAO", "2603.02730", "generative recommendation", "steers",
          "Train every prefix so that the right item survives the beam."),
    Paper("arpo", "ARPO", "2507.19849", "agents", "steers",
          "Branch rollouts where entropy rises after a tool call."),
    Paper("aepo", "AEPO", "2510.14545", "agents", "steers",
          "Balance the branching budget and keep the gradient of high-entropy tokens."),
    Paper("empg", "EMPG", "2509.09265", "agents", "steers",
          "Modulate step advantages by entropy and reward clear future states."),
    Paper("epo", "EPO", "2509.22576", "agents", "steers",
          "Smooth policy entropy towards its own history, by phases."),
    Paper("spa-rl", "SPA-RL", "2505.20732", "agents", "steers",
          "Attribute the final reward to steps by predicted progress."),
    Paper("step-filter", "Step-level filtering", "2512.10962", "agents", "steers",
          "Grade single steps of trajectories and train only on the good ones."),
    Paper("ghosts", "Convergence-radius step control", "2603.13552", "optimisation", "steers",
          "Complex zeros of the softmax bound how far a step may go."),
    Paper("lr-perceptron", "LR+GD with any step size", "2412.08424", "optimisation", "explains",
          "With large steps, logistic regression becomes the perceptron."),
    Paper("neural-collapse", "Neural collapse geometry", "2301.00437", "representations",
          "explains", "Closed-form geometry of last-layer features, balanced or not."),
    Paper("ska", "Structured knowledge accumulation", "2504.03214", "representations", "explains",
          "Forward-only learning as steps down an entropy."),
    Paper("dse", "Diffusion spectral entropy", "2312.04823", "representations", "measures",
          "Entropy and mutual information of representations from a diffusion operator."),
    Paper("epiplexity", "Epiplexity", "2601.03220", "data", "measures",
          "How much learnable structure, and how much noise, a bounded learner finds in data."),
    Paper("stepnet", "StepNet", "2308.09939", "attention", "explains",
          "Self-attention as an adaptive step size of a stiff dynamical system."),
    Paper("stepmix", "StepMix and EpsMix", "2306.06265", "safe exploration", "steers",
          "Explore step by step without falling below a safe baseline."),
    Paper("denoising-curriculum", "Denoising curriculum", "2403.10348", "diffusion training",
          "steers", "Train easy noise levels first; relative entropy says which are hard."),
    Paper("dance", "Weakly supervised dance steps", "1807.01126", "motion", "steers",
          "Music in, dance steps out, with a recurrent network."),
    Paper("quasicryth", "Fibonacci-hierarchy compression", "2603.14999", "compression", "explains",
          "Aperiodic tilings keep phrases usable at every level of a compressor."),
    Paper("boltzmann-gas", "Boltzmann entropy of a dilute gas", "2403.07519", "physics",
          "measures", "Entropy of an expanding gas, and how it depends on the cells."),
    Paper("fish-school", "Entropy of fish schooling", "2602.07948", "physics", "measures",
          "Order of a school of fish, told by entropies."),
    Paper("active-matter", "Entropy production in active matter", "2309.12991", "physics",
          "measures", "A learned score gives the entropy production of self-driven particles."),
    Paper("three-body", "Learned time steps for three bodies", "2502.12809", "physics", "steers",
          "A policy chooses the integrator's next time step in a chaotic system."),
    Paper("statmech", "Maximum entropy for states and paths", "1105.5662", "physics", "explains",
          "Equilibrium and kinetics as inference from stated information."),
)  # fmt: skip
