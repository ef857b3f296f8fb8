"""Which data hold more learnable structure, and how much a network in training has learnt of them.

python examples/epiplexity.py
"""

import numpy as np
import torch
from torch import nn

from entropilot.information import eca_pairs
from entropilot.learning.data_comparison import compare_data
from entropilot.learning.epiplexity_meter import EpiplexityMeter
from entropilot.learning.recorder import MeterRecorder
from entropilot.learning.symbol_files import SymbolStream
from entropilot.report.epiplexity import epiplexity_document

# 1. Data sets, read by context models: rows of automata, and coin tosses.
streams = []
for rule in (15, 54, 110):
    rows, _ = eca_pairs(1000, rule=rule, steps=0, burn_in=200, rng=np.random.default_rng(rule))
    streams.append(SymbolStream(f"rule {rule}", rows.ravel(), "tokens", "all"))
coins = np.random.default_rng(0).integers(0, 2, 64_000)
streams.append(SymbolStream("coins", coins, "tokens", "all"))
found = epiplexity_document(compare_data(streams, order=12, readings=3))
print("\n".join(found["headline"]))

# 2. A meter on a training loop: one step of an automaton, learnt by a small convolution.
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv1d(1, 16, 3, padding=1, padding_mode="circular"), nn.GELU(), nn.Conv1d(16, 1, 1)
)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
x, y = eca_pairs(32 * 300, rule=54, steps=1, burn_in=50, rng=np.random.default_rng(0))
meter = EpiplexityMeter(test_tokens=1e7, parameters=sum(p.numel() for p in model.parameters()))
recorder = MeterRecorder(model, None, [meter], every=50)
for a, b in zip(np.split(x, 300), np.split(y, 300), strict=True):
    logits = model(torch.from_numpy(a).float()[:, None])[:, 0]
    loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(b).float())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    row = recorder.step(loss=loss.item(), tokens=b.size)
    if row:
        print(
            f"step {row['step']:3d}: S {row['epiplexity/S_bits'] / 1000:6.1f} kbit, "
            f"H {row['epiplexity/H_bits'] / 1e6:6.3f} Mbit, {row['epiplexity/flop']:.2e} FLOP"
        )
