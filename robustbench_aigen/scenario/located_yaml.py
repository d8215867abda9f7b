"""YAML that remembers where each value stood, so that an error can name the line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from robustbench_aigen.errors import UserError

Path_ = tuple[str | int, ...]


@dataclass
class LocatedYaml:
    """A parsed YAML file.

    Parameters
    ----------
    file
        Where it was read.
    content
        Plain Python values.
    lines
        The 1-based line of every value, by its path of keys and indices.
    """

    file: Path
    content: Any
    lines: dict[Path_, int] = field(default_factory=dict)

    def line(self, path: Path_) -> int | None:
        """Return the line of ``path``, or of its nearest enclosing value."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    def error(self, message: str, path: Path_, hint: str | None = None) -> UserError:
        """Return a UserError that names file, line and key of ``path``."""
        return UserError(message, file=self.file, line=self.line(path), key=dotted(path) or None, hint=hint)


def dotted(path: Path_) -> str:
    """Write a path as a person would: ``pipelines.pgd[0].eps``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read_yaml(file: Path) -> LocatedYaml:
    """Read one YAML document with safe types.

    Raises
    ------
    UserError
        If the file is missing, not text, not YAML, or names a key twice.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError("no such file", file=file) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read as text: {error}", file=file) from error
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        located = LocatedYaml(file, None)
        located.content = _construct(loader, node, (), located) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(
            f"not valid YAML: {error.problem or error.context}",
            file=file,
            line=mark.line + 1 if mark else None,
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML: {error}", file=file) from error
    finally:
        loader.dispose()
    return located


def _construct(loader: yaml.SafeLoader, node: yaml.Node, path: Path_, located: LocatedYaml) -> Any:
    located.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        loader.flatten_mapping(node)
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node))
            child = (*path, key)
            if key in result:
                raise UserError(
                    "the key stands twice",
                    file=located.file,
                    line=key_node.start_mark.line + 1,
                    key=dotted(child),
                )
            # The key's line, not the value's: an empty or indented value may start elsewhere.
            located.lines[child] = key_node.start_mark.line + 1
            result[key] = _construct(loader, value_node, child, located)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, item, (*path, index), located) for index, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)
