"""Flow matching (Lipman et al. 2023, straight paths) with a small class-conditional U-Net in pixel space."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.minigen.generators.interface import Generator, Request
from benchmarks.minigen.training import Recipe, decay_at_end, restore

NAME = "flow"
CLASSES = 10
WIDTHS = (32, 96, 192)
EMBEDDING = 192
BATCH = 32
LEARNING_RATE = 6e-4
CLASS_DROPOUT = 0.1
LATE_SHARE = 0.35
STEPS = 8
LATE_GRID = 1.6
GUIDANCE = 2.0
GUIDED_UNTIL = 0.6


def _sinusoids(time: Tensor, size: int) -> Tensor:
    """Sine and cosine features of times in [0, 1]: N → N×size."""
    rates = torch.exp(torch.arange(size // 2) * (-math.log(1000.0) / (size // 2 - 1)))
    angles = time[:, None] * 1000.0 * rates[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _start_at_zero(layer: nn.Module) -> None:
    """A residual branch that starts as nothing leaves the signal alone at first."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)


class Block(nn.Module):
    """Residual block whose second norm is scaled and shifted by the time and class embedding."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulate = nn.Linear(EMBEDDING, 2 * outputs)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        _start_at_zero(self.conv2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """N×inputs×H×W and N×EMBEDDING to N×outputs×H×W."""
        h = self.conv1(functional.silu(self.norm1(x)))
        scale, offset = self.modulate(embedding)[:, :, None, None].to(h.dtype).chunk(2, dim=1)
        h = self.conv2(functional.silu(self.norm2(h) * (1 + scale) + offset))
        result: Tensor = self.skip(x) + h
        return result


class Attention(nn.Module):
    """Self-attention over positions with a residual connection."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        _start_at_zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to the same shape."""
        n, c, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, height * width)
        q, k, v = qkv.transpose(3, 4).unbind(1)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, height, width)
        result: Tensor = x + self.out(mixed)
        return result


class UNet(nn.Module):
    """Velocity of the flow: images N×3×32×32, times N in [0, 1], classes N (10 = no class) → N×3×32×32."""

    def __init__(self, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c = widths
        self.time = nn.Sequential(nn.Linear(64, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.classes = nn.Embedding(CLASSES + 1, EMBEDDING)
        self.stem = nn.Conv2d(3, a, 3, padding=1)
        self.down1 = Block(a, a)
        self.half1 = nn.Conv2d(a, b, 2, stride=2)
        self.down2 = nn.ModuleList([Block(b, b), Block(b, b)])
        self.half2 = nn.Conv2d(b, c, 2, stride=2)
        self.down3 = Block(c, c)
        self.attention = Attention(c)
        self.up3 = Block(c, c)
        self.double2 = nn.Conv2d(c, b, 1)
        self.up2 = nn.ModuleList([Block(2 * b, b), Block(b, b)])
        self.double1 = nn.Conv2d(b, a, 1)
        self.up1 = Block(2 * a, a)
        self.norm = nn.GroupNorm(8, a)
        self.head = nn.Conv2d(a, 3, 3, padding=1)
        _start_at_zero(self.head)

    def forward(self, x: Tensor, time: Tensor, classes: Tensor) -> Tensor:
        """The velocity, in the dtype of the computation."""
        e = functional.silu(self.time(_sinusoids(time, 64)) + self.classes(classes))
        h1 = self.down1(self.stem(x), e)
        h2 = self.half1(h1)
        for block in self.down2:
            h2 = block(h2, e)
        h = self.up3(self.attention(self.down3(self.half2(h2), e)), e)
        h = torch.cat([functional.interpolate(self.double2(h), scale_factor=2), h2], dim=1)
        for block in self.up2:
            h = block(h, e)
        h = self.up1(torch.cat([functional.interpolate(self.double1(h), scale_factor=2), h1], dim=1), e)
        result: Tensor = self.head(functional.silu(self.norm(h)))
        return result


def draw_times(count: int) -> Tensor:
    """Times in [0, 1] to train at: logit-normal (Esser et al. 2024), a third of them of density 2t.

    The logit-normal alone hardly visits the last tenth, where fine detail appears, and leaves grain.
    """
    middle = torch.sigmoid(torch.randn(count))
    late = torch.rand(count).sqrt()
    return torch.where(torch.rand(count) < LATE_SHARE, late, middle)


def recipe(work: Path) -> Recipe:
    """Regress the velocity data - noise with Adam; the averaged weights are kept."""
    del work  # needs no other network
    net = UNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99))
    done = 0

    def step(images: Tensor, labels: Tensor) -> dict[str, float]:
        nonlocal done
        done += 1
        for group in optimizer.param_groups:
            group["lr"] *= min(1.0, done / 200)
        time = draw_times(len(images))
        noise = torch.randn_like(images)
        mixed = torch.lerp(noise, images, time[:, None, None, None])
        classes = torch.where(torch.rand(len(labels)) < CLASS_DROPOUT, CLASSES, labels)
        with torch.autocast("cpu", torch.bfloat16):
            velocity = net(mixed, time, classes)
        loss = functional.mse_loss(velocity.float(), images - noise)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return {"loss": loss.item(), "grad": norm.item()}

    return Recipe(
        NAME,
        {"net": net},
        {"net": optimizer},
        step,
        BATCH,
        averaged=("net",),
        decay=0.9995,
        lr_factor=decay_at_end,
    )


@torch.inference_mode()
def sample(work: Path, request: Request) -> Tensor:
    """Integrate from noise at t = 0 to an image at t = 1; float32 N×3×32×32 in [-1, 1].

    Heun's method on steps that grow shorter towards the image, the last one Euler's (Karras et al. 2022), with
    classifier-free guidance in the early part only (Kynkäänniemi et al. 2024).
    """
    net = restore(work, NAME, "net", UNet())
    rng = torch.Generator().manual_seed(request.seed)
    classes = torch.as_tensor(request.labels)
    free = torch.full_like(classes, CLASSES)

    def velocity(x: Tensor, time: float) -> Tensor:
        times = torch.full((len(x),), time)
        with torch.autocast("cpu", torch.bfloat16):
            conditional: Tensor = net(x, times, classes).float()
            if time >= GUIDED_UNTIL:
                return conditional
            return torch.lerp(net(x, times, free).float(), conditional, GUIDANCE)

    x = torch.randn(len(request.labels), 3, 32, 32, generator=rng)
    times = [1.0 - (1.0 - i / STEPS) ** LATE_GRID for i in range(STEPS + 1)]
    for now, after in pairwise(times):
        first = velocity(x, now)
        if after < 1.0:
            first = 0.5 * (first + velocity(x + (after - now) * first, after))
        x = x + (after - now) * first
    return x.clamp(-1.0, 1.0)


GENERATOR = Generator(
    name=NAME,
    family="flow matching (diffusion)",
    architecture=f"class-conditional U-Net, {WIDTHS} channels at 32, 16 and 8 pixels, attention at 8 pixels",
    training=f"velocity regression at logit-normal and late times, Adam {LEARNING_RATE:g}, batch {BATCH}, "
    f"class dropped with probability {CLASS_DROPOUT:g}",
    sampler=f"Heun, {STEPS} steps shortening towards the image, guidance {GUIDANCE:g} until t = {GUIDED_UNTIL:g}",
    minutes=76.0,
    network=UNet,
    recipe=recipe,
    sample=sample,
)
