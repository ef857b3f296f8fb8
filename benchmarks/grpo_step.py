"""What does one GRPO step of a small model cost on a CPU, and where does the time go?

    python benchmarks/grpo_step.py [--steps 12] [--caps 32 128] [--rounds 3] [--only NAME ...]
    python benchmarks/grpo_step.py --profile NAME

A Llama of 1,072,512 random parameters (width 128, 5 layers, 4 heads, MLP 384, tied, 48 characters)
answers prompts "a+b=", 0 to 99; 16 prompts x 8 answers, temperature 1, no KL, one update a rollout
batch, AdamW 1e-3, reward 1 if the answer starts right and 0.1 a digit among its first three
characters. Raced with TRL's GRPOTrainer (gradient checkpointing off, its fastest setting) on the
same prompts with equal weights. Both send the batch of 128 answers through the network at once; in
parts it takes less memory and one more forward pass. "equal": every answer has the cap's length,
end-of-text counts as any other token here and is forbidden there. "natural": answers end where
they end.

One thread, median of the steps after two warm-up steps and of ratios over rounds in which all run
in turn. Seconds are CPU seconds (process time). The bound is 8 x parameters x answer tokens (2 for
drawing, 6 for training) at the rate of products of the network's sizes with 4096 rows, measured in
the same run: those the trainer uses, in its kind of numbers, and torch's own in float32.
--profile prints the share of a step that goes into matrix products; "default" is 20 steps of the
embedded experiment (experiments/default.toml: model, task and sizes) under plain GRPO.
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

from entropilot.experiments import load_config
from entropilot.experiments.subjects import load_subject
from entropilot.information._linear import linear
from entropilot.models.loaders import LanguageModel
from entropilot.models.products import PRODUCTS
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.language_policy import language_policy
from entropilot.policy.models import PolicyModel, SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.tasks.task import Problem
from entropilot.policy.training.bound_task import BoundTask, Graded
from entropilot.policy.training.entropy_probe import entropy_probe
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Trainee
from entropilot.policy.training.trainer import make_optimizer
from entropilot.policy.training.training_step import train_step

SYMBOLS = "0123456789+=-*/ abcdefghijklmnopqrstuvwxyz.,?!"  # and <pad>, <eos>: 48
PAD, EOS = 46, 47
N_PROMPTS, N_ANSWERS = 16, 8
WARM_UP = 2
PARAMETERS = {"TRL": 1_072_512, "Llama": 1_072_512, "small": 1_105_280}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Steps(NamedTuple):
    """CPU seconds, answer tokens and |log-prob of trainer - sampler| of each timed step."""

    seconds: list[float]
    tokens: list[int]
    gap: float

    @property
    def rate(self) -> float:
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


def product_rate(kind: str, form: Callable[[Tensor, Tensor], Tensor] = linear) -> float:
    """Floating-point operations a second of products of the network's own sizes."""
    work, taken = 0.0, 0.0
    for inputs, outputs in ((128, 384), (128, 128), (128, 768), (384, 128)):
        x, weight = (torch.randn(n, inputs).to(DTYPES[kind]) for n in (4096, outputs))
        times = []
        for _ in range(30):
            began = time.perf_counter()
            for _ in range(5):
                form(x, weight)
            times.append(time.perf_counter() - began)
        taken += min(times) / 5
        work += 2.0 * 4096 * inputs * outputs
    return work / taken


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


PRODUCTS_OF_TORCH = {
    *("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear_pointwise"),
    "aten::mkldnn_linear",
}


def shares(run: Callable[[], object]) -> Iterator[str]:
    """Shares of the time under the profiler (both wall): of products, of the dearest operators."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        began = time.perf_counter()
        run()
        seconds = time.perf_counter() - began
    rows = sorted(found.key_averages(), key=lambda r: -r.self_cpu_time_total)
    mine = sum(r.self_cpu_time_total for r in rows if r.key in PRODUCTS_OF_TORCH) / 1e6
    attention = sum(r.self_cpu_time_total for r in rows if "attention" in r.key) / 1e6
    yield f"matrix products {mine / seconds:.0%}, attention in training {attention / seconds:.0%}"
    for r in rows[:12]:
        yield f"  {r.self_cpu_time_total / 1e6 / seconds:5.1%}  {r.count:6d} x  {r.key}"


def default_steps() -> Callable[[], object]:
    """Twenty steps of what `entropilot run` does without a file, under plain GRPO."""
    config = load_config()
    subject = load_subject(config)
    settings = config.train.settings(config.run.seed)
    objective = Objective()
    trainee = Trainee(
        subject.policy, subject.task, lambda _step: objective, settings, probes=(entropy_probe(),)
    )
    optimizer = make_optimizer(subject.policy, settings)

    def run() -> None:
        for step in range(20):
            train_step(trainee, optimizer, {}, step)

    return run


def race(caps: Sequence[int], names: Sequence[str], n_steps: int, n_rounds: int) -> None:
    """Print medians over rounds; a round runs all racers one after another."""
    rates = {kind: product_rate(kind) for kind in DTYPES}
    plain = product_rate("float32", torch.nn.functional.linear)
    print(
        f"products: {rates['float32'] / 1e9:.0f} GFLOP/s float32 (torch's own {plain / 1e9:.0f}), "
        f"{rates['bfloat16'] / 1e9:.0f} bfloat16"
    )
    for cap in caps:
        for natural in (False, True):
            rounds = [
                {name: RACERS[name](cap, n_steps, natural) for name in names}
                for _ in range(n_rounds)
            ]
            for name in names:
                found = [each[name] for each in rounds]
                ratio = statistics.median(each[name].rate / each[names[0]].rate for each in rounds)
                rate = statistics.median(steps.rate for steps in found)
                model, _, kind = name.partition(" ")
                work = 8 * PARAMETERS[model] * rate
                bound = rates[kind or "float32"] / work
                print(
                    f"cap {cap:3d} {'natural' if natural else 'equal':8s} {name:15s} "
                    f"{statistics.median(s for x in found for s in x.seconds):6.3f} s "
                    f"{statistics.median(n for x in found for n in x.tokens):6.0f} tokens "
                    f"{rate:6.0f} tokens/s, {ratio:4.2f} x the first, {bound:4.2f} x the time of "
                    f"the bound ({plain / work:4.2f} with torch's products), log-prob gap "
                    f"{max(x.gap for x in found):.1e}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--caps", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(RACERS), default=list(RACERS))
    parser.add_argument("--profile", choices=[*RACERS, "default"])
    asked = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if asked.profile:
        run = (
            default_steps()
            if asked.profile == "default"
            else lambda: RACERS[asked.profile](asked.caps[0], 6, False)
        )
        run()
        began = time.process_time()
        run()
        seconds = time.process_time() - began
        print(f"{seconds:.2f} CPU-s without the profiler")
        print("\n".join(shares(run)))
        return
    print({name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl")})
    race(asked.caps, asked.only, asked.steps, asked.rounds)


if __name__ == "__main__":
    main()
