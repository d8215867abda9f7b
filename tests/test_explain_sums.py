"""Integrated gradients sum to the difference of the log-odds within 1 %, or say by how much they miss it."""

import re
from functools import lru_cache

import pytest
import torch
from conftest import SHARED_DATA
from test_zoo import pictures, small

from robustbench_aigen import Detector, ImageData, explain, load_detector
from robustbench_aigen.detectors.zoo import architecture_names
from robustbench_aigen.explain.detector_page import Pictures
from robustbench_aigen.explain.gradient_maps import affordable_steps
from robustbench_aigen.explain.task import blurred
from robustbench_aigen.numerics.eight_bit import to_pixels

TRAINED = (
    "minigen/lenet5",
    "minigen/cifake_cnn",
    "minigen/cifake_cnn+pgd",
    "cifake/lenet5",
    "cifake/cifake_cnn",
)


@lru_cache
def minigen(count: int) -> tuple[torch.Tensor, ...]:
    return tuple(Pictures.of(ImageData.open("minigen"), count).levels)


@torch.no_grad()
def misses(detector: Detector, levels, found) -> list[float]:
    """By which share each sum misses the difference, computed without the library and the prepared copy."""
    shares = []
    for image, values in zip(levels, found.values, strict=True):
        pixels = to_pixels(image[None])
        logits = detector(torch.cat([pixels, blurred(pixels)]))
        odds = (logits[:, 1] - logits[:, 0]).double()
        change = float(odds[0] - odds[1])
        # Below a millionth of a nat, the difference of some untrained networks is round-off.
        shares.append(abs(float(values.astype("f8").sum()) - change) / max(abs(change), 1e-6))
    return shares


def check_notes(shares: list[float], notes: list[str]) -> None:
    """An empty note is a sum within 1 %; another note has the share, to two digits."""
    for share, note in zip(shares, notes, strict=True):
        if not note:
            assert share <= 0.0101
            continue
        said = re.fullmatch(r"the sum misses the log-odds by (\S+) % after \d+ steps(, because .*)?", note)
        assert said, note
        assert float(said[1]) / 100 == pytest.approx(share, rel=0.06)
        assert share > 0.0099


@pytest.mark.parametrize("name", TRAINED)
def test_the_sums_of_trained_detectors_are_right_after_enough_steps(name):
    levels, detector = list(minigen(8)), load_detector(name)
    found = explain.maps(detector, levels, towards="fake")
    shares = misses(detector, levels, found)
    assert max(shares) <= 0.0101
    assert found.notes == [""] * 8
    few = explain.maps(detector, levels, towards="fake", most_steps=32)
    assert any(few.notes), "32 steps are too few for networks with ReLUs, and that is said"
    check_notes(misses(detector, levels, few), few.notes)


@lru_cache
def published(front: str) -> Detector:
    file = SHARED_DATA / "detectors" / f"{front}_Tiny_LaDeDa.pth"
    if not file.is_file():
        pytest.skip("the weights of Tiny-LaDeDa are not on this machine")
    return load_detector(file, arch="tiny_ladeda")


@pytest.mark.parametrize("front", ["WildRF", "ForenSynth"])
def test_the_sums_of_a_published_detector_are_right_at_its_input_size(front):
    levels = [image.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2) for image in minigen(2)]
    found = explain.maps(published(front), levels, towards="fake")
    assert found.notes == [""] * 2
    assert max(misses(published(front), levels, found)) <= 0.0101


def test_a_note_names_the_rounding_after_a_resize():
    """The weights of Tiny-LaDeDa's high pass are large, so that rounding steps outweigh the gradients."""
    levels = list(minigen(2))
    found = explain.maps(published("ForenSynth"), levels, towards="fake", most_steps=64)
    assert all(note.endswith("because the detector rounds resized pixels to 8 bits") for note in found.notes)
    check_notes(misses(published("ForenSynth"), levels, found), found.notes)


@pytest.mark.parametrize("name", architecture_names())
def test_every_architecture_has_sums_within_1_per_cent_or_a_note(name):
    levels = list(pictures(name, 2))
    found = explain.maps(small(name), levels, towards="fake", steps=8, most_steps=16)
    assert found.problems == [""] * 2
    check_notes(misses(small(name), levels, found), found.notes)


def test_a_page_spends_fewer_steps_on_larger_inputs():
    sides = {32: 1024, 64: 1024, 128: 256, 224: 64, 1024: 64}
    for side, steps in sides.items():
        detector = Detector(torch.nn.Flatten(), input_size=side)
        assert affordable_steps(detector) == steps
