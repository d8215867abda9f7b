"""The attacks of torchattacks, ART and adv-lib that work on a detector with only a recipe.

``python -m benchmarks.library_attacks`` tries every class, and ``make docs`` writes ``docs/LIBRARY_ATTACKS.md``;
``tests/test_library_attacks.py`` checks the tables. Classes that work are declared in ``library_attacks.yaml`` beside
this file, other classes in ``robustbench_aigen/attacks/library_limits.py``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
import yaml
from torch import Tensor

from robustbench_aigen import load_detector
from robustbench_aigen.attacks.adv_lib_adapter import run_adv_lib
from robustbench_aigen.attacks.art_adapter import run_art
from robustbench_aigen.attacks.execution import make_task
from robustbench_aigen.attacks.libraries import attack_names, library_module
from robustbench_aigen.attacks.library_limits import unusable
from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.attacks.torchattacks_adapter import run_torchattacks
from robustbench_aigen.attacks.verification import surroundings_kept
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.contract import Detector, verdicts
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.stages.recipe import AttackRecipe
from robustbench_aigen.stages.recipe_files import read_recipe
from robustbench_aigen.stages.stage import make_stage

TABLE = Path(__file__).with_suffix(".yaml")
MODULES = {"torchattacks": "torchattacks", "art": "art.attacks.evasion", "adv_lib": "adv_lib.attacks"}
NORMS = ("linf", "l2", "l1", "l0", "spatial")
EPS: Mapping[str, object] = {"linf": "8/255", "l2": 1.0, "l1": 20.0, "l0": 3, "spatial": 1.0}
_PARAMETERS = {
    "linf": {"kind": "pixels", "default": "4/255"},
    "l2": {"kind": "pixels", "default": 0.5},
    "l1": {"kind": "pixels", "default": 12},
    "l0": {"kind": "count", "default": 10, "min": 1},
    "spatial": {"kind": "number", "default": 1},
}
OPTIONAL = {"adv_lib"}
"""Libraries that this package does not install."""
RUN = {"torchattacks": run_torchattacks, "art": run_art, "adv_lib": run_adv_lib}


@dataclass(frozen=True)
class LibraryAttack:
    """A class that works: how a recipe calls it, and how the survey tries it.

    Parameters
    ----------
    library, name
        ``torchattacks``, ``art`` or ``adv_lib``, and the class or function.
    arguments
        By norm, the arguments of a recipe.
    access, minimum_norm
        As in a recipe.
    quick, images
        Arguments that the survey puts in the place of others, and how many images it takes.
    needs
        A package without which the library does not have the class.
    note
        What to know before using it.
    """

    library: str
    name: str
    arguments: Mapping[str, Mapping[str, Any]]
    access: str = "gradients"
    minimum_norm: bool = False
    quick: Mapping[str, Any] = field(default_factory=dict)
    images: int = 8
    needs: str = ""
    note: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether what the class needs is there."""
        return all(
            find_spec(needed) is not None for needed in {self.needs, *OPTIONAL & {self.library}} - {""}
        )

    def recipe(self, norm: str) -> AttackRecipe:
        """Return a recipe of the class, read from YAML as a user's own would be, for the survey's quick run."""
        content = {
            "kind": "attack",
            "name": self.name,
            "summary": f"{self.name} of {self.library}",
            "norms": [norm],
            "params": {
                "eps": _PARAMETERS[norm],
                "steps": {"kind": "count", "default": 2, "min": 1},
                "step_size": {"kind": "pixels", "default": "auto"},
            },
            "access": self.access,
            "minimum_norm": self.minimum_norm,
            "backends": {
                self.library: {norm: {"class": self.name, "args": {**self.arguments[norm], **self.quick}}}
            },
        }
        with TemporaryDirectory() as folder:
            file = Path(folder) / "recipe.yaml"
            file.write_text(yaml.safe_dump(content), encoding="utf-8")
            recipe = read_recipe(file)
        assert isinstance(recipe, AttackRecipe)
        return recipe


@cache
def working() -> list[LibraryAttack]:
    """Return the classes that are declared to work."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [
        LibraryAttack(
            library,
            name,
            {norm: entry[norm] for norm in NORMS if norm in entry},
            **{key: value for key, value in entry.items() if key not in NORMS},
        )
        for library, classes in table.items()
        for name, entry in classes.items()
    ]


def exported(library: str) -> list[str]:
    """Return the names of the attack classes that a library exports, sorted."""
    return sorted(attack_names(library_module(library)))


def not_working() -> list[tuple[str, str, str]]:
    """Return library, class and reason of every class that is known not to work."""
    return [
        (library, name, reason)
        for library, module in MODULES.items()
        for name, reason in sorted(unusable(module).items())
    ]


@cache
def _pictures() -> tuple[Detector, Tensor, Tensor]:
    """Return lenet5 and four real and four fake images of minigen that it judges right."""
    detector = load_detector("minigen/lenet5")
    selection = select(open_source("minigen", Path()), "test", 64)
    levels = torch.stack([decode(selection.source.encoded(index)) for index in selection.indices])
    labels = torch.tensor([sample.label for sample in selection.samples])
    right = verdicts(predict(detector, levels, 64, torch.device("cpu")), HALF) == labels
    pairs = zip(
        *[(right & (labels == label)).nonzero().flatten()[:4].tolist() for label in (0, 1)], strict=True
    )
    rows = [row for pair in pairs for row in pair]
    return detector, levels[rows], labels[rows]


def task(attack: LibraryAttack, norm: str, recipe: AttackRecipe, *, batch_size: int = 4) -> AttackTask:
    """Return the survey's images as a task."""
    detector, levels, labels = _pictures()
    return make_task(
        make_stage(recipe, {"eps": EPS[norm]}),
        detector,
        levels[: attack.images],
        labels[: attack.images],
        SampleStreams(42, tuple(f"picture{number}" for number in range(attack.images)), 0),
        threshold=HALF,
        early_stop=False,
        batch_size=batch_size,
        device=torch.device("cpu"),
        precision="fp32",
    )


def attempt(attack: LibraryAttack, norm: str, *, batch_size: int = 4) -> tuple[Tensor, Tensor]:
    """Attack the survey's images: the clean ones and what came back, N×3×H×W float32.

    Raises
    ------
    UserError
        If the class fails.
    AttackContractError
        If it changes the detector or the global random generators.
    """
    recipe = attack.recipe(norm)
    made = task(attack, norm, recipe, batch_size=batch_size)
    clean = to_pixels(made.levels)
    result = torch.full_like(clean, torch.nan)
    call = getattr(recipe.backends, attack.library)[norm]
    with surroundings_kept(attack.name, made.detector):
        for chunk in RUN[attack.library](made, call, recipe=recipe):
            result[chunk.rows] = chunk.pixels
    return clean, result


def document() -> str:
    """Return the document: every exported class with the recipe's lines that work or the reason against it."""
    return "\n".join([*_introduction(), *_works(), *_does_not()]) + "\n"


def _introduction() -> Iterator[str]:
    yield "# Attack classes of torchattacks, ART and adv-lib"
    yield ""
    yield "Written by `python -m benchmarks.library_attacks`, which tries every class on a detector of two classes."
    yield "`tests/test_library_attacks.py` compares this document with the libraries. A class that works needs a recipe and"
    yield "no code: copy the column *recipe* to `backends` → library → norm, and add `access` and `minimum_norm`. `$eps`,"
    yield "`$steps` and `$step_size` are parameters of the recipe; `$norm` is written in the form of the library. The norm"
    yield "`spatial` has no Lp budget. With `l0`, eps counts pixels."
    yield ""
    yield "adv-lib has functions, whose names stand as `class` in a recipe. adv-lib is optional:"
    yield "`pip install --no-deps adv-lib`. Without `--no-deps`, pip also builds visdom, which fails with setuptools 81"
    yield "and later; no attack needs visdom. Attacks of foolbox are not in this document: `backend: foolbox` runs every"
    yield "class of `foolbox.attacks` that has a distance."
    yield ""
    yield "Attacks with access to scores or decisions run one image at a time, so the records count the queries of each"
    yield "image. HopSkipJump, BoundaryAttack, BrendelBethgeAttack and GeoDA start from an image with the wrong verdict (45"
    yield "queries). Their own search for a start draws noise, and a detector may give one verdict to all noise."


def _works() -> Iterator[str]:
    for library in MODULES:
        attacks = sorted((a for a in working() if a.library == library), key=lambda a: a.name)
        yield ""
        yield f"## {library}: {len(attacks)} usable classes"
        yield ""
        yield "| class | norm | access | recipe | note |"
        yield "|---|---|---|---|---|"
        for attack in attacks:
            # Norms with the same arguments share a line.
            shared: dict[str, list[str]] = {}
            for norm, arguments in attack.arguments.items():
                shared.setdefault(_fragment(attack.name, arguments), []).append(norm)
            for fragment, norms in shared.items():
                access = attack.access + (", `minimum_norm: true`" if attack.minimum_norm else "")
                yield f"| {attack.name} | {', '.join(norms)} | {access} | `{fragment}` | {attack.note} |"


def _fragment(name: str, arguments: Mapping[str, Any]) -> str:
    args = yaml.safe_dump(dict(arguments), default_flow_style=True, sort_keys=False, width=10_000).strip()
    return f"{{class: {name}, args: {args}}}"


def _does_not() -> Iterator[str]:
    for library in MODULES:
        refused = [entry for entry in not_working() if entry[0] == library]
        yield ""
        yield f"## {library}: {len(refused)} unusable classes"
        yield ""
        yield "| class | reason |"
        yield "|---|---|"
        for _, name, reason in refused:
            yield f"| {name} | {reason} |"


def main() -> None:
    """Try every class and print the result."""
    start = perf_counter()
    for attack in working():
        for norm in attack.arguments:
            clock = perf_counter()
            if attack.is_installed:
                clean, result = attempt(attack, norm)
                changed = int((result != clean).flatten(1).any(dim=1).sum())
                how = f"changed {changed} of {len(clean)}, {perf_counter() - clock:.1f} s"
            else:
                how = f"not tried, {attack.needs} is not installed"
            print(f"{attack.library} {attack.name} {norm}: {how}")
    print(f"{perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
