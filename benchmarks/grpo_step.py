"""What does one GRPO step of a small model cost on a CPU, and where does the time go?

    python benchmarks/grpo_step.py [--steps 12] [--caps 32 128] [--only NAME ...] [--profile NAME]

A Llama of 1,072,512 random parameters (width 128, 5 layers, 4 heads, MLP 384, tied, 48 characters)
answers prompts "a+b=", 0 to 99; 16 prompts x 8 answers, temperature 1, no KL, one update a rollout
batch, AdamW 1e-3, reward 1 if the answer starts right and 0.1 a digit among its first three
characters. Raced with TRL's GRPOTrainer (gradient checkpointing off, its fastest setting) on the
same prompts with equal weights. Both send the batch of 128 answers through the network at once; in
parts it takes less memory and one more forward pass. "equal": every answer has the cap's length,
end-of-text counts as any other token here and is forbidden there. "natural": answers end where
they end.

One thread, median of the steps after two warm-up steps. Seconds are CPU seconds (process time).
The bound is 8 x parameters x answer tokens (2 for drawing, 6 for training) at the rate of a
[4096, 128] x [128, 384] product measured in the same run.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from entropilot.models.loaders import LanguageModel
from entropilot.models.products import PRODUCTS
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.language_policy import language_policy
from entropilot.policy.models import PolicyModel, SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.tasks.modular_paths import ModularPaths
from entropilot.policy.tasks.task import Problem
from entropilot.policy.training.bound_task import BoundTask, Graded, bind_token_task
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainer import Trainee, make_optimizer, train_step

SYMBOLS = "0123456789+=-*/ abcdefghijklmnopqrstuvwxyz.,?!"  # and <pad>, <eos>: 48
PAD, EOS = 46, 47
N_PROMPTS, N_ANSWERS = 16, 8
WARM_UP = 2


class Steps(NamedTuple):
    """CPU seconds, answer tokens and |log-prob of trainer - sampler| of each timed step."""

    seconds: list[float]
    tokens: list[int]
    gap: float

    @property
    def rate(self) -> float:
        """Median tokens a second."""
        """Answer tokens a CPU second, median."""
        return statistics.median(n / s for n, s in zip(self.tokens, self.seconds, strict=True))


def prompts_of(step: int) -> list[Problem]:
    rng = np.random.default_rng([7, step])
    pairs = rng.integers(0, 100, (N_PROMPTS, 2)).tolist()
    return [Problem(f"{step}-{i}", f"{a}+{b}=", str(a + b)) for i, (a, b) in enumerate(pairs)]


def encoded(text: str) -> tuple[int, ...]:
    return tuple(SYMBOLS.index(c) for c in text)


def rendered(ids: Sequence[int]) -> str:
    return "".join(SYMBOLS[i] if i < PAD else "" for i in ids)


def reward_of(answer: str, text: str) -> float:
    return float(text.startswith(answer)) + 0.1 * sum(c.isdigit() for c in text[:3])


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=48, hidden_size=128, intermediate_size=384, num_hidden_layers=5,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256,
        bos_token_id=None, eos_token_id=EOS, pad_token_id=PAD, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {c: i for i, c in enumerate(SYMBOLS)} | {"<pad>": PAD, "<eos>": EOS}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def llama_policy(products: str = "float32") -> PolicyModel:
    model = LanguageModel(llama(), tokenizer(), "llama", (EOS,), 48, 256)
    return language_policy(model, products=products)


def small_policy(products: str = "float32") -> PolicyModel:
    """1,105,280 parameters: two MLP products of four times the width instead of three of three."""
    config = TransformerConfig(48, width=128, layers=5, heads=4, context=256)
    return SmallPolicy(SmallTransformer.seeded(config, 0), products=products)


def sums(cap: int, *, natural: bool) -> BoundTask:
    def grade(problems: Sequence[Problem], tokens: Tensor, mask: Tensor) -> Graded:
        texts = [rendered(t[m].tolist()) for t, m in zip(tokens, mask, strict=True)]
        rewards = [reward_of(p.answer, text) for p, text in zip(problems, texts, strict=True)]
        found = torch.tensor(rewards)
        return Graded(found, found >= 1, list(texts))

    eos = (EOS,) if natural else ()
    return BoundTask(
        "sums", lambda _n, _seed: prompts_of(0), lambda p: encoded(p.prompt), grade, eos, cap,
        rendered,
    )  # fmt: skip


def ours(policy: PolicyModel, cap: int, n_steps: int, *, natural: bool) -> Steps:
    settings = TrainSettings(
        steps=n_steps, n_prompts=N_PROMPTS, n_answers=N_ANSWERS, n_updates=1, learning_rate=1e-3,
        micro_tokens=1 << 16,
    )  # fmt: skip
    bound = sums(cap, natural=natural)
    objective = Objective()
    optimizer = make_optimizer(policy, settings)
    seconds, tokens, gaps = [], [], []
    state: dict[str, Any] = {}
    for step in range(n_steps):
        asked = prompts_of(step)
        task = dataclasses.replace(bound, problems=lambda _n, _seed, asked=asked: asked)
        trainee = Trainee(policy, task, lambda _step: objective, settings)
        began = time.process_time()
        row, state = train_step(trainee, optimizer, state, step)
        seconds.append(time.process_time() - began)
        tokens.append(int(row["n_tokens"]))
        gaps.append(row["logprob_gap"])
    return Steps(seconds[WARM_UP:], tokens[WARM_UP:], max(gaps))


def trl(cap: int, n_steps: int, *, natural: bool) -> Steps:
    from datasets import Dataset
    from transformers import TrainerCallback
    from transformers.trainer_callback import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    logging.disable(logging.WARNING)
    rows = [{"prompt": p.prompt, "answer": p.answer} for s in range(n_steps) for p in prompts_of(s)]
    tokens: list[int] = []
    times: list[float] = []

    def reward(completions: list[str], answer: list[str], **given: Any) -> list[float]:
        tokens.append(sum(map(len, given["completion_ids"])))
        return [reward_of(a, c) for a, c in zip(answer, completions, strict=True)]

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            times.append(time.process_time())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.process_time())

    batch = N_PROMPTS * N_ANSWERS
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=batch, num_generations=N_ANSWERS,
            max_completion_length=cap, max_steps=n_steps, learning_rate=1e-3, beta=0.0,
            temperature=1.0, use_cpu=True, bf16=False, gradient_checkpointing=False,
            lr_scheduler_type="constant", logging_steps=5, save_strategy="no", report_to="none",
            shuffle_dataset=False, disable_tqdm=True,
            generation_kwargs={} if natural else {"suppress_tokens": [EOS]},
        )  # fmt: skip
        trainer = GRPOTrainer(
            llama(), reward, config, Dataset.from_list(rows), processing_class=tokenizer(),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    logging.disable(logging.NOTSET)
    return Steps(np.diff(times)[WARM_UP:].tolist(), tokens[WARM_UP:], float("nan"))


def gemm_rate(kind: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second of a product of the network's own size."""
    a, b = torch.randn(4096, 128).to(kind), torch.randn(128, 384).to(kind)
    times = []
    for _ in range(60):
        began = time.process_time()
        for _ in range(5):
            a @ b
        times.append(time.process_time() - began)
    return 5 * 2 * 4096 * 128 * 384 / statistics.median(times[10:])


def racers() -> dict[str, Callable[[int, int, bool], Steps]]:
    """(cap, steps, natural) -> steps, by name."""
    found: dict[str, Callable[[int, int, bool], Steps]] = {
        "TRL": lambda cap, n, natural: trl(cap, n, natural=natural)
    }
    for kind in PRODUCTS:
        for name, make in (("Llama", llama_policy), ("small", small_policy)):
            found[f"{name} {kind}"] = lambda cap, n, natural, make=make, kind=kind: ours(
                make(kind), cap, n, natural=natural
            )
    return found


RACERS = racers()


def shares(run: Callable[[], object]) -> Iterator[str]:
    """Share of CPU time in matrix products, and the ten most costly operators."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        run()
    rows = sorted(found.key_averages(), key=lambda r: -r.self_cpu_time_total)
    total = sum(r.self_cpu_time_total for r in rows)
    products = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
    mine = sum(r.self_cpu_time_total for r in rows if r.key in products)
    yield f"matrix products: {mine / total:.0%} of {total / 1e6:.2f} s in operators"
    for r in rows[:14]:
        yield f"  {r.self_cpu_time_total / total:5.1%}  {r.count:6d} x  {r.key}"


def default_step() -> Callable[[], object]:
    """A step of the tiny default: modular paths, 32 x 8 answers, two updates."""
    task = bind_token_task(ModularPaths())
    config = TransformerConfig(ModularPaths().n_vocab, context=15, head_bias=True)
    policy = SmallPolicy(SmallTransformer.seeded(config, 0))
    settings = TrainSettings()
    objective = Objective()
    trainee = Trainee(policy, task, lambda _step: objective, settings)
    optimizer = make_optimizer(policy, settings)
    for step in range(3):
        train_step(trainee, optimizer, {}, step)

    def run() -> None:
        for step in range(20):
            train_step(trainee, optimizer, {}, step)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--caps", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--only", nargs="+", choices=list(RACERS), default=list(RACERS))
    parser.add_argument("--profile", choices=[*RACERS, "default"])
    asked = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if asked.profile:
        run = (
            default_step()
            if asked.profile == "default"
            else lambda: RACERS[asked.profile](asked.caps[0], 6, False)
        )
        began = time.process_time()
        run()
        print(f"{time.process_time() - began:.2f} s without the profiler")
        print("\n".join(shares(run)))
        return
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl")}
    rate = gemm_rate()
    print(f"{versions}; products: {rate / 1e9:.0f} GFLOP/s float32", flush=True)
    for cap in asked.caps:
        for natural in (False, True):
            kind = "natural" if natural else "equal"
            base = None
            for name in asked.only:
                found = RACERS[name](cap, asked.steps, natural)
                base = base or found.rate
                bound = rate / (8 * (1_105_280 if name.startswith("small") else 1_072_512))
                print(
                    f"cap {cap:3d} {kind:8s} {name:15s} {statistics.median(found.seconds):6.2f} s "
                    f"{statistics.median(found.tokens):6.0f} tokens {found.rate:6.0f} tokens/s, "
                    f"{found.rate / base:4.2f} x the first, {bound / found.rate:4.2f} x the time "
                    f"of the bound, log-prob gap {found.gap:.1e}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
