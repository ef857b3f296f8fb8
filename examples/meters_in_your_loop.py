"""Meters in your own training loop: collapse, spectral entropy, flow, stiffness, epiplexity.

One line attaches them, one line a step records. First a small CNN on scikit-learn's digits, then a
tiny transformer that learns to repeat; each leaves a metrics file and a report that opens offline.

python examples/meters_in_your_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from entropilot.learning.collapse_meter import CollapseMeter
from entropilot.learning.epiplexity_meter import EpiplexityMeter
from entropilot.learning.flow_meter import KnowledgeFlowMeter
from entropilot.learning.recorder import MeterRecorder
from entropilot.learning.representation_meter import RepresentationEntropyMeter
from entropilot.learning.stiffness_profile import StiffnessMeter
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.report.metrics import write_metrics_report


def train(model, recorders, draw, steps):
    """A plain loop; the recorders are its only guests."""
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        x, y = draw()
        loss = nn.functional.cross_entropy(model(x).flatten(0, -2), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for recorder in recorders:
            if row := recorder.step(loss=loss.item(), tokens=y.numel()):
                print(f"step {row['step']}: {len(row)} numbers, loss {row['loss']:.3f}")
    for recorder in recorders:
        recorder.close()
        page = recorder.path.with_suffix(".html")
        print("report:", write_metrics_report(recorder.path, page))


torch.manual_seed(0)
images, labels = (torch.tensor(v) for v in load_digits(return_X_y=True))
images = images.float().reshape(-1, 1, 8, 8) / 16
cnn = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU()),
    nn.Sequential(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten()),
    nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Dropout(0.1)),
    nn.Linear(64, 10),
)
spectrum, flow = RepresentationEntropyMeter(max_rows=400), KnowledgeFlowMeter()
meters = [CollapseMeter(10, heads=("3",)), spectrum, flow, EpiplexityMeter()]
probe = (images[1300:], labels[1300:])  # the same examples at every recorded step
recorder = MeterRecorder(cnn, "cnn.jsonl", meters, ["*"], every=15, probe=probe)
train(cnn, [recorder], lambda: (images[(i := torch.randint(1300, (64,)))], labels[i]), 150)

transformer = SmallTransformer(TransformerConfig(12, width=32, layers=2, heads=2, context=8))
tokens = torch.randint(12, (64, 8))
before = tokens.roll(1, 1).masked_fill(torch.arange(8) == 0, -100)  # nothing precedes the first
meters = [CollapseMeter(12, heads=("head",), targets="of"), spectrum, flow, EpiplexityMeter()]
layers = ["blocks.*", "norm", "head"]
recorder = MeterRecorder(
    transformer, "transformer.jsonl", meters, layers, every=15, probe=(tokens, before)
)
blocks = ["blocks.0", "blocks.1"]  # stiffness is of layers that keep the shape of their input
depth = MeterRecorder(
    transformer, "depth.jsonl", [StiffnessMeter()], blocks, every=15, probe=(tokens, None)
)
train(transformer, [recorder, depth], lambda: (t := torch.randint(12, (64, 8)), t.roll(1, 1)), 150)
