"""SafeStep inside the trainers of Lightning and Transformers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from entropilot.errors import ConfigurationError, MissingExtraError
from entropilot.learning.safe_step import SafeStep
from entropilot.learning.safe_step_callbacks import lightning_callback, transformers_callback
from entropilot.policy.training.metrics_log import read_metrics

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def lightning_parts(lr: float, *, inner: bool) -> tuple[Any, Any]:
    pl = pytest.importorskip("pytorch_lightning")

    class Classifier(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> Any:
            return self.net(x)

        def training_step(self, batch: Any, number: int) -> Any:
            x, y = batch
            return functional.cross_entropy(self.net(x) if inner else self(x), y)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=lr)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
            return {"optimizer": optimizer, "lr_scheduler": scheduler}

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 4, generator=generator)
    y = torch.randint(0, 3, (32,), generator=generator)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
    return Classifier(), loader


@pytest.mark.slow
@pytest.mark.parametrize("inner", [False, True])
def test_lightning(tmp_path: Path, inner: bool) -> None:
    pl = pytest.importorskip("pytorch_lightning")
    module, loader = lightning_parts(1e4, inner=inner)
    path = tmp_path / "metrics.jsonl"
    callback = lightning_callback(module="net" if inner else None, record=path)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        accumulate_grad_batches=2,
    )
    trainer.fit(module, loader)
    rows = read_metrics(path)
    assert len(rows) == 4  # 8 batches, two a step
    assert all(row["safe_step/r_applied"] <= 1 + 1e-6 for row in rows)
    assert rows[0]["safe_step/r"] > 100
    # the schedule reaches the wrapped optimizer: the rate is halved after each epoch
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(2500)
    assert not isinstance(trainer.optimizers[0], SafeStep)
    assert "safe_step/r" in trainer.callback_metrics


@pytest.mark.slow
def test_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    model = transformers.LlamaForCausalLM(config)
    rows = []
    for _ in range(16):
        tokens = torch.randint(0, 20, (8,))
        labels = tokens.clone()
        labels[:4] = -100
        rows.append({"input_ids": tokens, "labels": labels})
    path = tmp_path / "metrics.jsonl"
    callback = transformers_callback(record=path)
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=10.0,
            max_steps=4,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=rows,
        callbacks=[callback],
    )
    trainer.train()
    found = read_metrics(path)
    assert len(found) == 4
    assert all(row["safe_step/r_applied"] <= 1 + 1e-6 for row in found)
    assert found[0]["safe_step/r"] > 1
    assert trainer.state.log_history[0]["safe_step/r"] > 1
    assert callback.safe_step is None
    assert not isinstance(trainer.optimizer.optimizer, SafeStep)


def test_an_engine_that_replaces_the_optimizer_is_refused() -> None:
    pytest.importorskip("transformers")
    callback = transformers_callback()
    with pytest.raises(ConfigurationError, match="DeepSpeed"):
        callback.on_train_begin(None, None, None, model=nn.Linear(2, 2), optimizer=object())


def test_a_missing_trainer_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"entropilot\[lightning\]"):
        lightning_callback()
    with pytest.raises(MissingExtraError, match=r"entropilot\[torch\]"):
        transformers_callback()
