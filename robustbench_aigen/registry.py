"""Named extensions of one kind (metrics, checks, layouts, …): built in, of installed packages, of plugin files.

Importing this module loads no extension. A registry fills itself when it is first read: from the modules of its
built-in folder, then from the entry points of the group ``robustbench_aigen.plugins``. :func:`load_plugin` adds the
extensions of one file.
"""

import hashlib
import importlib
import inspect
import pkgutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakSet

from robustbench_aigen.errors import UserError, did_you_mean, first_line

T = TypeVar("T")

ENTRY_POINTS = "robustbench_aigen.plugins"
"""Entry point group of plugins."""

_LOADING = threading.RLock()


class _Entry(NamedTuple, Generic[T]):
    """A registered object, where it was defined, and its place in the order."""

    item: T
    module: str
    place: str
    rank: tuple[bool, float, str, int]


class Registry(Generic[T]):
    """Objects of one kind by name, in order: built-in ones first, then plugins as they were loaded.

    Parameters
    ----------
    kind
        The noun of messages, such as ``metric``.
    folder
        The package whose modules register the built-in objects, such as ``robustbench_aigen.metrics``; None if only
        plugins register objects.
    """

    def __init__(self, kind: str, folder: str | None) -> None:
        self.kind, self.folder = kind, folder
        self._entries: dict[str, _Entry[T]] = {}
        self._count = 0
        self._built_in_loaded = False
        _REGISTRIES.add(self)

    def register(self, name: str, *, order: float = 0) -> Callable[[T], T]:
        """Return a decorator that registers a function or class; see :meth:`add`."""

        def decorator(item: T) -> T:
            self.add(name, item, order=order)
            return item

        return decorator

    def add(self, name: str, item: T, *, defined: object = None, order: float = 0) -> None:
        """Register an object under a name that is free.

        Parameters
        ----------
        name
            The name that scenarios and commands use.
        item
            The object.
        defined
            The function or class whose file and line messages name; the object itself by default.
        order
            Built-in objects are sorted by this number, then by module, then as written; plugins follow them.
        """
        source = item if defined is None else defined
        module = str(getattr(source, "__module__", None) or "")
        built_in = module.startswith(f"{self.folder}.")
        if not built_in:
            self._load_built_in()
        place = _place(source, module)
        taken = self._entries.get(name)
        if taken is not None:
            raise UserError(
                f"the {self.kind} '{name}' is registered twice: in {taken.place} and in {place}",
                hint="rename one of the two",
            )
        self._count += 1
        rank = (not built_in, order if built_in else 0, module if built_in else "", self._count)
        self._entries[name] = _Entry(item, module, place, rank)

    def __getitem__(self, name: str) -> T:
        self._fill()
        if name not in self._entries:
            raise UserError(f"unknown {self.kind} '{name}'", hint=did_you_mean(name, self._entries))
        return self._entries[name].item

    def __contains__(self, name: object) -> bool:
        self._fill()
        return name in self._entries

    def __iter__(self) -> Iterator[T]:
        return iter([self._entries[name].item for name in self.names()])

    def __len__(self) -> int:
        self._fill()
        return len(self._entries)

    def names(self, pattern: str | None = None) -> tuple[str, ...]:
        """Return all names in order, or those that match a pattern such as ``fpr*``."""
        self._fill()
        names = sorted(self._entries, key=lambda name: self._entries[name].rank)
        return tuple(name for name in names if pattern is None or fnmatchcase(name, pattern))

    def place(self, name: str) -> str:
        """Return the file and line where the object of a name is defined."""
        self[name]
        return self._entries[name].place

    def _fill(self) -> None:
        self._load_built_in()
        _load_entry_points()

    def _load_built_in(self) -> None:
        with _LOADING:
            if self._built_in_loaded or self.folder is None:
                return
            self._built_in_loaded = True  # Set first: the modules may read the registry.
            try:
                package = importlib.import_module(self.folder)
                for module in pkgutil.iter_modules(package.__path__, f"{self.folder}."):
                    importlib.import_module(module.name)
            except BaseException:
                self._built_in_loaded = False
                raise

    def _keep(self, names: frozenset[str]) -> None:
        self._entries = {
            name: entry for name, entry in self._entries.items() if name in names or not entry.rank[0]
        }


_REGISTRIES: WeakSet[Registry[Any]] = WeakSet()
_PLUGINS: dict[Path, ModuleType] = {}
_ENTRY_POINTS_LOADED: set[str] = set()
_searched: tuple[object, ...] | None = None
"""Places of the last search for entry points; a search reads the metadata of every installed package."""


def load_plugin(path: str | Path) -> ModuleType:
    """Import a plugin file once and return its module.

    Raises
    ------
    UserError
        The file is missing, is not a Python file, or fails; nothing of a failed file stays registered.
    """
    file = Path(path).expanduser().resolve()
    if file.is_dir() or file.suffix != ".py":
        raise UserError("a plugin is a Python file", file=path, hint="give a file that ends in .py")
    with _LOADING:
        _load_entry_points()
        module = _PLUGINS.get(file) or _imported(file)
        if module is None:
            module = _execute(file, path)
        _PLUGINS[file] = module
        return module


def load_plugins(paths: Iterable[str | Path]) -> None:
    """Import plugin files; see :func:`load_plugin`."""
    for path in paths:
        load_plugin(path)


def plugin_contents() -> dict[Path, dict[str, list[str]]]:
    """Return the registered names of each plugin file by kind, such as ``{"metric": ["mcc"]}``."""
    files = {module.__name__: file for file, module in _PLUGINS.items()}
    found: dict[Path, dict[str, list[str]]] = {}
    for registry in sorted(_REGISTRIES, key=lambda registry: registry.kind):
        for name, entry in registry._entries.items():  # noqa: SLF001
            if entry.module in files:
                found.setdefault(files[entry.module], {}).setdefault(registry.kind, []).append(name)
    return found


def _imported(file: Path) -> ModuleType | None:
    """Return the module that was imported from a file already, by an entry point for instance."""
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        if isinstance(origin, str) and Path(origin).name == file.name and Path(origin).resolve() == file:
            return module
    return None


def _execute(file: Path, path: str | Path) -> ModuleType:
    try:
        source = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the plugin file: {error.strerror}", file=path, hint="check the path of the plugin"
        ) from error
    name = f"robustbench_aigen_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(name, file)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    before = _snapshot()
    try:
        # Compiled here, so that no stale byte code is read and none is written beside the user's file.
        exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        _restore(before)
        raise _file_error(error, file, path) from error
    return module


def _file_error(error: BaseException, file: Path, path: str | Path) -> UserError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = frames[-1].lineno if frames else None
    if isinstance(error, SyntaxError) and error.filename == str(file):
        line = error.lineno
        return UserError(f"the plugin is not valid Python: {error.msg}", file=path, line=line)
    if isinstance(error, UserError):
        return UserError(error.message, file=path, line=line, hint=error.hint)
    said = f"{type(error).__name__}: {first_line(error)}"
    return UserError(f"the plugin fails: {said}", file=path, line=line, hint="correct the plugin file")


def _load_entry_points() -> None:
    global _searched  # noqa: PLW0603
    place = (entry_points, *sys.path)
    if _searched == place:
        return
    with _LOADING:
        for point in entry_points(group=ENTRY_POINTS):
            if point.value in _ENTRY_POINTS_LOADED:
                continue
            _ENTRY_POINTS_LOADED.add(point.value)  # Added first: the module may read a registry.
            before = _snapshot()
            try:
                point.load()
            except (Exception, SystemExit) as error:
                _ENTRY_POINTS_LOADED.discard(point.value)
                _restore(before)
                package = point.dist.name if point.dist is not None else point.module
                raise UserError(
                    f"the plugin '{point.name}' of the package {package} fails: "
                    f"{type(error).__name__}: {first_line(error)}",
                    hint=f"upgrade or uninstall {package}",
                ) from error
        _searched = place


def _snapshot() -> dict[Registry[Any], frozenset[str]]:
    return {registry: frozenset(registry._entries) for registry in _REGISTRIES}  # noqa: SLF001


def _restore(before: dict[Registry[Any], frozenset[str]]) -> None:
    for registry in _REGISTRIES:
        registry._keep(before.get(registry, frozenset()))  # noqa: SLF001


def _place(source: object, module: str) -> str:
    """Return ``file:line`` of a function or class, or the name of its module."""
    plain = inspect.unwrap(source) if callable(source) else source
    code = getattr(plain, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    try:
        return f"{inspect.getfile(plain)}:{inspect.getsourcelines(plain)[1]}"  # type: ignore[arg-type]
    except (TypeError, OSError):
        return module or repr(source)
