"""Two lines switch TRL's GRPOTrainer to an entropy control: KL-Cov, SIREN or any other recipe.

A tiny random Llama is rewarded for digits. Plain GRPO spends its entropy on them; the controls keep
more of it and learn more slowly, which is their price in a run this short.

pip install 'entropilot[torch,trl]' && python examples/trl_entropy_control.py
"""

import tempfile
import warnings

from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from entropilot.models.tiny import tiny_parts
from entropilot.policy.hosts.trl import objective_trainer
from entropilot.policy.recipe_table import find_recipe
from entropilot.policy.training.threads import one_thread

# The two lines, an objective and the trainer class that minimises it:
kl_cov = find_recipe("kl-cov").objective({"ratio": 0.3})
KlCovTrainer = objective_trainer(kl_cov)
SirenTrainer = objective_trainer(find_recipe("siren").objective({"coef": 2.0}))


def share_of_digits(completions: list[str], **_: object) -> list[float]:
    """Reward of each answer."""
    return [sum(c.isdigit() for c in text) / max(1, len(text)) for text in completions]


def train(trainer_class: type) -> list[dict[str, float]]:
    """What the trainer logs of a short run."""
    model, tokenizer = tiny_parts()
    tokenizer.pad_token = tokenizer.eos_token
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(), report_to=[], save_strategy="no", disable_tqdm=True,
        per_device_train_batch_size=32, num_generations=8, max_completion_length=8,
        steps_per_generation=2,  # two updates a rollout: KL-Cov does nothing on the first
        max_steps=40, learning_rate=1e-2, lr_scheduler_type="constant", logging_steps=5, bf16=False,
    )  # fmt: skip
    prompts = Dataset.from_dict({"prompt": [f"{i}=" for i in range(64)]})
    trainer = trainer_class(
        model=model, reward_funcs=share_of_digits, args=settings, train_dataset=prompts,
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row]


warnings.simplefilter("ignore", FutureWarning)
with one_thread():  # a network this small is faster on one
    runs = [train(kind) for kind in (GRPOTrainer, KlCovTrainer, SirenTrainer)]
print("step   entropy, nats           reward")
print("       plain  KL-Cov  SIREN    plain  KL-Cov  SIREN")
for rows in zip(*runs, strict=True):
    entropy, reward = ([row[name] for row in rows] for name in ("entropy", "reward"))
    print("{:4d}   {:5.2f}  {:6.2f}  {:5.2f}".format(rows[0]["step"], *entropy), end="    ")
    print("{:5.2f}  {:6.2f}  {:5.2f}".format(*reward))
