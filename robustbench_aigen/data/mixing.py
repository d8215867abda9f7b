"""Photographs with a generated region: windows of fakes pasted into the real images of a selection."""

from collections.abc import Sequence

import torch
from torch import Tensor

from robustbench_aigen.data.memory import ppm
from robustbench_aigen.data.samples import ImageSource, Sample, read_encoded
from robustbench_aigen.data.selection import Selection, divided, in_turns
from robustbench_aigen.data.splitting import order_key
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import Unread, UnreadableImageError, decode
from robustbench_aigen.numerics.masks import masks_of
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.text import counted

_SEED = 0
"""Seed of the places of regions: the data do not depend on the seed of a run."""


class MixedSource:
    """A source with additional images: its photographs, each with a region from one of its fakes.

    Parameters
    ----------
    source
        The source of photographs and fakes.
    samples
        The samples of the source with their splits.
    pairs
        For each additional image: index of the photograph, index of the fake, and the mask of the region.
    """

    def __init__(
        self, source: ImageSource, samples: Sequence[Sample], pairs: Sequence[tuple[int, int, str]]
    ) -> None:
        self.source, self._pairs = source, list(pairs)
        self._photographs = {real for real, _, _ in pairs}
        self.name, self.layout = source.name, source.layout
        masks = list(dict.fromkeys(mask for _, _, mask in pairs))
        self.notices = [
            *source.notices,
            f"{counted(len(self._photographs), 'photograph')}, each also with a generated region ({', '.join(masks)}); fakes are used for the regions alone",
        ]
        self.samples = [
            *(each._replace(generated_area=0.0 if each.label == 0 else 1.0) for each in samples),
            *(self._sample(*pair, samples) for pair in pairs),
        ]

    def encoded(self, index: int) -> bytes:
        """Return the encoded image of ``samples[index]``: photographs, with and without a region, as binary PPM.

        One format for both classes, because formats must not separate the classes.
        """
        first = len(self.samples) - len(self._pairs)
        if index < first:
            encoded = self.source.encoded(index)
            return _as_ppm(encoded) if index in self._photographs else encoded
        real, fake, mask = self._pairs[index - first]
        try:
            photograph, generated = (decode(self.source.encoded(each)) for each in (real, fake))
        except UnreadableImageError as error:
            return Unread(str(error))
        region = _region(mask, self.samples[index].id, photograph)
        return ppm(torch.where(region, generated, photograph))

    def _sample(self, real: int, fake: int, mask: str, samples: Sequence[Sample]) -> Sample:
        """Return the sample of a pair, with the share of the image that its region takes."""
        name = f"{samples[real].id} with {mask.rpartition('/')[2]} of {samples[fake].id}"
        sample = Sample(name, 1, samples[fake].generator, samples[real].split, None)
        photograph, generated = (self._shown(each) for each in (real, fake))
        if photograph is None or generated is None:  # Reported where the image is decoded.
            return sample
        if photograph.shape != generated.shape:
            sizes = ["×".join(map(str, each.shape[1:])) for each in (photograph, generated)]
            raise UserError(
                f"mix: {samples[real].id} has {sizes[0]} pixels and {samples[fake].id} has {sizes[1]}",
                hint="a region needs a photograph and a fake of one size: give data of one size, or leave out mix",
            )
        return sample._replace(generated_area=float(_region(mask, name, photograph).float().mean()))

    def _shown(self, index: int) -> Tensor | None:
        try:
            return decode(read_encoded(self.source, index))
        except UnreadableImageError:
            return None


def _as_ppm(encoded: bytes) -> bytes:
    try:
        return ppm(decode(encoded))
    except UnreadableImageError as error:
        return Unread(str(error))


def _region(mask: str, name: str, photograph: Tensor) -> Tensor:
    """Return the region of a photograph, 1×H×W booleans."""
    return masks_of(mask, photograph.shape[1:], SampleStreams(_SEED, (name,), 0))[0]


def mixed(selection: Selection, masks: Sequence[str]) -> Selection:
    """Return the photographs of a selection, each also with a generated region under each mask.

    The fakes of a photograph's generator take turns; where the photographs belong to all generators, all fakes do.

    Raises
    ------
    UserError
        If the selection lacks photographs or fakes, a photograph and its fake differ in size, or a mask does not fit.
    """
    samples = divided(selection.source)
    by_label = [[index for index in selection.indices if samples[index].label == label] for label in (0, 1)]
    for name, indices in zip(("real", "AI-generated"), by_label, strict=True):
        if not indices:
            raise UserError(
                f"mix needs real and AI-generated images, and no image is {name}", hint="leave out mix"
            )
    reals, fakes = by_label
    places = {samples[index].id: index for index in fakes}
    turns = {
        generator: in_turns(
            (samples[index] for index in fakes if generator in (None, samples[index].generator)), len(fakes)
        )[1]
        for generator in (None, *sorted({samples[index].generator for index in fakes}))
    }
    taken = dict.fromkeys(turns, 0)
    pairs = []
    for real in sorted(reals, key=lambda index: order_key(samples[index].id)):
        own = samples[real].generator if samples[real].generator in turns else None
        for mask in masks:
            fake = turns[own][taken[own] % len(turns[own])]
            taken[own] += 1
            pairs.append((real, places[fake], mask))
    source = MixedSource(selection.source, samples, pairs)
    added = range(len(samples), len(samples) + len(pairs))
    return Selection(source, [*reals, *added], selection.split)
