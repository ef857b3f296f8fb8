"""TensorBoard, Weights & Biases and MLflow hold the numbers of the metrics file."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from entropilot.errors import MissingExtraError
from entropilot.experiments import load_config, run_training
from entropilot.experiments.trackers import numbers, open_trackers

Curves = dict[str, dict[int, float]]  # name -> step -> value

SMALL = {
    "train.steps": 2,
    "train.n_prompts": 2,
    "train.n_answers": 4,
    "train.n_eval_problems": 2,
    "train.n_eval_answers": 2,
    "train.evaluate_every": 0,
    "train.workers": 1,
    "run.n_seeds": 1,
}
HINT = "is not installed: pip install 'entropilot[log]'"


def in_tensorboard(folder: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (found,) = folder.rglob("events.out.tfevents*")
    events: Any = EventAccumulator(str(found.parent))
    events.Reload()
    return {
        name: {event.step: event.value for event in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }


def leveldb_records(content: bytes, block: int = 32768, head: int = 7) -> Iterator[bytes]:
    """Records of a log in LevelDB's format: checksum, length, kind (whole or a part), data."""
    at, parts = head, b""  # the file itself begins with a head of the same length
    while at + head <= len(content):
        if block - at % block < head:  # the rest of a block is empty
            at += block - at % block
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + head])
        parts += content[at + head : at + head + length]
        at += head + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def in_wandb(folder: Path) -> Curves:
    from wandb.proto import wandb_internal_pb2

    (found,) = folder.rglob("offline-run-*/*.wandb")
    curves: Curves = {}
    for data in leveldb_records(found.read_bytes()):
        record: Any = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") != "history":
            continue
        row = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
        for name, value in row.items():
            if not name.startswith("_"):
                curves.setdefault(name, {})[int(row["_step"])] = float(json.loads(value))
    return curves


def in_mlflow(folder: Path) -> Curves:
    import mlflow

    client: Any = mlflow.MlflowClient()  # the store that the run has set
    experiment = client.get_experiment_by_name("entropilot")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"recipe": "grpo", "seed": "0"}
    assert any(folder.rglob("mlruns")) or (folder / "mlflow.db").is_file()
    plain = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: {m.step: m.value for m in history} for name, history in plain.items()}


READERS: dict[str, tuple[Callable[[Path], Curves], Callable[[str], str]]] = {
    "tensorboard": (in_tensorboard, str),
    "wandb": (in_wandb, str),
    "mlflow": (in_mlflow, lambda name: name.replace("@", "_at_").replace("/", ".")),
}


@pytest.mark.slow
@pytest.mark.parametrize("tracker", READERS)
def test_tracker_holds_every_number_of_the_metrics_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    pytest.importorskip(tracker, reason=f"{tracker} {HINT}")
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)  # nothing may be left beside the folder of the run
    changes = SMALL | {"run.folder": str(tmp_path / "runs"), f"log.{tracker}": True}
    result = run_training(load_config(overrides=changes, recipes=["grpo"]))
    assert result.failed == {}
    read, called = READERS[tracker]
    curves = read(result.folder)
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    for row in rows:
        step = row["step"]
        for name, value in numbers({k: v for k, v in row.items() if k != "seed"}).items():
            found = curves[called(name)][step]
            assert math.isclose(found, value, rel_tol=1e-6, abs_tol=1e-9), (name, step)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("tracker", READERS)
def test_tracker_that_is_absent_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    config = load_config(overrides={f"log.{tracker}": True, "run.folder": str(tmp_path)})
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'entropilot\[log\]'"),
        open_trackers(config, "grpo", 0, tmp_path),
    ):
        pass


def test_no_tracker_is_imported_unless_asked() -> None:
    code = (
        "import sys; from entropilot.experiments import load_config; "
        "from entropilot.experiments.trackers import open_trackers; from pathlib import Path\n"
        "with open_trackers(load_config(), 'grpo', 0, Path('.')) as found: pass\n"
        "print(found, sorted({'tensorboard', 'wandb', 'mlflow'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "() []"
