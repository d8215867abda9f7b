"""The plugin files of a run: noted in ``run.json``, and loaded again for its report and its gate."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import Notice, warning
from robustbench_aigen.registry import load_plugin, plugin_contents


def noted_plugins() -> dict[str, Any]:
    """Return the entry ``plugins`` of ``run.json``, empty where no plugin file is loaded: files, and what they add."""
    found = [{"file": str(file), "adds": adds} for file, adds in plugin_contents().items()]
    return {"plugins": found} if found else {}


def load_plugins_of(info: Mapping[str, Any]) -> Iterator[Notice]:
    """Load the plugin files that a run was computed with, and yield a line for each that cannot be loaded.

    A file is loaded from its absolute path, and not where another plugin with the same contents is loaded.

    Parameters
    ----------
    info
        The content of ``run.json``.
    """
    for noted in info.get("plugins", []):
        file, adds = Path(noted["file"]), noted["adds"]
        if not file.is_absolute() or adds in plugin_contents().values():
            continue
        try:
            load_plugin(file)
        except UserError as error:
            lacking = "; ".join(f"{kind} {', '.join(names)}" for kind, names in adds.items())
            yield warning(
                f"without the plugin '{file}' there is no {lacking} ({error.message}); --plugin FILE loads it"
            )
