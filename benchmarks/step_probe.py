"""Does probing all steps of an answer in one pass beat one pass a step, and by how much?

    python benchmarks/step_probe.py [--model tiny] [--tokens 2000] [--steps 50] [--repeats 3]

The naive way reads every prefix anew: the sum of the boundaries plus K (m + M) tokens for suffix
and answer; the tree reads T + K (m + M). Same log-probs and entropies, one thread, CPU seconds,
best of the repeats. Target: at least 10 x at K = 50.
"""

import argparse
import time

import numpy as np
import torch
import transformers

from entropilot.models.loaders import load_model
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.models.tree_attention import language_model_forward, small_transformer_forward
from entropilot.policy.probe_engines import SeparateProbes, TreeProbes
from entropilot.policy.probing import ProbeItem

SUFFIX, ANSWER = 8, 3  # tokens


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny", help='"small", "tiny", "smollm2", a folder')
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.model == "small":
        config = TransformerConfig(64, context=options.tokens + SUFFIX + ANSWER)
        forward, n_vocab = small_transformer_forward(SmallTransformer.seeded(config, 0)), 64
    else:
        model = load_model(options.model)
        forward, n_vocab = language_model_forward(model), model.n_vocab
    draw = np.random.default_rng(0)
    length, steps = options.tokens, options.steps
    chain, suffix, answer = (
        tuple(draw.integers(0, n_vocab, n).tolist()) for n in (length, SUFFIX, ANSWER)
    )
    ends = np.linspace(length / steps, length, steps).astype(int).tolist()
    items = [ProbeItem(0, k, chain, end, suffix, answer) for k, end in enumerate(ends)]
    engines = {"tree": TreeProbes(forward), "separate": SeparateProbes(forward)}
    best, found = dict.fromkeys(engines, float("inf")), {}
    for _ in range(options.repeats):
        for name, engine in engines.items():
            start = time.process_time()
            found[name] = engine.forced(items)
            best[name] = min(best[name], time.process_time() - start)
    pairs = list(zip(found["tree"], found["separate"], strict=True))
    error = max(float((a.logprob - b.logprob).abs().max()) for a, b in pairs)
    branch = SUFFIX + ANSWER - 1
    bound = (sum(ends) + steps * branch) / (length + steps * branch)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {options.model}")
    print(f"T = {length}, K = {steps}, {branch} tokens a branch, one thread")
    print(f"tree {best['tree']:.3f} s, separate {best['separate']:.3f} s")
    print(f"speed-up {best['separate'] / best['tree']:.1f}, tokens {bound:.1f}")
    print(f"largest difference of a log-prob {error:.1e} nats")


if __name__ == "__main__":
    main()
