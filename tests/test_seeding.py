"""Randomness belongs to the image, not to the batch."""

import random

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from robustbench_aigen.numerics.seeding import SampleStreams, library_randomness, preserved_global_rng

NAMES = tuple(f"image{number}" for number in range(256))


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_draws_are_the_same_bit_for_bit_in_every_batch_size(batch):
    whole = SampleStreams(42, NAMES, stage=0)
    uniform, normal = whole.uniform(-1, 1, (3, 4)), whole.normal((3, 4))
    for first in range(0, 256, batch):
        part = SampleStreams(42, NAMES[first : first + batch], stage=0)
        assert np.array_equal(part.uniform(-1, 1, (3, 4)), uniform[first : first + batch])
        assert np.array_equal(part.normal((3, 4)), normal[first : first + batch])


def test_seed_sample_stage_and_restart_each_change_the_draw():
    base = SampleStreams(1, ("a",), 0, 0).uniform(0, 1, (4,))
    for other in [
        SampleStreams(2, ("a",), 0, 0),
        SampleStreams(1, ("b",), 0, 0),
        SampleStreams(1, ("a",), 1, 0),
        SampleStreams(1, ("a",), 0, 1),
    ]:
        assert not np.array_equal(other.uniform(0, 1, (4,)), base)


def test_draws_have_the_distribution_they_claim():
    streams = SampleStreams(0, NAMES, 0)
    assert kstest(streams.uniform(2, 5, (50,)).ravel(), "uniform", args=(2, 3)).pvalue > 1e-3
    assert kstest(streams.normal((50,)).ravel(), "norm").pvalue > 1e-3


def test_library_draws_of_a_batch_come_from_the_images_streams():
    expected = SampleStreams(3, NAMES[:5], 0).uniform(-0.5, 0.5, (3, 2, 2))
    with library_randomness(SampleStreams(3, NAMES[:5], 0)):
        by_torch = torch.empty(5, 3, 2, 2).uniform_(-0.5, 0.5)
    with library_randomness(SampleStreams(3, NAMES[:5], 0)):
        by_numpy = np.random.uniform(-0.5, 0.5, size=(5, 12))
    assert torch.equal(by_torch, torch.from_numpy(expected).float())
    assert np.array_equal(by_numpy.reshape(5, 3, 2, 2), expected)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(4, 3),
        lambda: torch.randn(4, 3),
        lambda: torch.rand_like(torch.empty(4, 3)),
        lambda: torch.randn_like(torch.empty(4, 3)),
        lambda: torch.empty(4, 3).normal_(),
        lambda: torch.from_numpy(np.random.normal(size=(4, 3))),
        lambda: torch.from_numpy(np.random.randn(4, 3)),
    ],
)
def test_every_batch_shaped_draw_is_the_same_alone_and_in_a_batch(draw):
    with library_randomness(SampleStreams(0, NAMES[:4], 0)):
        together = draw()
    shifted = SampleStreams(0, (NAMES[3], NAMES[2], NAMES[1], NAMES[0]), 0)
    with library_randomness(shifted):
        reversed_ = draw()
    assert torch.equal(together, reversed_.flip(0))


def test_global_generators_are_left_as_they_were():
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    with preserved_global_rng(), library_randomness(SampleStreams(0, NAMES[:3], 0)):
        random.random()
        np.random.uniform(size=2)
        torch.rand(2)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    assert np.random.uniform.__module__ is None or "seeding" not in repr(np.random.uniform)
