"""The fuzzed readers, one module each, imported when they are used."""

import importlib

from benchmarks.fuzzing.contract import Loader

LOADERS = {
    "scenario": "scenario_files",
    "image": "image_files",
    "data": "data_files",
    "run": "run_folders",
    "checkpoint": "checkpoint_files",
}
"""Names on the command line, and the modules with ``LOADER``."""


def loader(name: str) -> Loader:
    """Return a loader by its name."""
    found: Loader = importlib.import_module(f"{__name__}.{LOADERS[name]}").LOADER
    return found
