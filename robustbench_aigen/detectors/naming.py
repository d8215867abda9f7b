"""Default names of detectors, all different, so that results are never mixed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from robustbench_aigen.errors import printable
from robustbench_aigen.scenario.detector_spec import DetectorSpec, library_prefix


class Named(Protocol):
    """An object with a name."""

    name: str


def name_apart(specs: Sequence[DetectorSpec], detectors: Sequence[Named | None]) -> None:
    """Rename, in place, detectors of one name that come from different files, if the user did not name them.

    The name becomes as much of the end of the path as distinguishes the detectors: ``a/model`` and ``b/model``, or ``model.pt``
    and ``model.onnx``. None is a detector that was not loaded.
    """
    counts = Counter(detector.name for detector in detectors if detector is not None)
    for name in [name for name, count in counts.items() if count > 1]:
        same = [
            (spec, detector)
            for spec, detector in zip(specs, detectors, strict=True)
            if detector is not None and detector.name == name
        ]
        unnamed = [(spec, detector) for spec, detector in same if spec.name is None and _is_of_a_file(spec)]
        for (_, detector), text in zip(
            unnamed, _told_apart([_parts(spec) for spec, _ in unnamed]), strict=True
        ):
            if text is not None:
                detector.name = f"{library_prefix(detector.name)}{printable(text)}"


def _is_of_a_file(spec: DetectorSpec) -> bool:
    return spec.path is not None or bool(library_prefix(spec.id or ""))


def _parts(spec: DetectorSpec) -> tuple[str, ...]:
    return Path(spec.path or (spec.id or "").partition(":")[2]).parts


def _told_apart(paths: Sequence[tuple[str, ...]]) -> list[str | None]:
    """Return the shortest ends of some paths that differ from all others; None for those that are equal to another."""
    longest = max((len(path) for path in paths), default=0)
    ends: list[str | None] = [None] * len(paths)
    for count in range(1, longest + 1):
        for drops_suffix in (True, False):
            texts = [_end(path, count, drops_suffix=drops_suffix) for path in paths]
            times = Counter(texts)
            for position, text in enumerate(texts):
                if ends[position] is None and times[text] == 1:
                    ends[position] = text
    return ends


def _end(path: tuple[str, ...], count: int, *, drops_suffix: bool) -> str:
    end = Path(*path[-count:])
    return str(end.with_suffix("") if drops_suffix else end)
