"""Hardware of a run."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from robustbench_aigen.numerics.threads import thread_count


def hardware(device: torch.device) -> dict[str, Any]:
    """Return the platform, processor count, and what ``device`` is."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "image_threads": thread_count(),
        "device": str(device),
        "device_name": name,
    }


_INSTRUCTIONS = {"avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_bf16": "AMX"}
"""Names in Linux of the instructions that decide the speed of networks."""


def processor() -> str:
    """Return the name of the processor, on Linux with the instructions that decide how fast networks are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = fields.get("flags", "").split()
    has = [word for flag, word in _INSTRUCTIONS.items() if flag in flags]
    return f"{name} ({', '.join(has)})" if has else name
