"""What does a value-guided step search cost when it remembers what it has read?

    python benchmarks/value_search.py [--steps 10] [--step-tokens 16] [--beam 4] [--repeats 3]

One thread, CPU seconds, median of the repeats. The rival works as OREO's released search does: at
each step every prefix is read again for its continuations, and every candidate is read whole by the
value network. Ours reads the tokens that are new. Both draw the same tokens; the chosen texts are
compared.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from entropilot.models.decoding import TransformerDecoder
from entropilot.models.prefix_cache import RememberingDecoder
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.search_steps import network_value, remembering_value, step_sampler
from entropilot.policy.value_network import ValueNetwork
from entropilot.policy.value_search import SearchResult, Value, value_beam_search

STEP, END, N_VOCAB = 62, 63, 64


class Clock:
    """CPU seconds spent inside a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., object]) -> Callable[..., object]:
        """The function, with its time counted."""

        def call(*args: object) -> object:
            start = time.process_time()
            try:
                return function(*args)
            finally:
                self.seconds += time.process_time() - start

        return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--step-tokens", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    how = parser.parse_args()
    torch.set_num_threads(1)
    context = how.prompt_tokens + (how.steps + 1) * how.step_tokens
    config = TransformerConfig(N_VOCAB, how.width, how.layers, 4, context, head_bias=True)
    policy = SmallTransformer.seeded(config, 0)
    with torch.no_grad():
        policy.head.bias[END] = -50.0  # all texts go through all steps
        policy.head.bias[STEP] = -50.0  # and all steps have the same length
    value = ValueNetwork(SmallTransformer.seeded(config, 1), 0.5)
    torch.nn.init.normal_(value.weight, generator=torch.Generator().manual_seed(0))
    draw = np.random.default_rng(0)
    prompts = draw.integers(0, STEP, (how.prompts, how.prompt_tokens)).tolist()
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, one "
        f"thread; width {how.width}, {how.layers} layers, {how.prompts} prompts of "
        f"{how.prompt_tokens} tokens, {how.steps} steps of {how.step_tokens}, beam {how.beam}"
    )

    def search(remember: bool) -> tuple[list[SearchResult], float, float]:
        clock = Clock()
        decoder = RememberingDecoder(policy) if remember else TransformerDecoder(policy)
        scorer: Value = remembering_value(value) if remember else network_value(value)
        generate = step_sampler(
            decoder, step_ends={STEP}, end=END, max_tokens=how.step_tokens, seed=0
        )
        timed: Value = clock.timed(scorer)  # type: ignore[assignment]
        start = time.process_time()
        found = value_beam_search(generate, timed, prompts, how.beam, how.steps)
        return found, time.process_time() - start, clock.seconds

    plain, ours = search(False)[0], search(True)[0]  # also compiles
    same = np.mean([a.tokens == b.tokens for a, b in zip(plain, ours, strict=True)])
    gap = max(abs(a.value - b.value) for a, b in zip(plain, ours, strict=True))
    print(f"same texts chosen: {same:.0%}; largest difference of their values {gap:.1e}")
    seconds = {}
    for name, remember in (("everything read again", False), ("only what is new", True)):
        runs = [search(remember)[1:] for _ in range(how.repeats)]
        total, scoring = (statistics.median(column) for column in zip(*runs, strict=True))
        seconds[name] = total, scoring
        print(f"{name:<24}{total:>8.2f} s, of it {scoring:>6.2f} s for values")
    (slow, slow_value), (fast, fast_value) = seconds.values()
    print(f"ratio: {slow / fast:.1f} x in all, {slow_value / fast_value:.1f} x for values")


if __name__ == "__main__":
    main()
