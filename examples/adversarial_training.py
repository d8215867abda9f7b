"""Train a module on attacked images: a plain training loop with ``attacks.pgd`` inside."""

import torch
from torch import nn

from robustbench_aigen import attacks

generator = torch.Generator().manual_seed(0)
images = torch.rand(32, 3, 16, 16, generator=generator)
labels = torch.arange(32) % 2
images[labels == 1, 0] = (images[labels == 1, 0] + 0.2).clamp(max=1)
torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
attack = attacks.pgd(eps=2 / 255, steps=3)
for step in range(5):
    attacked = attack(module, images, labels, seed=step).images
    loss = nn.functional.cross_entropy(module(attacked), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {float(loss):.3f}")
result = attack(module, images, labels)
print(f"right under attack: {int((~result.success).sum())} of {len(labels)}")
