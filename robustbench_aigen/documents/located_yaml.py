"""YAML documents with the line of each value, for error messages."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from robustbench_aigen.errors import Source, UserError, shortened

Path_ = tuple[str | int, ...]


NOWHERE = Path()
"""Stand-in file name of values without a file."""


@dataclass
class LocatedYaml:
    """A parsed YAML file.

    Parameters
    ----------
    file
        The file, or :data:`NOWHERE` for values made in Python.
    content
        Plain Python values.
    lines
        The 1-based line of every value, by its path of keys and indices.
    replaced
        Paths of values that were replaced after the file was read; these have no place in the file.
    """

    file: Path
    content: Any
    lines: dict[Path_, int] = field(default_factory=dict)
    replaced: frozenset[Path_] = frozenset()

    def line(self, path: Path_) -> int | None:
        """Return the line of ``path``, or of its nearest enclosing value."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    @property
    def has_places(self) -> bool:
        """Whether values have places; false if ``file`` is the name of an option."""
        return bool(self.lines) or self.file == NOWHERE

    def source(self, path: Path_) -> Source | None:
        """Return the place of ``path``; None if the value was replaced after the file was read."""
        if any(path[:length] in self.replaced for length in range(1, len(path) + 1)):
            return None
        return Source(None if self.file == NOWHERE else self.file, self.line(path), dotted(path) or None)

    def error(self, message: str, path: Path_, hint: str | None = None) -> UserError:
        """Return a UserError that names file, line and key of ``path``."""
        return UserError(message, source=self.source(path), hint=hint)

    def without(self, paths: Iterable[Path_]) -> "LocatedYaml":
        """Return the file with some paths marked as replaced."""
        return replace(self, replaced=self.replaced | frozenset(paths))


def dotted(path: Path_) -> str:
    """Return a path in dotted form: ``pipelines.pgd[0].eps``."""
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
    located = LocatedYaml(file, None)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                located.content = _Construction(loader, located).value(node, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(
            f"not valid YAML: {error.problem or error.context}",
            file=file,
            line=mark.line + 1 if mark else None,
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"not valid YAML: {error.reason}", file=file, line=line) from error
    except RecursionError:
        raise UserError("not valid YAML: nested too deeply", file=file) from None
    return located


def yaml_value(text: str) -> Any:
    """Read a text as YAML with safe types, as :func:`read_yaml` reads a file.

    Raises
    ------
    ValueError
        If it is not YAML; the message is one line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  A SafeLoader.
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


_DEEPEST = 50
"""Values inside each other."""


class _NotAValueError(yaml.constructor.ConstructorError):
    """A text that its tag does not allow: ``!!int abc``."""


class _Loader(yaml.SafeLoader):
    """Safe types without dates: ``2024-02-31`` is text here, and text is what a message can show."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError) as error:
            raise _NotAValueError(None, None, str(error), node.start_mark) from error
        except (LookupError, AttributeError, TypeError) as error:
            # PyYAML leaves the errors of a text that a tag does not fit to its caller.
            text = f"'{shortened(str(node.value))}' is not of type {node.tag.rpartition(':')[2]}"
            raise _NotAValueError(None, None, text, node.start_mark) from error

    def fetch_flow_collection_start(self, token_class: type[yaml.Token]) -> None:
        # Before the limit of recursion: until there, each level takes longer than the last.
        if self.flow_level > _DEEPEST:
            raise yaml.scanner.ScannerError(None, None, "nested too deeply", self.get_mark())
        super().fetch_flow_collection_start(token_class)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_MERGE = "tag:yaml.org,2002:merge"
_MOST_VALUES = 100_000
"""Values in one file, aliases counted each time; a chain of aliases could exceed this limit, a written file does not."""


class _Construction:
    """Builds plain values from YAML nodes, noting the line of each."""

    def __init__(self, loader: _Loader, located: LocatedYaml) -> None:
        self.loader, self.located = loader, located
        self._flattened: set[int] = set()
        self._values = 0

    def value(self, node: yaml.Node, path: Path_) -> Any:
        line = node.start_mark.line + 1
        self.located.lines.setdefault(path, line)
        self._values += 1
        if self._values > _MOST_VALUES or len(path) > _DEEPEST:
            raise UserError("nested too deeply or too large", file=self.located.file, line=line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return self.loader.construct_object(node, deep=True)
        except _NotAValueError as error:
            raise self.located.error(f"not a value: {error.problem}", path) from error

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        if id(node) not in self._flattened:
            self._refuse_repeated_keys(node, path)
            self._flattened.add(id(node))
            self.loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        # Merged keys come first, so that the mapping's own win.
        for key_node, value_node in node.value:
            key = str(self.loader.construct_object(key_node))
            child = (*path, key)
            # The key's line, not the value's: an empty or indented value may start elsewhere.
            self.located.lines[child] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, child)
        return result

    def _refuse_repeated_keys(self, node: yaml.MappingNode, path: Path_) -> None:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                line = key_node.start_mark.line + 1
                raise UserError(
                    "a key must be text", file=self.located.file, line=line, key=dotted(path) or None
                )
            if key_node.tag != _MERGE and key_node.value in seen:
                line = key_node.start_mark.line + 1
                raise UserError(
                    "the key is repeated",
                    file=self.located.file,
                    line=line,
                    key=dotted((*path, key_node.value)),
                )
            seen.add(key_node.value)
