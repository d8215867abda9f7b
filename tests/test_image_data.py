"""ImageData: images in memory are evaluated as files are, and what makes no sense is refused where it comes in."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_image
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from robustbench_aigen.data.audit.inspection import audit
from robustbench_aigen.data.image_data import ImageData, as_image_data
from robustbench_aigen.data.memory import read_label
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.engine import runner
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.images_like import levels_of

LEVELS = torch.arange(4 * 3 * 5 * 7).reshape(4, 3, 5, 7).mul(37).remainder(256).to(torch.uint8)
PIXELS = LEVELS / 255
LABELS = [0, 1, 0, 1]


def images_of(data: ImageData) -> list[torch.Tensor]:
    return [decode(data.source.encoded(index)) for index in data.selection.indices]


def labels_of(data: ImageData) -> list[int]:
    return [sample.label for sample in data.samples]


class Items(Dataset):
    """A data set of (image, label) with whatever attributes."""

    def __init__(self, held=LABELS, images=PIXELS, **attributes):
        self.held, self.images, self.reads = list(held), images, 0
        vars(self).update(attributes)

    def __len__(self):
        return len(self.held)

    def __getitem__(self, index):
        self.reads += 1
        return self.images[index], self.held[index]


# Numbers


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor, list[int], list[str]]:
    """Sixteen images of minigen in a folder of PNG files, and the same in memory."""
    folder = tmp_path_factory.mktemp("written") / "images"
    chosen = select(open_source("minigen", Path()), "test", 16)
    levels, labels, ids = [], [], []
    for index in sorted(chosen.indices, key=lambda index: (-chosen.source.samples[index].label, index)):
        sample, image = chosen.source.samples[index], decode(chosen.source.encoded(index))
        name = f"{'fake' if sample.label else 'real'}/{index:06}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / name)
        levels.append(image)
        labels.append(sample.label)
        ids.append(name)
    return folder, torch.stack(levels), labels, ids


def test_tensors_get_the_records_of_the_same_images_in_files_and_come_from_the_cache(
    written, tmp_path, monkeypatch
):
    folder, levels, labels, ids = written
    file = tmp_path / "images.yaml"
    file.write_text(
        f"version: 1\nname: images\ndata: {{source: '{folder}', split: all}}\ndetectors: [minigen/lenet5]\n"
        "pipelines:\n  pgd: [{attack: pgd, eps: 2/255, steps: 3}]\n"
        "  noise: [{perturb: gaussian_noise, sigma: 8/255}, {perturb: jpeg, quality: 60}]\n"
    )
    of_files = run(file, output=tmp_path / "files")
    data = ImageData.from_tensors(levels / 255, torch.tensor(labels), ids=ids)
    make = runner.make_experiment
    monkeypatch.setattr(
        runner,
        "make_experiment",
        lambda *args, **named: make(*args, **named).replaced(selection=data.selection),
    )
    in_memory = run(file, output=tmp_path / "memory")
    records = [
        result.records.drop(columns="sha256").sort_values(["pipeline", "sample"], ignore_index=True)
        for result in (of_files, in_memory)
    ]
    pd.testing.assert_frame_equal(*records, check_exact=True)
    assert set(records[0]["pipeline"]) == {"clean", "pgd", "noise"}
    again = run(file, output=tmp_path / "memory")
    cells = [row for row in again.info.timings if row.step == "cell"]
    assert [row.shards_computed for row in cells] == [0] * 3
    pd.testing.assert_frame_equal(again.records, in_memory.records)


@pytest.mark.parametrize(
    "images",
    [
        LEVELS,
        PIXELS,
        PIXELS.double(),
        PIXELS.half(),
        LEVELS.long(),
        PIXELS.clone().requires_grad_(),
        LEVELS.numpy(),
        LEVELS.numpy().astype(">i4"),
        LEVELS.numpy().astype(np.uint16),
        PIXELS.numpy().astype(">f4"),
        np.asfortranarray(PIXELS.numpy()),
        list(LEVELS),
        [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in LEVELS],
        [LEVELS[0], PIXELS[1].numpy(), Image.fromarray(LEVELS[2].permute(1, 2, 0).numpy()), PIXELS[3]],
    ],
)
def test_the_engine_reads_the_levels_that_were_given(images):
    data = ImageData.from_images(images, LABELS)
    assert all(torch.equal(read, given) for read, given in zip(images_of(data), LEVELS, strict=True))
    assert data.notices == ()
    assert [sample.id for sample in data.samples] == ["000000", "000001", "000002", "000003"]


def test_sizes_may_differ_and_floats_are_rounded_to_the_nearest_level():
    shapes = [(3, 1, 1), (3, 2, 9), (3, 300, 2)]
    data = ImageData.from_tensors([torch.full(shape, 0.5) for shape in shapes], [0, 1, 1])
    assert [tuple(image.shape) for image in images_of(data)] == shapes
    # 127.5 rounds to the even level, as torch.round does.
    assert {int(level) for image in images_of(data) for level in image.unique()} == {128}
    assert data.notices == ("3 images are off the 8-bit grid and were rounded to multiples of 1/255",)


def test_every_multiple_of_a_255th_is_its_own_level():
    ramp = torch.arange(256).expand(3, 1, 256)
    for pixels in (ramp / 255, ramp.double() / 255, (ramp / 255).half()):
        assert torch.equal(levels_of(pixels), ramp.to(torch.uint8))


def test_data_does_not_change_with_the_tensor_it_was_made_of():
    images = LEVELS.clone()
    data = ImageData.from_tensors(images, LABELS)
    images.zero_()
    assert torch.equal(images_of(data)[2], LEVELS[2])


def test_a_file_keeps_its_bytes_and_its_path_as_id(tmp_path, monkeypatch):
    for number in range(2):
        write_image(tmp_path / f"{number}.jpg", number, fake=False)
    monkeypatch.chdir(tmp_path)
    data = ImageData.from_images(["0.jpg", Path("1.jpg")], ["real", "fake"])
    monkeypatch.chdir("/")
    assert [data.source.encoded(index) for index in range(2)] == [
        (tmp_path / f"{number}.jpg").read_bytes() for number in range(2)
    ]
    assert [(sample.id, sample.label) for sample in data.samples] == [("0.jpg", 0), ("1.jpg", 1)]


def test_pillow_images_are_read_as_their_files_are(tmp_path):
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (6, 5, 4), dtype=np.uint8))
    turned = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for image, options in (
        (rgba, {}),
        (rgba.convert("LA"), {}),
        (turned.convert("P"), {}),
        (turned, {"exif": exif}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        opened = Image.open(io.BytesIO(buffer.getvalue()))
        assert torch.equal(levels_of(opened), decode(buffer.getvalue()))


# Labels, generators, splits


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 0, 1],
        (0.0, 1.0, 0.0, 1.0),
        ["real", "fake", "Real", " FAKE"],
        ["0", "1", 0, True],
        torch.tensor([0, 1, 0, 1]),
        torch.tensor([0.0, 1.0, 0.0, 1.0]),
        np.array([0, 1, 0, 1], dtype=np.uint8),
        np.array(["real", "fake", "real", "fake"]),
        pd.Series([0, 1, 0, 1], index=[5, 6, 7, 8]),
        [torch.tensor(0), torch.tensor([1]), np.int64(0), np.float32(1)],
    ],
)
def test_labels_may_be_numbers_or_words(labels):
    assert labels_of(ImageData.from_tensors(LEVELS, labels)) == LABELS


@pytest.mark.parametrize(
    "label", [2, -1, 0.5, float("nan"), None, "ai", "", "yes", [0], b"1", np.nan, torch.zeros(2)]
)
def test_any_other_label_is_refused(label):
    with pytest.raises(UserError, match=r"labels\[3\].*is not a label"):
        ImageData.from_tensors(LEVELS, [0, 1, 0, label])
    with pytest.raises(UserError, match="is not a label"):
        read_label(label)


def test_generators_and_splits_are_those_of_the_samples():
    data = ImageData.from_tensors(
        LEVELS, LABELS, generators=[None, "sdxl", "sdxl", None], splits=["train", "test", None, "validation"]
    )
    assert [(sample.generator, sample.split) for sample in data.samples] == [
        ("real", "train"), ("sdxl", "test"), ("sdxl", None), ("fake", "val"),
    ]  # fmt: skip
    alike = ImageData.from_tensors(LEVELS, LABELS, generators="sdxl", splits="test")
    assert {(sample.generator, sample.split) for sample in alike.samples} == {("sdxl", "test")}


def test_a_split_or_a_limit_of_data_in_memory_can_be_taken():
    data = ImageData.from_tensors(LEVELS, LABELS, splits=["train", "train", "test", "test"])
    assert len(data) == 4
    assert [sample.id for sample in data.taking("test").samples] == ["000002", "000003"]
    assert labels_of(data.taking(limit=2)) == [0, 1]
    with pytest.raises(UserError, match="no split 'tset'"):
        data.taking("tset")


# Bad input


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        (lambda images: images * 2 - 1, r"images\[0\]: floats from -1 to .*pixels are in \[0, 1\]", "std"),
        (lambda images: images * 255, r"images\[0\]: floats from .* to 255", "/ 255"),
        (lambda images: images * 1e5, r"images\[0\]: floats", "scale"),
        (lambda images: (images * 510).int(), r"images\[0\]: integers from 0 to 5.*0 to 255", "257"),
        (lambda images: (images * 255).int() - 3, r"images\[0\]: integers from -3", None),
        (lambda images: images > 0.5, "truth values", "0 to 255"),
        (lambda images: images.to(torch.complex64), "complex", None),
        (lambda images: images.to_sparse(), "sparse", "to_dense"),
        (lambda images: images.permute(0, 2, 3, 1), "the channels are last", r"permute\(0, 3, 1, 2\)"),
        (lambda images: images.permute(0, 2, 3, 1).numpy(), "the channels are last", "transpose"),
        (lambda images: [image.permute(1, 2, 0) for image in images], r"images\[0\].*channels are last", r"permute\(2, 0, 1\)"),
        (lambda images: images[:, :1], "there is one channel", "repeat"),
        (lambda images: images[:, 0], "the shape 4×5×7, not N×3×H×W", None),
        (lambda images: list(images[:, 0]), r"images\[0\].*no axis of channels", "stack"),
        (lambda images: torch.cat([images, images[:, :1]], 1), "an alpha channel", ":3"),
        (lambda images: [image.permute(1, 2, 0).numpy()[..., [0, 1, 2, 2]] for image in images], "channels are last", None),
        (lambda images: images[..., :0], "the shape N×3×5×0", None),
        (lambda images: images[:0], "there are no images", "at least one"),
        (lambda images: [], "there are no images", "at least one"),
        (lambda images: images[0], "one image", r"\[image\]"),
        (lambda images: [*images[:3], "text"], "no file at 'text'", "relative paths"),
        (lambda images: [*images[:3], None], r"images\[3\]: NoneType is not an image", "PIL"),
        (lambda images: [*images[:3], images[:1]], r"images\[3\].*1×3×5×7", "one by one"),
        (lambda images: 5, "not int", "PIL"),
        (lambda images: "folder", "one path", r"ImageData.open"),
        (lambda images: {"a": 1}, "mapping", None),
        (lambda images: [Image.new("F", (4, 4)), *images[1:]], r"images\[0\].*no defined range", None),
    ],
)  # fmt: skip
def test_images_that_make_no_sense_are_refused_with_their_number(change, says, hint):
    with pytest.raises(UserError, match=says) as refusal:
        ImageData.from_tensors(change(PIXELS), LABELS)
    if hint is not None:
        assert pd.Series(refusal.value.hint).str.contains(hint).item()


@pytest.mark.parametrize(
    ("value", "says"), [(float("nan"), "has NaN"), (float("inf"), "infinite"), (1.01, "floats")]
)
@pytest.mark.parametrize("as_array", [False, True])
def test_one_wrong_value_is_found_in_its_image(value, says, as_array):
    images = PIXELS.clone()
    images[2, 1, 4, 6] = value
    with pytest.raises(UserError, match=rf"images\[2\].*{says}"):
        ImageData.from_tensors(images.numpy() if as_array else images, LABELS)


def test_floats_that_rounding_put_just_outside_are_taken():
    mean, std = (
        torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1),
        torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1),
    )
    undone = (PIXELS - mean) / std * std + mean
    data = ImageData.from_tensors(undone, LABELS)
    assert all(torch.equal(read, given) for read, given in zip(images_of(data), LEVELS, strict=True))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"labels": [0, 1, 0]}, "4 images and 3 labels"),
        ({"labels": torch.tensor([[0], [1], [0], [1]])}, "labels have the shape 4×1"),
        ({"labels": torch.eye(2)[LABELS]}, "labels have the shape 4×2"),
        ({"labels": "fake"}, "labels must be a list"),
        ({"labels": 1}, "labels must be a list"),
        ({"labels": None}, "labels must be a list"),
        ({"labels": {0, 1}}, "labels must be a list"),
        ({"generators": ["a"]}, "4 images and 1 generators"),
        ({"generators": ["real", "real", "real", "sdxl"]}, r"generators\[1\].*fake.*'real'"),
        ({"generators": "all"}, "generator called 'all'"),
        ({"ids": ["a", "b", "a", "c"]}, r"ids\[2\]: 'a' is listed twice, first at ids\[0\]"),
        ({"ids": [1, 2, 3, "1"]}, r"ids\[3\]: '1' is listed twice"),
        ({"ids": ["a", "", "b", "c"]}, r"ids\[1\]: the id is empty"),
        ({"ids": ["a"]}, "4 images and 1 ids"),
        ({"splits": ["test"] * 5}, "4 images and 5 splits"),
    ],
)
def test_lists_that_do_not_fit_the_images_are_refused(given, says):
    with pytest.raises(UserError, match=says):
        ImageData.from_tensors(LEVELS, **{"labels": LABELS, **given})


def test_images_divided_by_255_twice_are_told():
    for images in (PIXELS / 255, (LEVELS > 250).to(torch.uint8)):
        [notice] = [text for text in ImageData.from_tensors(images, LABELS).notices if "brighter" in text]
        assert notice.is_warning


def test_paths_that_are_folders_missing_or_there_twice_are_refused(tmp_path):
    write_image(tmp_path / "a.png", 1, fake=False)
    here = str(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"images\[1\].*is a folder"):
        ImageData.from_images([here, tmp_path], [0, 1])
    with pytest.raises(UserError, match="nor at any of the 2 paths"):
        ImageData.from_images(["x/1.png", "x/2.png"], [0, 1])
    with pytest.raises(UserError, match="listed twice"):
        ImageData.from_images([here, f"{tmp_path}/./a.png"], [0, 1])
    assert len(ImageData.from_images([here, here], [0, 1], ids=["one", "copy"])) == 2


def test_numbers_that_the_folders_of_the_files_contradict_are_refused(tmp_path):
    files = [tmp_path / name for name in ("real/a.png", "fake/b.png", "real/c.png", "fake/d.png")]
    for number, file in enumerate(files):
        write_image(file, number, fake=False)
    assert labels_of(ImageData.from_images(files, [0, 1, 0, 1])) == [0, 1, 0, 1]
    with pytest.raises(UserError, match="label 0 is on images in folders of fakes"):
        ImageData.from_images(files, [1, 0, 1, 0])
    # Words are meant as they are, and folders that differ among one label decide nothing.
    assert labels_of(ImageData.from_images(files, ["fake", "real"] * 2)) == [1, 0, 1, 0]
    assert labels_of(ImageData.from_images(files, [1, 0, 0, 1])) == [1, 0, 0, 1]


# Data sets


def test_a_data_set_is_read_lazily_where_it_has_its_labels():
    for name in ("targets", "labels"):
        for labels in (LABELS, torch.tensor(LABELS), np.array(LABELS)):
            dataset = Items(**{name: labels})
            data = ImageData.from_dataset(dataset)
            assert labels_of(data) == LABELS
            assert dataset.reads == 2  # The first item, twice.
            assert torch.equal(images_of(data)[3], LEVELS[3])
    assert labels_of(as_image_data(TensorDataset(PIXELS, torch.tensor(LABELS)))) == LABELS


def test_parts_of_data_sets_keep_the_labels_of_their_items():
    whole = Items(targets=LABELS, classes=["real", "fake"])
    assert labels_of(as_image_data(Subset(whole, [3, 0, 1]))) == [1, 0, 1]
    assert labels_of(as_image_data(ConcatDataset([whole, Subset(whole, [1, 1])]))) == [0, 1, 0, 1, 1, 1]
    assert labels_of(as_image_data(ConcatDataset([Items(), whole]))) == LABELS * 2


def test_names_of_classes_say_what_labels_mean():
    """torchvision's ImageFolder numbers class folders by name: 0 is fake where they are called fake and real."""
    for names in (["fake", "real"], ["AI", "nature"], ["1_fake", "2_real"]):
        data = as_image_data(Items(targets=LABELS, classes=names))
        assert labels_of(data) == [1, 0, 1, 0]
        assert f"{names[0]} (0) is fake" in data.notices[0]
    by_index = {"generated": 1, "photos": 0}
    assert labels_of(as_image_data(Items(targets=LABELS, class_to_idx=by_index))) == LABELS
    several = Items([0, 1, 2, 0], targets=[0, 1, 2, 0], classes=["adm", "real", "sdxl"])
    with pytest.raises(UserError, match="class 'adm'.*is real or fake"):
        as_image_data(several)
    said = ImageData.from_dataset(several, labels={"adm": "fake", "sdxl": "fake"})
    assert labels_of(said) == [1, 0, 1, 1]


def test_what_the_user_says_of_labels_goes_first():
    swapped = {0: "fake", 1: "real"}
    assert labels_of(ImageData.from_dataset(Items(), labels=swapped)) == [1, 0, 1, 0]
    named = Items(targets=LABELS, classes=["fake", "real"])
    assert labels_of(ImageData.from_dataset(named, labels={0: "real", 1: "fake"})) == LABELS
    words = Items(["cat", "dog", "cat", "dog"])
    assert labels_of(ImageData.from_dataset(words, labels={"cat": "fake", "dog": "real"})) == [1, 0, 1, 0]
    for wrong in ({0: 1}, {}, ["fake", "real"], {0: "ai"}):
        with pytest.raises(UserError, match="labels"):
            ImageData.from_dataset(Items(), labels=wrong)


def test_a_change_of_targets_is_made_before_they_are_read():
    class Changed(Items):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, self.target_transform(label)

    merged = Changed(
        [0, 1, 2, 1],
        targets=[0, 1, 2, 1],
        classes=["adm", "real", "sdxl"],
        target_transform=lambda y: int(y != 1),
    )
    assert labels_of(as_image_data(merged)) == [1, 0, 1, 0]
    floats = Changed(targets=LABELS, classes=["fake", "real"], target_transform=float)
    assert labels_of(as_image_data(floats)) == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (Items(images=lambda: None), "item 0 of Items fails: TypeError"),
        (Items([0, 1, 0, 3]), r"Items\[3\]: 3 is not a label"),
        (Items([]), "Items is empty"),
        (Items(images=PIXELS * 2 - 1), r"Items\[0\]: floats"),
        (Items(targets=[1, 0, 1, 0]), "item 0 of Items has the label 0, and its targets have 1"),
        (TensorDataset(PIXELS), "is a tuple of 1"),
        (TensorDataset(PIXELS, PIXELS, PIXELS), "is a tuple of 3"),
        (DataLoader(Items()), "gives batches"),
        (type("Stream", (IterableDataset,), {"__iter__": lambda _: iter([])})(), "no length"),
        (Items, "not a source"),
    ],
)
def test_a_data_set_without_such_items_is_refused(dataset, says):
    with pytest.raises(UserError, match=says):
        as_image_data(dataset)


def test_an_item_that_reads_differently_the_second_time_is_refused():
    class Flipping(Items):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return (image if index < self.first else image.roll(self.reads, -1)), label

    with pytest.raises(UserError, match="item 0 of Flipping returns another image at the second access"):
        as_image_data(Flipping(first=0))
    data = as_image_data(Flipping(first=2))
    assert torch.equal(images_of(data)[1], LEVELS[1])
    with pytest.raises(UserError, match="item 2 of Flipping returns another image"):
        images_of(data)
    dataset = Items()
    data = as_image_data(dataset)
    dataset.held[1] = 0
    with pytest.raises(UserError, match="item 1 of Items has the label 0, and the first access gave"):
        images_of(data)


# Frames


def test_a_frame_says_what_a_csv_file_of_the_same_rows_says(tmp_path):
    for number in range(4):
        write_image(tmp_path / f"{number}.png", number, fake=False)
    frame = pd.DataFrame(
        {
            "path": [f"{number}.png" for number in range(4)],
            "label": ["nature", "AI", "real", "fake"],
            "generator": [None, "sdxl", np.nan, "flux"],
            "split": ["train", "test", "Test", "validation"],
        },
        index=[9, 9, 8, 7],
    )
    frame.to_csv(tmp_path / "list.csv", index=False)
    listed = open_source(str(tmp_path / "list.csv"), Path())
    data = ImageData.from_frame(frame, folder=tmp_path)
    assert data.samples == listed.samples
    assert [data.source.encoded(row) for row in range(4)] == [listed.encoded(row) for row in range(4)]
    renamed = frame.rename(columns={"path": "file", "label": "kind", "generator": "model", "split": "part"})
    said = ImageData.from_frame(
        renamed, image="file", label="kind", generator="model", split="part", folder=tmp_path
    )
    assert said.samples == data.samples


def test_a_frame_may_hold_images():
    frame = pd.DataFrame({"image": list(LEVELS.numpy()), "label": LABELS})
    data = ImageData.from_frame(frame, image="image")
    assert all(torch.equal(read, given) for read, given in zip(images_of(data), LEVELS, strict=True))


@pytest.mark.parametrize(
    ("change", "named", "says"),
    [
        (lambda f: f, {"image": "pth"}, "no column 'pth'\n.*'path'"),
        (lambda f: f.rename(columns={"label": "lable"}), {}, "no column 'label'\n.*'lable'"),
        (lambda f: f, {"split": "splt"}, "no column 'splt'"),
        (lambda f: f.assign(label=[0, None]), {}, r"label\[1\]: 1 of 2 rows have no value"),
        (lambda f: f.assign(path=[pd.NA, "b.png"]), {}, r"path\[0\]: 1 of 2 rows have no value"),
        (lambda f: f.assign(label=[0, 7]), {}, r"label\[1\]: 7 is not a label"),
        (lambda f: f.iloc[:0], {}, "there are no images"),
        (lambda f: pd.concat([f, f["path"]], axis=1), {}, "the column 'path' twice"),
        (lambda f: f.to_dict(), {}, "dict is not a pandas data frame"),
    ],
)
def test_a_frame_without_its_columns_or_cells_is_refused(change, named, says):
    frame = pd.DataFrame({"path": ["a.png", "b.png"], "label": [0, 1]})
    with pytest.raises(UserError) as refusal:
        ImageData.from_frame(change(frame), **named)
    assert pd.Series(str(refusal.value)).str.contains(says).item()


# Whatever can be data


def test_named_data_is_its_test_split_and_data_in_memory_all_of_it():
    assert as_image_data("minigen", limit=5).split == "test"
    assert as_image_data({"source": "minigen", "split": "val", "limit": 4}).split == "val"
    assert len(as_image_data({"source": "minigen", "split": "val"}, "train", 6)) == 6
    memory = as_image_data((LEVELS, LABELS))
    assert (memory.split, len(memory)) == ("all", 4)
    assert as_image_data(memory, limit=2).samples == memory.taking(limit=2).samples
    assert len(as_image_data(([*LEVELS], LABELS))) == 4


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "NoneType is not a source"),
        (7, "int is not a source"),
        (LEVELS, "images without labels"),
        (LEVELS.numpy(), "images without labels"),
        ((LEVELS, LABELS, LABELS), "a tuple of 3"),
        ([1], "a list of 1"),
        ({"sourc": "minigen"}, "sourc: unknown key 'sourc'"),
        ("minigne", "no data at 'minigne'"),
    ],
)
def test_what_is_no_data_is_refused(data, says):
    with pytest.raises(UserError, match=says):
        as_image_data(data)


def test_open_takes_what_a_scenario_says_of_data(tmp_path):
    for number, name in enumerate(("cats/a.png", "cats/b.png", "dogs/c.png")):
        write_image(tmp_path / "mine" / name, number, fake=False)
    data = ImageData.open(Path("mine"), "all", labels={"cats": "fake", "dogs": "real"}, folder=tmp_path)
    assert labels_of(data) == [1, 1, 0]
    both = ImageData.open(
        [{"source": Path("mine/cats"), "label": "fake"}, {"source": "mine/dogs", "label": "real"}],
        "all",
        folder=tmp_path,
    )
    assert labels_of(both) == [1, 1, 0]
    with pytest.raises(UserError, match=r"sources\[1\].source: no data at 'nowhere'"):
        ImageData.open(["minigen", "nowhere"])
    with pytest.raises(UserError, match="unknown layout 'cvs'"):
        ImageData.open("minigen", layout="cvs")
    for limit in (0, -1, 1.5, "3", True):
        with pytest.raises(UserError, match="limit"):
            ImageData.open("minigen", limit=limit)


def test_data_pickles(image_folder, monkeypatch):
    monkeypatch.chdir(image_folder.parent)
    for data in (
        ImageData.from_tensors(LEVELS, LABELS, splits="test"),
        ImageData.open("minigen", limit=3),
        ImageData.open("images", "all", limit=4),
        as_image_data(TensorDataset(PIXELS, torch.tensor(LABELS)), limit=2),
    ):
        content = pickle.dumps(data)
        monkeypatch.chdir("/")
        again = pickle.loads(content)
        assert (again.samples, again.split, again.limit) == (data.samples, data.split, data.limit)
        assert again.source.encoded(1) == data.source.encoded(1)
        monkeypatch.chdir(image_folder.parent)
    content = pickle.dumps(ImageData.open("images", "all"))
    (image_folder / "real" / "00.png").unlink()
    with pytest.raises(UserError, match="other images"):
        pickle.loads(content)


# Audit and copies


def test_an_audit_is_that_of_the_command(image_folder, cli):
    found = ImageData.open(image_folder).audit()
    printed = json.loads(cli("audit", str(image_folder), "--json").out)
    assert json.loads(json.dumps(found.as_dict())) == printed


def test_an_equalised_copy_is_that_of_the_command(image_folder, tmp_path, cli):
    for file in (image_folder / "real").iterdir():
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    copy = ImageData.open(image_folder, "all").equalise(tmp_path / "python")
    assert cli("audit", str(image_folder), "--fix", str(tmp_path / "command")).code == 0
    theirs = ImageData.open(tmp_path / "command", "all")
    assert copy.samples == theirs.samples
    assert [copy.source.encoded(row) for row in range(len(copy))] == [
        theirs.source.encoded(row) for row in range(len(theirs))
    ]
    with pytest.raises(UserError, match="exists already"):
        ImageData.open(image_folder, "all").equalise(tmp_path / "python")
    with pytest.raises(UserError, match="inside the data"):
        ImageData.open(image_folder, "all").equalise(image_folder / "inside")


def test_a_prepared_copy_is_that_of_the_command(image_folder, tmp_path, cli):
    copy = ImageData.open(image_folder, "all").prepare(
        tmp_path / "python", crop_bottom=4, splits="50/25/25", seed=3
    )
    options = ("--crop-bottom", "4", "--splits", "50/25/25", "--seed", "3")
    assert cli("data", "prepare", str(image_folder), str(tmp_path / "command"), *options).code == 0
    theirs = ImageData.open(tmp_path / "command", "all")
    assert copy.samples == theirs.samples
    assert {tuple(image.shape) for image in images_of(copy)} == {(3, 28, 32)}
    for wrong in (
        {"quality": 80},
        {"only": "a"},
        {"encoding": "gif"},
        {"crop_bottom": "x"},
        {"encoding": "jpeg", "quality": 0},
    ):
        with pytest.raises(UserError):
            ImageData.open(image_folder, "all").prepare(tmp_path / "wrong", **wrong)
    assert not (tmp_path / "wrong").exists()


def test_images_in_memory_are_audited_and_written(tmp_path):
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, 16, 16), dtype=torch.uint8, generator=rng)
    data = ImageData.from_tensors(images, [0, 1] * 12)
    assert audit(data.selection).as_dict() == data.audit().as_dict()
    copy = data.prepare(tmp_path / "copy")
    given = {image.numpy().tobytes() for image in images}
    assert {image.numpy().tobytes() for image in images_of(copy.taking("all"))} == given
