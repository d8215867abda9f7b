"""Whether facts tell the classes apart: what is found, what is luck, what is too little."""

from collections import Counter

import numpy as np
import pytest

from robustbench_aigen.data.audit.facts import ImageFacts
from robustbench_aigen.data.audit.metadata import Metadata
from robustbench_aigen.data.audit.survey import Surveyed
from robustbench_aigen.data.audit.verdict import judge_facts
from robustbench_aigen.data.near_duplicates import Fingerprint
from robustbench_aigen.data.samples import Sample

PLAIN = Metadata(exif=False, xmp=False, icc=False, text=False, comment=False, c2pa=False, software=None)


def picture(name: str, label: int, size: tuple[int, int] = (64, 64), **facts) -> Surveyed:
    stored = ImageFacts("JPEG", "RGB", False, 75, "libjpeg", "4:2:0", *size, PLAIN)._replace(**facts)
    return Surveyed(Sample(f"{label}/{name}", label, "fake" if label else "real", None), stored, None)


def both(count: int, real: dict, fake: dict) -> list[Surveyed]:
    return [picture(str(n), label, **facts) for n in range(count) for label, facts in ((0, real), (1, fake))]


DIFFERENCES = {
    "format": ({"format": "JPEG"}, {"format": "PNG", "quality": None, "encoder": None, "subsampling": None}),
    "JPEG quality": ({"quality": 75}, {"quality": 76}),
    "subsampling": ({"subsampling": "4:2:0"}, {"subsampling": "4:4:4"}),
    "width": ({"size": (64, 64)}, {"size": (65, 64)}),
    "height": ({"size": (64, 64)}, {"size": (64, 63)}),
    "aspect": ({"size": (600, 400)}, {"size": (400, 400)}),
    "metadata": ({}, {"metadata": PLAIN._replace(software="ComfyUI")}),
}


@pytest.mark.parametrize("fact", DIFFERENCES)
@pytest.mark.parametrize("count", [6, 40])
def test_one_fact_that_differs_is_found_and_named(fact, count):
    verdict = judge_facts(both(count, *DIFFERENCES[fact]))
    assert (verdict.call, verdict.accuracy.value) == ("confound", 1.0)
    assert fact in verdict.told_by()
    assert verdict.by_fact[fact].value == 1.0
    assert verdict.accuracy.low > 0.65


def test_what_is_stored_alike_is_chance_whatever_the_balance():
    verdict = judge_facts([*both(50, {}, {}), *(picture(f"more{n}", 1) for n in range(200))])
    assert (verdict.call, verdict.accuracy.value, verdict.p_value) == ("chance", 0.5, 1.0)


def test_sizes_that_vary_alike_in_both_classes_raise_no_alarm():
    """One alarm in a hundred is allowed; forty small sets with facts at random have at most two."""
    rng = np.random.default_rng(3)

    def anything() -> dict:
        return {"size": tuple(rng.integers(50, 500, 2).tolist()), "quality": int(rng.choice([75, 90, 95]))}

    calls = Counter(
        judge_facts([picture(f"{s}-{n}", label, **anything()) for n in range(12) for label in (0, 1)]).call
        for s in range(40)
    )
    assert calls["confound"] <= 2


def test_a_difference_that_hardly_matters_is_slight_and_no_alarm():
    images = both(1000, {}, {})
    images = [i if n >= 80 else picture(f"x{n}", 0, quality=90) for n, i in enumerate(images)]
    verdict = judge_facts(images)
    assert verdict.call == "slight"
    assert 0.5 < verdict.accuracy.value < 0.55


@pytest.mark.parametrize("count", [0, 3, 5])
def test_too_few_images_of_a_class_are_no_verdict(count):
    images = [picture(str(n), 0) for n in range(30)]
    images += [picture(str(n), 1, quality=95) for n in range(count)]
    assert judge_facts(images).call == "too few"


def test_the_verdict_does_not_depend_on_the_order_of_the_images():
    rng = np.random.default_rng(5)
    images = [
        picture(str(n), n % 2, size=tuple(rng.integers(40, 60 + 10 * (n % 2), 2).tolist()))
        for n in range(200)
    ]
    assert judge_facts(images) == judge_facts(images[::-1])


def test_identical_files_count_once():
    """Twelve pictures in ten copies each are twelve pictures: their odd sizes are no evidence."""
    images = [
        picture(f"{n}-{copy}", n % 2, size=(50 + n, 60))._replace(
            fingerprint=Fingerprint(bytes([n]), None, None)
        )
        for n in range(12)
        for copy in range(10)
    ]
    assert judge_facts(images).images == 12
