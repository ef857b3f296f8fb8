"""A diffusion trainer's loop with a curriculum of timesteps: two lines are new, marked below.

The loop is that of diffusers' training scripts in plain torch; here an MLP learns the digits that
scikit-learn ships. The curriculum only draws timesteps.

python examples/denoising_curriculum.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from entropilot.information import alpha_bar, frechet_distance, signal_to_noise
from entropilot.learning.timestep_curriculum import TimestepCurriculum
from entropilot.learning.timestep_difficulty import cluster_timesteps

T, STEPS = 200, 1500
torch.manual_seed(0)
images = torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32)
schedule = alpha_bar(T=T, beta_first=5e-4, beta_last=0.1)
kept = torch.tensor(schedule, dtype=torch.float32)[:, None]


class Denoiser(nn.Module):
    """Predicts the noise in x at timestep t."""

    def __init__(self, width=128):
        super().__init__()
        self.time = nn.Embedding(T, width)
        self.body = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.start, self.end = nn.Linear(64, width), nn.Linear(width, 64)

    def forward(self, x, t):
        """[B, 64] and [B]."""
        return self.end(self.body(self.start(x) + self.time(t)))


model = Denoiser()
optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
clusters = cluster_timesteps(signal_to_noise(schedule), 5)
# a cap, so that a loss which falls for long does not keep the hard timesteps out
curriculum = TimestepCurriculum(clusters, patience=12, max_stage_steps=150, n_timesteps=T)
for step in range(1, STEPS + 1):
    x0 = images[torch.randint(len(images), (128,))]
    t = curriculum.sample(len(x0))  # new: was torch.randint(0, T, (len(x0),))
    noise, a = torch.randn_like(x0), kept[t]
    loss = nn.functional.mse_loss(model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t), noise)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curriculum.update(loss.item(), step)  # new: after the optimiser's step
    if step % 150 == 0:
        print(f"step {step}: timesteps from {curriculum.allowed()[0]} to {T - 1} are in")
print("steps of each stage:", curriculum.stage_steps)  # save curriculum.state_dict() with the model

x = torch.randn(500, 64)  # ancestral sampling, DDPM's algorithm 2
with torch.no_grad():
    for i in range(T - 1, -1, -1):
        a, before = kept[i], kept[i - 1] if i else torch.ones(1)
        guess = ((x - (1 - a).sqrt() * model(x, torch.full((500,), i))) / a.sqrt()).clamp(-1, 1)
        share, left = (1 - before) / (1 - a), a / before
        mean = before.sqrt() * (1 - left) / (1 - a) * guess + left.sqrt() * share * x
        x = mean + (share * (1 - left)).sqrt() * torch.randn_like(x)
print(f"Frechet distance of 500 samples to the data: {frechet_distance(x, images):.2f}")
