"""The benchmark of broken defences: every defence is a detector, and the references are stronger than PGD."""

import pytest
import torch

from benchmarks.defences.defence import BASE, EPS, defence, names
from benchmarks.defences.judging import balanced_images, rounded, shares_right
from benchmarks.defences.measurement import attacked_pixels
from robustbench_aigen import UserError, attacks, evaluate, load_detector

CLEAN_LOSS = 0.2
"""Largest loss of clean accuracy that a defence may cost, on 100 images."""


@pytest.fixture(scope="module")
def images():
    return balanced_images("test", 100)


@pytest.fixture(scope="module")
def undefended(images):
    _, pixels, labels = images
    return float(shares_right(load_detector(BASE), pixels, labels, calls=1).mean())


@pytest.mark.parametrize("name", names())
def test_a_defence_is_what_it_declares_and_keeps_the_clean_accuracy(name, images, undefended):
    _, pixels, labels = images
    torch.manual_seed(0)
    chosen = defence(name)
    detector = chosen.build()
    with torch.no_grad():
        first, second = detector(pixels), detector(pixels)
    assert first.shape == (len(pixels), 2)
    assert torch.equal(first, second) != chosen.is_random
    odds = first[:, 1] - first[:, 0]
    assert (len(odds.unique()) <= 2) == (chosen.access == "verdicts")
    assert float(((odds >= 0) == labels).float().mean()) >= undefended - CLEAN_LOSS


@pytest.mark.parametrize("name", ["bit_depth", "hard_label"])
def test_the_reference_is_stronger_than_pgd(name, images):
    data, pixels, labels = images[0].taking("test", 10), images[1], images[2]
    ids = [sample.id for sample in images[0].samples]
    rows = [ids.index(sample.id) for sample in data.samples]
    pixels, labels = pixels[rows], labels[rows]
    chosen = defence(name)
    detector = chosen.build()
    found = chosen.attack(detector, pixels, labels)
    assert torch.equal(found, rounded(found, pixels, EPS))
    run = evaluate(
        detector,
        data,
        {"pgd": attacks.pgd(eps=f"{EPS}/255", steps=10)},
        device="cpu",
        keep_images="all",
        trust="off",
    )
    by_pgd = attacked_pixels(run, "pgd", data, pixels)
    under_pgd = shares_right(detector, by_pgd, labels, calls=1).mean()
    assert float(under_pgd) == pytest.approx(run.accuracy("pgd"))
    assert float(shares_right(detector, found, labels, calls=1).mean()) <= float(under_pgd) - 0.3


def test_an_unknown_defence_is_named_with_the_known_defences():
    with pytest.raises(UserError, match="no defence 'jpg'") as caught:
        defence("jpg")
    assert "jpeg" in str(caught.value.hint)
