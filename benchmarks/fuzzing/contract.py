"""What a loader must do with any bytes, and the check of one input."""

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from robustbench_aigen.errors import UserError

MARKER = "executed"
"""Name of the file that hostile seeds create when their code runs, in the folder that holds the input's folder."""
FORBIDDEN = "secret.png"
"""Name of a file in the folder above the input's folder, which no confined loader may read."""
LONGEST_MESSAGE = 2000
"""Characters of a message; a longer one repeats the input."""
_PROCESSES = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn", "socket.connect",
)  # fmt: skip
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.truncate",
)
_CODE = {"os", "posix", "nt", "subprocess", "runpy", "pty", "importlib", "commands"}
_BUILTINS = {"eval", "exec", "compile", "open", "__import__", "getattr", "breakpoint", "input"}


_OURS = {"current", "progress", "input", "corpus", "temporary", "log"}
"""Names in the folder that holds the input's folder."""


class Loader(NamedTuple):
    """A reader of strangers' files.

    Parameters
    ----------
    name
        Its name on the command line.
    load
        Reads an input; gets its bytes and an empty folder of its own.
    seeds
        Makes valid and hostile inputs; gets a folder for files.
    structured
        Makes a strategy of hypothesis for inputs.
    errors
        The documented errors.
    confined
        Whether a file may name no other file; a list of images may, by design.
    """

    name: str
    load: Callable[[bytes, Path], None]
    seeds: Callable[[Path], list[bytes]]
    structured: Callable[[list[bytes]], Any]
    errors: tuple[type[Exception], ...] = (UserError,)
    confined: bool = True


class Violation(NamedTuple):
    """A breach of the contract: its kind, the place in the code, and the details."""

    kind: str
    place: str
    details: str


class Outcome(NamedTuple):
    """The result of one input: where it ended, and the violation, if any."""

    place: str
    violation: Violation | None = None


class Watch:
    """Examines inputs, and notes what audit hooks of the interpreter report meanwhile."""

    def __init__(self, loader: Loader, scratch: Path) -> None:
        self.loader, self.scratch = loader, scratch
        self._seen: list[str] = []
        self._usual = {each.name for each in scratch.iterdir()} | _OURS
        self._is_active = False
        sys.addaudithook(self._audit)
        sys.unraisablehook = lambda raised: self._seen.append(f"unraisable: {raised.exc_value!r}")

    def examine(self, content: bytes, folder: Path) -> Outcome:
        """Load one input in an empty folder; return its outcome."""
        self._seen.clear()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("default")
            # As the command line does: the package says it in its own words.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            for category in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
            outcome = self._loaded(content, folder)
        if outcome.violation is not None:
            return outcome
        new = {each.name for each in self.scratch.iterdir()} - self._usual - {MARKER}
        if new:
            return Outcome(
                "outside", Violation("outside", "scratch", f"made {sorted(new)} beside its folder")
            )
        if (self.scratch / MARKER).exists():
            (self.scratch / MARKER).unlink()
            return Outcome("code", Violation("code", "marker", "the input ran its own code"))
        if self._seen:
            return Outcome(
                "audit", Violation("audit", self._seen[0].partition(":")[0], "\n".join(self._seen))
            )
        if warned:
            first = warned[0]
            place = f"{Path(first.filename).name}:{first.lineno}"
            return Outcome(place, Violation("warning", place, f"{first.category.__name__}: {first.message}"))
        return outcome

    def _loaded(self, content: bytes, folder: Path) -> Outcome:
        self._is_active = True
        try:
            self.loader.load(content, folder)
        except self.loader.errors as error:
            place = place_of(error)
            return Outcome(place, _of_message(error, place))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001  Every other exception is a finding, SystemExit as well.
            place = f"{type(error).__name__} {place_of(error)}"
            text = "".join(traceback.format_exception(error, limit=-25))
            return Outcome(place, Violation("exception", place, text))
        finally:
            self._is_active = False
        return Outcome("loaded")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_active:
            return
        if event in _PROCESSES or (event == "pickle.find_class" and _runs_code(*arguments)):
            self._seen.append(f"{event}: {arguments!r}")
        elif event == "open":
            self._opened(*arguments)
        elif event in _CHANGES and not (_in_descriptor(arguments) or self._is_ours(arguments[0])):
            self._seen.append(f"{event} outside: {arguments!r}")

    def _opened(self, path: object, mode: object, flags: object) -> None:
        if isinstance(path, int):
            return
        writes = bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and not self._is_ours(path):
            self._seen.append(f"write outside: {path!r} {mode!r}")
        elif self.loader.confined and FORBIDDEN in str(path):
            self._seen.append(f"read outside: {path!r}")

    def _is_ours(self, path: object) -> bool:
        """Whether a path is in the scratch folder, or is compiled code or a device."""
        if isinstance(path, int) or path is None:
            return True
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
        full = os.path.normpath(Path.cwd() / text)
        compiled = "__pycache__" in full or full.startswith(str(sys.pycache_prefix or "\0"))
        return compiled or full == os.devnull or full.startswith(str(self.scratch))


def _in_descriptor(arguments: tuple[Any, ...]) -> bool:
    """Whether a path is relative to an opened folder, as those of ``shutil.rmtree`` are."""
    return isinstance(arguments[-1], int) and arguments[-1] > 0


def _runs_code(module: str, name: str, *_: object) -> bool:
    """Whether a pickle names a function that can run any code."""
    return module.partition(".")[0] in _CODE or (module == "builtins" and name in _BUILTINS)


def place_of(error: BaseException) -> str:
    """Return the innermost line of the package that an error went through, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "robustbench_aigen" in frame.filename]
    chosen = [*own[-1:], *frames[-1:]]
    return " ".join(dict.fromkeys(f"{Path(frame.filename).name}:{frame.lineno}" for frame in chosen))


def _of_message(error: Exception, place: str) -> Violation | None:
    first = str(error).split("\n  ", maxsplit=1)[0] if isinstance(error, UserError) else str(error)
    if not first.strip() or "\n" in first or len(first) > LONGEST_MESSAGE:
        return Violation("message", place, f"{len(first)} characters: {first[:300]!r}")
    return None
