"""Provenance of a run: packages, revision, hardware."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "robustbench-aigen", "torch", "torchvision", "torchattacks", "adversarial-robustness-toolbox", "numpy", "scipy",
    "pandas", "pyarrow", "pillow", "scikit-learn", "safetensors", "pydantic", "timm",
    "transformers", "onnx", "onnx2torch", "onnxruntime", "skops", "keras",
)  # fmt: skip


def package_versions() -> dict[str, str | None]:
    """Return the versions of the packages that a run's numbers depend on; None for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """Return the commit of the checkout that the package runs from, ``+dirty`` added; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return f"{commit}+dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603  fixed words
    return done.stdout.strip()


def hardware(device: torch.device) -> dict[str, Any]:
    """Return the platform, processor count, and what ``device`` is."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
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
