"""Meters in your own training loop: collapse, spectral entropy, flow, stiffness, epiplexity.

One line attaches them, one line a step records. A CNN learns scikit-learn's digits, a transformer
to repeat; each leaves metrics files and reports that open offline.

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


def train(model, recorders, draw):
    """A plain loop; the recorders are its only guests."""
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(150):
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
        print("report:", write_metrics_report(recorder.path, recorder.path.with_suffix(".html")))


torch.manual_seed(0)
images, labels = (torch.tensor(v) for v in load_digits(return_X_y=True))
images = images.float().reshape(-1, 1, 8, 8) / 16
cnn = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU()),
    nn.Sequential(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten()),
    nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Dropout(0.1)),
    nn.Linear(64, 10),
)
shared = [RepresentationEntropyMeter(max_rows=400), KnowledgeFlowMeter(), EpiplexityMeter()]
meters, held = [CollapseMeter(10, heads=("3",)), *shared], (images[1300:], labels[1300:])
whole = MeterRecorder(cnn, "cnn.jsonl", meters, ["*"], every=15, probe=held)
train(cnn, [whole], lambda: (images[(i := torch.randint(1300, (64,)))], labels[i]))

net = SmallTransformer(TransformerConfig(12, width=32, layers=2, heads=2, context=8))
words = torch.randint(12, (64, 8))
held = (words, words.roll(1, 1).masked_fill(torch.arange(8) == 0, -100))  # the first has no label
meters, names = [CollapseMeter(12, heads=("head",), targets="of"), *shared], ["blocks.*", "head"]
whole = MeterRecorder(net, "transformer.jsonl", meters, names, every=15, probe=held)
depth = MeterRecorder(net, "depth.jsonl", [StiffnessMeter()], names[:1], every=15, probe=held)
train(net, [whole, depth], lambda: (t := torch.randint(12, (64, 8)), t.roll(1, 1)))
