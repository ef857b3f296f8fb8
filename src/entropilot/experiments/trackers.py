"""Metrics in TensorBoard, Weights & Biases and MLflow, through their own libraries."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from entropilot.errors import require
from entropilot.experiments.config import ExperimentConfig

Listener = Callable[[Mapping[str, Any]], None]


@contextlib.contextmanager
def open_trackers(
    config: ExperimentConfig, label: str, seed: int, folder: Path
) -> Iterator[tuple[Listener, ...]]:
    """Listeners for the trackers that the experiment asks for; closed at the end.

    Args:
        config: its ``[log]`` section says which.
        label: of the recipe.
        seed: of the arm.
        folder: of the arm; the trackers' files go into it.

    Raises:
        MissingExtraError: a tracker is not installed; the message has the install line.
    """
    with contextlib.ExitStack() as stack:
        listeners: list[Listener] = []
        if config.log.tensorboard:
            listeners.append(stack.enter_context(_tensorboard(folder)))
        if config.log.wandb:
            listeners.append(stack.enter_context(_wandb(config, label, seed, folder)))
        if config.log.mlflow:
            listeners.append(stack.enter_context(_mlflow(config, label, seed)))
        yield tuple(listeners)


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row, without its step.

    Examples:
        >>> numbers({"step": 3, "loss": 0.5, "stopped": None})
        {'loss': 0.5}
    """
    return {
        name: float(value)
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float)
    }


@contextlib.contextmanager
def _tensorboard(folder: Path) -> Iterator[Listener]:
    require("tensorboard", extra="log", purpose="logging to TensorBoard")
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def listen(row: Mapping[str, Any]) -> None:
        for name, value in numbers(row).items():
            writer.add_scalar(name, value, row["step"])

    try:
        yield listen
    finally:
        writer.close()


@contextlib.contextmanager
def _wandb(config: ExperimentConfig, label: str, seed: int, folder: Path) -> Iterator[Listener]:
    os.environ.setdefault("WANDB_MODE", "offline")  # sends nothing unless the user asks for it
    os.environ.setdefault("WANDB_SILENT", "true")
    wandb: Any = require("wandb", extra="log", purpose="logging to Weights & Biases")
    run = wandb.init(
        project=config.log.project,
        name=f"{label} seed {seed}",
        group=config.run.name,
        dir=str(folder),
        config=config.model_dump(mode="json"),
    )

    def listen(row: Mapping[str, Any]) -> None:
        run.log(numbers(row), step=int(row["step"]))

    try:
        yield listen
    finally:
        run.finish()


def _mlflow_store(folder: Path) -> str:
    """A store below the folder: a database, or plain files where mlflow-skinny can't keep one."""
    if importlib.util.find_spec("sqlalchemy") is not None:
        return f"sqlite:///{folder / 'mlflow.db'}"
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    return (folder / "mlruns").as_uri()


@contextlib.contextmanager
def _mlflow(config: ExperimentConfig, label: str, seed: int) -> Iterator[Listener]:
    mlflow: Any = require("mlflow", extra="log", purpose="logging to MLflow")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(_mlflow_store(config.folder.absolute()))
    mlflow.set_experiment(config.log.project)
    client = mlflow.MlflowClient()
    experiment = mlflow.get_experiment_by_name(config.log.project).experiment_id
    run = client.create_run(experiment, run_name=f"{config.run.name}: {label} seed {seed}")
    client.log_param(run.info.run_id, "recipe", label)
    client.log_param(run.info.run_id, "seed", seed)

    def listen(row: Mapping[str, Any]) -> None:
        for name, value in numbers(row).items():
            # @ is refused there, and a store of files takes a slash for a folder
            plain = name.replace("@", "_at_").replace("/", ".")
            client.log_metric(run.info.run_id, plain, value, step=row["step"])

    try:
        yield listen
    finally:
        client.set_terminated(run.info.run_id)
