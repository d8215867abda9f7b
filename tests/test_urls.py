"""Images behind URLs of fsspec: copied once, brought up to date, and refused with a sentence."""

import fsspec
import pytest
from conftest import write_image

from robustbench_aigen import ImageData, UserError, evaluate
from robustbench_aigen.data import urls

URL = "memory://bucket/my images"


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A bucket with six images, a cache of its own, and the names of the files that are read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    for number in range(6):
        file = tmp_path / f"{number}.png"
        write_image(file, number, fake=number % 2 == 1)
        system.pipe_file(
            f"/bucket/my images/test/{'fake' if number % 2 else 'real'}/{number}.png", file.read_bytes()
        )
    read: list[str] = []
    cat_file = type(system).cat_file

    def noted(self, path, *arguments, **options):
        read.append(path.rpartition("/")[2])
        return cat_file(self, path, *arguments, **options)

    monkeypatch.setattr(type(system), "cat_file", noted)
    yield system, read
    system.rm("/bucket", recursive=True)


def test_images_behind_a_url_are_copied_once_and_read_as_a_folder(bucket):
    _, read = bucket
    data = ImageData.open(URL, split="test")
    assert sorted(sample.id for sample in data.samples) == [
        f"test/{'fake' if n % 2 else 'real'}/{n}.png" for n in (1, 3, 5, 0, 2, 4)
    ]
    assert sorted(read) == [f"{n}.png" for n in range(6)]
    run = evaluate("minigen/lenet5", URL, split="test")
    assert len(run.records) == 6
    assert len(read) == 6, "not read again"


def test_only_changed_files_are_copied_again_and_removed_files_vanish(bucket, tmp_path):
    system, read = bucket
    ImageData.open(URL)
    read.clear()
    write_image(tmp_path / "other.png", 77, fake=True, size=(40, 40))
    system.pipe_file("/bucket/my images/test/fake/1.png", (tmp_path / "other.png").read_bytes())
    system.rm("/bucket/my images/test/fake/3.png")
    data = ImageData.open(URL)
    assert read == ["1.png"]
    assert {sample.id for sample in data.samples} == {
        f"test/{'fake' if n % 2 else 'real'}/{n}.png" for n in (0, 1, 2, 4, 5)
    }
    place = [sample.id for sample in data.samples].index("test/fake/1.png")
    assert data.source.encoded(place) == (tmp_path / "other.png").read_bytes()


def test_a_copy_that_was_broken_off_is_completed(bucket, monkeypatch):
    system, _ = bucket
    cat_file = type(system).cat_file

    def breaks_off(self, path, *arguments, **options):
        if path.endswith("4.png"):
            raise KeyboardInterrupt
        return cat_file(self, path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(system), "cat_file", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            ImageData.open(URL)
    assert not urls.is_fetched(URL)
    assert len(ImageData.open(URL).samples) == 6
    assert urls.is_fetched(URL)


def test_a_local_url_is_read_in_its_place(tmp_path):
    for number in range(4):
        folder = tmp_path / "images" / ("fake" if number % 2 else "real")
        folder.mkdir(parents=True, exist_ok=True)
        write_image(folder / f"{number}.png", number, fake=number % 2 == 1)
    data = ImageData.open(f"file://{tmp_path / 'images'}", split="all")
    assert len(data.samples) == 4


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://nothing/here", "there is no file at 'memory://nothing/here'"),
        ("s4://bucket/images", "'s4://bucket/images' cannot be read"),
    ],
)
def test_a_wrong_url_is_refused(url, said, cli):
    with pytest.raises(UserError, match=said):
        ImageData.open(url)
    assert cli("list", "data", url).code == 2
