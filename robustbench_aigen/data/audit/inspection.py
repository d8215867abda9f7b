"""The audit of a selection: file properties of its images, and whether they separate the classes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from robustbench_aigen.data.audit import duplicates
from robustbench_aigen.data.audit.composition import Part, balance, parts
from robustbench_aigen.data.audit.duplicates import Copies, find_copies
from robustbench_aigen.data.audit.survey import Surveyed, Unreadable, survey, survey_headers
from robustbench_aigen.data.audit.verdict import LEVEL, MARGIN, Verdict, judge_facts
from robustbench_aigen.data.samples import ImageSource, belongs_to
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.data.splitting import order_key
from robustbench_aigen.errors import UserError

_GLANCE = 500


class Audit(NamedTuple):
    """Result of an audit. ``by_generator`` is empty with fewer than two generators of fakes."""

    source: str
    split: str
    surveyed: list[Surveyed]
    unreadable: list[Unreadable]
    balance: list[dict[str, Any]]
    parts: list[Part]
    exact: list[Copies]
    near: list[Copies]
    verdict: Verdict
    by_generator: dict[str, Verdict]

    @property
    def confounded(self) -> list[str]:
        """Generators (or ``all``) whose fakes the file properties separate from reals."""
        of = {"all": self.verdict, **self.by_generator}
        return [name for name, verdict in of.items() if verdict.call == "confound"]

    @property
    def leaks(self) -> int:
        """Groups of copies that are in more than one split."""
        exact = {group.samples for group in self.exact if group.across_splits}
        inside_near = {sample for group in self.near if group.across_splits for sample in group.samples}
        alone = sum(not inside_near.issuperset(samples) for samples in exact)
        return alone + sum(group.across_splits for group in self.near)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "source": self.source,
            "split": self.split,
            "images": len(self.surveyed),
            "unreadable": [problem._asdict() for problem in self.unreadable],
            "balance": self.balance,
            "facts": [part.as_dict() for part in self.parts],
            "duplicates": {
                "exact": duplicates.as_dict(self.exact),
                "near": duplicates.as_dict(self.near),
                "leaks": self.leaks,
            },
            "verdict": self.verdict.as_dict(),
            "by_generator": {name: verdict.as_dict() for name, verdict in self.by_generator.items()},
            "confounded": self.confounded,
            "margin": MARGIN,
            "level": LEVEL,
        }


def audit(selection: Selection, advance: Callable[[int], None] = lambda _: None) -> Audit:
    """Audit a selection, telling ``advance`` how many more images were examined.

    Raises
    ------
    UserError
        If not one image can be read.
    """
    found = survey(selection.source, selection.indices, advance)
    if not found.images:
        first = found.unreadable[0]
        raise UserError(
            f"no image can be read ({len(found.unreadable)} tried); the first is {first.sample}: {first.reason}"
        )
    generators = sorted({i.sample.generator for i in found.images if i.sample.label == 1})
    several = generators if len(generators) > 1 else []
    comparisons = 1 + len(several)
    exact, near = find_copies(found.images)
    return Audit(
        selection.source.name,
        selection.split,
        found.images,
        found.unreadable,
        balance(found.images),
        parts(found.images),
        exact,
        near,
        judge_facts(found.images, comparisons=comparisons),
        {name: judge_facts(_counterparts(found.images, name), comparisons=comparisons) for name in several},
    )


def glance(source: ImageSource, indices: Sequence[int]) -> Verdict:
    """Judge the facts of a fixed sample of some images, from their headers alone."""
    chosen = sorted(indices, key=lambda index: order_key(source.samples[index].id))[:_GLANCE]
    return judge_facts(survey_headers(source, sorted(chosen)))


def _counterparts(images: Sequence[Surveyed], generator: str) -> list[Surveyed]:
    """Return a generator's fakes with the reals they belong to."""
    samples = [image.sample for image in images]
    kept = belongs_to([s.label for s in samples], [s.generator for s in samples], [generator])
    return [image for image, is_kept in zip(images, kept, strict=True) if is_kept]
