"""Versions behind the numbers of a run: packages and the commit of the checkout."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "robustbench-aigen", "torch", "torchvision", "torchattacks", "adversarial-robustness-toolbox", "numpy", "scipy",
    "pandas", "pyarrow", "pillow", "scikit-learn", "safetensors", "pydantic", "timm",
    "transformers", "diffusers", "onnx", "onnx2torch", "onnxruntime", "skops", "keras",
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
