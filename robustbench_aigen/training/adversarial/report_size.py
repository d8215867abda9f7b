"""Size of a report before and after that takes no longer than the training."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.selection import nested_limit, stratified
from robustbench_aigen.engine.estimate import write_duration
from robustbench_aigen.text import counted
from robustbench_aigen.training.adversarial.report_scenario import Depth, Extent

SIZE = "report.json"
"""File with the size of a report and its state."""
FEWEST = 32
"""Least number of images of a report, if the data has enough.

The 95 % interval of an accuracy is up to ±16 points wide on 32 images. A gain is significant in a table of twenty
pipelines (McNemar's exact test, Holm-corrected) from ten images on that only the detector after judges right: on
fewer images than these, hardly any gain is.
"""
_OF_A_CLASS = 4
"""Least number of images of a class in a sample, if the data has enough: rates of fewer images are too uncertain."""


@dataclass(frozen=True)
class ReportSize:
    """The size of a report.

    Parameters
    ----------
    images
        Test images; ``most`` is how many it would have without a limit of time, ``available`` how many there are.
    depth
        Depth of the report's scenario.
    seconds
        The expected seconds of the report.
    training
        Seconds of the training that it is to stay within; None if the number of images is given.
    """

    images: int
    most: int
    available: int
    depth: Depth
    seconds: float
    training: float | None

    @property
    def extent(self) -> Extent:
        """Number of images and depth of the report."""
        return Extent(self.images, self.depth)

    @property
    def is_reduced(self) -> bool:
        """Whether something is left out to save time."""
        return self.images < self.most or self.depth != Depth()

    @property
    def excess(self) -> float:
        """Seconds by which the report exceeds the training; 0 otherwise."""
        return 0.0 if self.training is None else max(0.0, self.seconds - self.training)

    def sentence(self, queries: int) -> str:
        """Return the size as a line; ``queries`` are those of Square in the whole scenario."""
        text = f"report on {self.images} of {counted(self.available, 'test image')}"
        if self.training is None or not (self.is_reduced or self.excess):
            return text
        left_out = ", ".join(self.depth.reductions(queries))
        text += f" ({left_out})" if left_out else ""
        limit = f"the training's {write_duration(self.training)}"
        if self.excess:
            text += f", about {write_duration(self.excess)} longer than {limit}: fewer images give too little evidence"
        else:
            text += f" to stay within {limit}"
        if not self.is_reduced:
            return text
        more = "all of them" if self.images < self.available else "the whole scenario"
        return f"{text}; set report: {{images: {self.most}}} or --report-images all for {more}"

    def as_dict(self) -> dict[str, Any]:
        """Return the size for :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> "ReportSize":
        """Return the size that :meth:`as_dict` wrote."""
        depth = Depth(**{**said["depth"], "severities": tuple(said["depth"]["severities"])})
        return cls(**{**said, "depth": depth})


def fitted(
    samples: Sequence[Sample],
    available: Sequence[int],
    most: int,
    depths: Sequence[Depth],
    per_image: Callable[[Depth], float],
    fixed: Callable[[Depth], float],
    training: float,
) -> ReportSize:
    """Return the largest report that takes no longer than the training.

    The images come first: the whole scenario on fewer images, each sample a part of every larger one. Where the
    fewest images that say something take too long, the scenario is shortened, as little as will do.

    Parameters
    ----------
    samples, available
        The source's samples, and the indices of its test images.
    most
        Images that are wanted at most.
    depths
        Possible depths of the scenario, the whole scenario first.
    per_image, fixed
        Seconds for an image and beside all images.
    training
        Seconds that the report may take.
    """
    fewest = fewest_images(samples, available, most)
    for depth in depths:
        affordable = int((training - fixed(depth)) / max(per_image(depth), 1e-9))
        if affordable >= fewest:
            break
    images = most if affordable >= most else max(fewest, nested_limit(samples, available, max(affordable, 1)))
    seconds = fixed(depth) + images * per_image(depth)
    return ReportSize(images, most, len(available), depth, seconds, training)


def fewest_images(samples: Sequence[Sample], available: Sequence[int], most: int) -> int:
    """Return the size of the smallest useful sample: :data:`FEWEST` images, some of each class."""
    labels = [samples[index].label for index in available]
    wanted = {label: min(_OF_A_CLASS, labels.count(label)) for label in set(labels)}
    for images in range(min(FEWEST, most), most):
        chosen = [samples[index].label for index in stratified(samples, available, images)]
        enough = all(chosen.count(label) >= count for label, count in wanted.items())
        if enough and nested_limit(samples, available, images) == images:
            return images
    return most
