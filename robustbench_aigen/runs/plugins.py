"""The plugin files of a run: listed in ``run.json``, and named in a report or gate that lacks them."""

from collections.abc import Iterator

from robustbench_aigen.notices import Notice, warning
from robustbench_aigen.registry import plugin_contents
from robustbench_aigen.runs.info import RunInfo


def noted_plugins() -> list[dict[str, object]]:
    """Return the entry ``plugins`` of ``run.json``: each loaded plugin file and the names that it adds."""
    return [{"file": str(file), "adds": adds} for file, adds in plugin_contents().items()]


def missing_plugins(info: RunInfo) -> Iterator[Notice]:
    """Yield a line for each plugin file of a run that is not loaded.

    The plugin file is not loaded, because opening a run folder runs no code.
    """
    for noted in info.plugins:
        if noted.adds in plugin_contents().values():
            continue
        lacking = "; ".join(f"{kind} {', '.join(names)}" for kind, names in noted.adds.items())
        yield warning(f"the run used a plugin that is not loaded: {lacking}; add --plugin {noted.file}")
