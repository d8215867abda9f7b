"""Cards of images that are not part of the package: the caller's, and copies of CIFAKE."""

import json
import shutil

import pytest
from conftest import SHARED_DATA
from PIL import Image

from robustbench_aigen import ImageData, Run, UserError, benchmark
from robustbench_aigen.data.samples import fingerprint
from robustbench_aigen.explain.detector_page import Pictures
from robustbench_aigen.leaderboard.card import read_entry
from robustbench_aigen.leaderboard.checking import check_entry
from robustbench_aigen.leaderboard.page import page
from robustbench_aigen.leaderboard.submission import submit
from robustbench_aigen.leaderboard.verification import verify
from robustbench_aigen.suites.suite import identities, suite_of

CIFAKE = SHARED_DATA / "cifake"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 24 images of minigen with classes alone, as a stranger has it."""
    folder = tmp_path_factory.mktemp("own") / "my_images"
    pictures = Pictures.of(ImageData.open("minigen", limit=24), 24)
    for number, (levels, label) in enumerate(zip(pictures.levels, pictures.labels, strict=True)):
        place = folder / ("fake" if label else "real")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels.permute(1, 2, 0).numpy()).save(place / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def card(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards")
    benchmark("minigen/lenet5", "own", data=photos, split="all", device="cpu", output=folder / "results")
    return submit(Run.load(folder / "results" / "own_v1"), folder)


def test_a_card_of_own_images_names_and_lists_them(card):
    entry = read_entry(card)
    assert card.name == "own_v1-my_images-minigen-lenet5.json"
    assert entry.card.suite.title == "own_v1 on my_images"
    assert (len(entry.images), check_entry(entry)) == (24, [])
    assert str(card.parent) not in card.read_text()


def test_a_card_of_own_images_is_verified_on_the_images(card, photos):
    done = verify(card, data=photos, seed=1, device="cpu")
    assert done.passed, done.faults
    assert done.images == 20


def test_a_card_of_own_images_is_not_verified_without_the_images(card):
    with pytest.raises(UserError, match="images named 'my_images'") as caught:
        verify(card, seed=1, device="cpu")
    assert caught.value.hint == "add --data FOLDER"


def test_replaced_images_are_found(card, photos, tmp_path):
    other = tmp_path / "my_images"
    shutil.copytree(photos, other)
    first, second = sorted((other / "fake").iterdir())[:2]
    shutil.copy(first, second)
    assert {fault.subject for fault in verify(card, data=other, seed=1, device="cpu").faults} == {"images"}


def test_the_page_has_a_suite_for_each_set_of_images(card, photos, tmp_path):
    other = tmp_path / "my_images"
    shutil.copytree(photos, other)
    next((other / "fake").iterdir()).unlink()
    benchmark("minigen/lenet5", "own", data=other, split="all", device="cpu", output=tmp_path / "results")
    second = read_entry(submit(Run.load(tmp_path / "results" / "own_v1"), tmp_path))
    text = page([read_entry(card), second], tmp_path / "index.html")
    board = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert len(board["suites"]) == 2
    assert all(title.startswith("own_v1 on my_images (") for title in board["suites"])


@pytest.mark.parametrize(
    ("suite", "options", "message"),
    [
        ("own", {}, "suite own_v1 has no images of its own"),
        ("quick", {"data": "minigen"}, "suite quick_v1 has images of its own"),
        ("standard", {"split": "val"}, "suite standard_v1 has the split 'test'"),
        ("cifake", {"data": "minigen"}, "1000 images of 'minigen' not among those of cifake_v1"),
    ],
)
def test_images_that_do_not_fit_the_suite_are_refused(suite, options, message):
    with pytest.raises(UserError, match=message):
        benchmark("minigen/lenet5", suite, device="cpu", **options)


def test_the_list_of_cifakes_images_is_that_of_a_copy():
    suite = suite_of("cifake_v1")
    assert (len(suite.images), suite.images["label"].mean()) == (1000, 0.5)
    if not CIFAKE.is_dir():
        pytest.skip("CIFAKE is not on this machine")
    data = suite.data(CIFAKE)
    assert data.selection.source.name == "cifake"
    assert fingerprint(identities(data)) == suite.fingerprint
