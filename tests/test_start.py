"""What commands import: each waits for no more than it uses, as the modules of its process tell when it ends."""

import subprocess
import sys
from pathlib import Path

import pytest
from gated_runs import made_up, write_run_folder

SLOW = {
    "torch", "torch._dynamo", "torchvision", "sklearn", "scipy.stats", "matplotlib", "seaborn", "art", "torchattacks", "lightning",
    "timm", "transformers", "onnx", "keras",
}  # fmt: skip
"""Modules that take a command longer to import than most take for all of their work."""
COMPUTES = SLOW - {"torch"}
