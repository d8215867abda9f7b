"""Messages with numbers in them are grammatical, whatever the number."""

import pytest

from robustbench_aigen.text import counted


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, "image"), "0 images"),
        ((1, "image"), "1 image"),
        ((2, "image"), "2 images"),
        ((1, "class", "classes"), "1 class"),
        ((3, "class", "classes"), "3 classes"),
        ((1, "image is left out", "images are left out"), "1 image is left out"),
        ((0, "image is left out", "images are left out"), "0 images are left out"),
    ],
)
def test_a_number_stands_with_its_noun(arguments, text):
    assert counted(*arguments) == text
