"""Devices, and the precision of gradients. Verdicts are always float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from robustbench_aigen.errors import UserError

Precision = Literal["auto", "fp32", "bf16"]


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into an available device.

    Raises
    ------
    UserError
        If the name is not a device or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device '{name}'", hint="known: auto, cpu, cuda, cuda:N, mps") from None
    available = {
        "cpu": not device.index,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise UserError(f"device '{name}' is not available on this machine", hint="use --device auto")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is in the hardware of ``device`` rather than emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        return bool(torch.backends.cpu.get_cpu_capability().startswith("AVX512")) and _cpu_has_bf16()
    return False


def _cpu_has_bf16() -> bool:
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe()) if probe else False


def resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Choose the precision of gradients: ``auto`` is bf16 where :func:`has_fast_bf16`, else fp32."""
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return precision


@contextmanager
def gradient_precision(precision: Literal["fp32", "bf16"], device: torch.device) -> Iterator[None]:
    """Run forward passes whose gradients are wanted in the given precision."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield
