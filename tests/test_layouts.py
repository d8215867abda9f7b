"""Data sets as people have them: each layout told from what is there, or asked for."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SHARED_DATA, write_image
from PIL import Image

from robustbench_aigen.data.inventory import describe
from robustbench_aigen.data.opening import open_data, open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.scenario.data_argument import read_data
from robustbench_aigen.scenario.data_spec import DataSpec, SourceSpec


def png(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def tree(folder: Path, *paths: str) -> Path:
    for number, path in enumerate(paths):
        write_image(folder / path, number, fake=False, size=(8, 8))
    return folder


def opened(path: Path, **said):
    return open_source(SourceSpec(source=str(path), **said), Path())


def facts(source):
    return {sample.id: (sample.label, sample.generator, sample.split) for sample in source.samples}


CNNDETECTION = (
    "progan/train/0_real/a.png",
    "progan/cat/1_fake/b.png",
    "progan/train/1_fake/c.png",
    "stylegan/car/0_real/d.png",
    "deepfake/0_real/e.png",
    "deepfake/1_fake/f.png",
)


def test_a_category_called_train_is_no_split(tmp_path):
    source = opened(tree(tmp_path, *CNNDETECTION))
    assert facts(source) == {
        "progan/train/0_real/a.png": (0, "progan", None),
        "progan/cat/1_fake/b.png": (1, "progan", None),
        "progan/train/1_fake/c.png": (1, "progan", None),
        "stylegan/car/0_real/d.png": (0, "stylegan", None),
        "deepfake/0_real/e.png": (0, "deepfake", None),
        "deepfake/1_fake/f.png": (1, "deepfake", None),
    }
    assert source.layout.endswith("as in CNNDetection")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("train/airplane/1_fake/a.png", (1, "fake", "train")),
        ("real_vs_fake/real-vs-fake/test/real/a.png", (0, "real", "test")),
        ("AiArtData/AiArtData/a.png", (1, "fake", None)),
        ("imagenet_ai_0424_sdv5/val/nature/a.png", (0, "imagenet_ai_0424_sdv5", "val")),
        (
            "stable_diffusion_v_1_5/imagenet_ai_0424_sdv5/train/ai/a.png",
            (1, "stable_diffusion_v_1_5", "train"),
        ),
        ("fake/nature/a.png", (1, "fake", None)),
        ("deepfake/real/a.png", (0, "deepfake", None)),
        ("non-ai/a.png", (0, "real", None)),
        ("Test/SYNTHETIC/sdxl/a.png", (1, "sdxl", "test")),
    ],
)
def test_folders_are_read(tmp_path, path, told):
    assert list(facts(opened(tree(tmp_path, path))).values()) == [told]


def test_names_that_say_two_things_ask_for_the_layout(tmp_path):
    tree(tmp_path, "fake/real/a.png", "real/real/b.png")
    with pytest.raises(UserError, match="'fake/real' name both classes") as caught:
        opened(tmp_path)
    assert "layout: class/category" in caught.value.hint
    assert [s.label for s in opened(tmp_path, layout="class/category").samples] == [1, 0]
    assert [s.label for s in opened(tmp_path, layout="category/class").samples] == [0, 0]
    tree(tmp_path / "splits", "train/val/real/a.png")
    with pytest.raises(UserError, match="name two splits"):
        opened(tmp_path / "splits")


def test_a_stated_layout_is_taken_at_its_word(tmp_path):
    tree(tmp_path, "a/holdout/fake/1.png", "b/holdout/real/2.png", "stray.png")
    source = opened(tmp_path, layout="generator/split/class")
    assert list(facts(source).values()) == [(1, "a", "test"), (0, "b", "test")]
    assert source.notices == ["1 image is left out: its folder names no class (.)"]
    with pytest.raises(UserError, match="does not have the layout split/class"):
        opened(tmp_path / "a" / "holdout", layout="split/class")
    forensynths = opened(tree(tmp_path / "f", *CNNDETECTION), layout="forensynths")
    assert Counter(s.generator for s in forensynths.samples) == {"progan": 3, "stylegan": 1, "deepfake": 2}


def test_own_names_of_classes(tmp_path):
    tree(tmp_path, "midjourney/a.png", "laion/b.png", "other/c.png")
    with pytest.raises(UserError, match="cannot tell real from fake") as caught:
        opened(tmp_path)
    assert "labels: {laion: …, midjourney: …, other: …}" in caught.value.hint
    source = opened(tmp_path, labels={"Midjourney": "fake", "laion": "real"})
    assert [(s.label, s.generator) for s in source.samples] == [(0, "real"), (1, "midjourney")]
    left_out = "1 image is left out: its folder names no class (other)"
    assert source.notices == [f"{left_out}; if they are real or fake, declare labels: {{other: …}}"]
    assert {s.label for s in opened(tmp_path, label="fake").samples} == {1}


def test_numbered_folders_ask_what_they_mean(tmp_path):
    tree(tmp_path, "0/a.png", "1/b.png")
    with pytest.raises(UserError, match="cannot tell real from fake"):
        opened(tmp_path)
    assert [s.label for s in opened(tmp_path, labels={0: "fake", 1: "real"}).samples] == [1, 0]


def manifest(folder: Path, text: str) -> Path:
    tree(folder, "x/1.png", "x/2.png")
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return folder / "list.csv"


@pytest.mark.parametrize(
    "text",
    [
        "path,label,generator,split\nx/1.png,real,,test\nx/2.png,fake,sdxl,Testing\n",
        "\ufeffPath;Label;Generator;Split\nx/1.png;nature;none;test\nx/2.png;AI;sdxl;test\n",
        "file_name\tsplit\tgenerator\tclass\nx/1.png\ttest\t\tREAL\nx/2.png\ttest\tsdxl\tsynthetic\n",
        "path,label,generator,split\rx/1.png,real,,test\rx/2.png,fake,sdxl,dev-test\r",
        "sep=;\r\npath;label;generator;split\r\nx/1.png;real;;test\r\nx/2.png;fake;sdxl;test\r\n",
    ],
)
def test_manifests(tmp_path, text):
    file = manifest(tmp_path, text)
    for path in (file, tmp_path):
        source = opened(path)
        assert facts(source) == {"x/1.png": (0, "real", "test"), "x/2.png": (1, "sdxl", "test")}
        assert decode(source.encoded(1)).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("text", "said", "message"),
    [
        (
            "path,label\nx/1.png,0\n",
            {},
            r"list.csv:2: cannot tell whether label '0'.*\n.*labels: \{0: fake, 1: real\}",
        ),
        (
            "path,label\nx/1.png,real\nx/1.png,fake\n",
            {},
            "list.csv:3: 'x/1.png' is listed twice, first in line 2",
        ),
        ("path,label\nx/1.png,real\n./x/1.png,fake\n", {}, "list.csv:3: './x/1.png' is listed twice"),
        ("path,label\nx/1.png,real\nx\\1.png,fake\n", {}, "is listed twice, first in line 2"),
        ("path,label\nx/1.png,real,3\n", {}, "list.csv:2: has more values"),
        ("path,label\n,real\n", {}, "list.csv:2: has no path"),
        ("path,label\n", {}, "lists no images"),
        ("path,label,Label\nx/1.png,real,fake\n", {}, "list.csv:1: has the column 'label' twice"),
        ("a,b\n1,2\n", {}, "list.csv:1: needs a header with path and label; it has a, b"),
        ("", {}, "needs a header"),
        (
            "path,label\nx/1.png,real\n",
            {"columns": {"label": "kind"}},
            "has no column 'kind'; it has path, label",
        ),
        ('path,label\n"x/1.png,real\n', {}, "not valid CSV"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said_with_its_line(tmp_path, text, said, message):
    with pytest.raises(UserError) as caught:
        opened(manifest(tmp_path, text), layout="csv", **said)
    assert_matches(message, str(caught.value))


def assert_matches(pattern: str, text: str) -> None:
    import re

    assert re.search(pattern, text, re.DOTALL), text


def test_json_lines_may_have_inner_objects_and_any_character(tmp_path):
    tree(tmp_path, "x/1.png", "x/2.png")
    rows = [
        {"path": "x/1.png", "label": "real", "caption": "one\u2028two"},
        {"path": "x/2.png", "label": "fake", "meta": {"generator": "sdxl", "split": "test"}},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "list.jsonl").write_text("\n".join(lines), encoding="utf-8")
    told = {"x/1.png": (0, "real", None), "x/2.png": (1, "sdxl", "test")}
    assert facts(opened(tmp_path)) == told


def test_a_list_without_the_usual_columns_is_named(tmp_path):
    tree(tmp_path, "x/1.png", "x/2.png")
    (tmp_path / "train.csv").write_text("id,kind\nx/1.png,real\nx/2.png,fake\n")
    with pytest.raises(UserError, match="train.csv has no columns path and label") as caught:
        opened(tmp_path)
    assert "open train.csv with columns: {image: …, label: …}" in caught.value.hint
    assert [
        s.label for s in opened(tmp_path / "train.csv", columns={"image": "id", "label": "kind"}).samples
    ] == [0, 1]


def test_a_list_in_another_encoding_is_refused_as_such(tmp_path):
    tree(tmp_path, "x/1.png")
    (tmp_path / "list.csv").write_bytes("path,label\nx/é.png,real\n".encode("latin-1"))
    with pytest.raises(UserError, match="list.csv: cannot be read as text") as caught:
        opened(tmp_path)
    assert caught.value.hint == "save it as UTF-8"


def test_integers_in_a_manifest_mean_what_the_scenario_says(tmp_path):
    file = manifest(tmp_path, "path,label\nx/1.png,0\nx/2.png,1\n")
    assert [s.label for s in opened(file, labels={0: "fake", 1: "real"}).samples] == [1, 0]


def write_tar(file: Path, members: dict[str, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_webdataset(tmp_path):
    write_tar(
        tmp_path / "train-000000.tar",
        {
            "000.jpg": png(1),
            "000.cls": b"fake",
            "001.png": png(2),
            "001.json": b'{"label": "real", "split": "val"}',
        },
    )
    write_tar(
        tmp_path / "test-000000.tar",
        {
            "./real/000.png": png(3),
            "fake/sdxl/001.png": png(4),
            "002.png": png(5),
            "003.json": json.dumps({"label": "ai", "generator": "flux"}).encode(),
            "003.webp": png(6),
            "readme.txt": b"x",
        },
    )
    source = opened(tmp_path)
    assert facts(source) == {
        "test-000000/real/000": (0, "real", "test"),
        "test-000000/fake/sdxl/001": (1, "sdxl", "test"),
        "test-000000/003": (1, "flux", "test"),
        "train-000000/000": (1, "fake", "train"),
        "train-000000/001": (0, "real", "val"),
    }
    assert source.notices == ["1 image is left out: no label or folder gives their class"]
    shades = {s.id: decode(source.encoded(i))[0, 0, 0].item() for i, s in enumerate(source.samples)}
    assert shades["test-000000/003"] == 6
    assert shades["train-000000/001"] == 2


def test_integers_in_a_webdataset_ask_what_they_mean(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.png": png(), "1.cls": b"0"})
    with pytest.raises(UserError, match="'1': cannot tell whether label '0' is real or fake"):
        opened(tmp_path / "a.tar")
    assert [s.label for s in opened(tmp_path / "a.tar", labels={0: "fake"}).samples] == [1]


def test_of_a_tar_file_that_is_cut_off_the_whole_samples_are_taken(tmp_path):
    write_tar(tmp_path / "a.tar", {f"real/{n}.png": png(n) for n in range(6)})
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: 4 * 1024 + 100])  # A header and its image are 1,024 bytes.
    source = opened(tmp_path)
    assert len(source.samples) == 4
    assert source.notices == ["a.tar is cut off after 4 samples"]
    (tmp_path / "b.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(UserError, match="cannot be read as a tar file"):
        opened(tmp_path / "b.tar")


def write_arrow(file: Path, labels: list[int], features: dict[str, object]) -> None:
    images = [{"bytes": png(n), "path": None} for n in range(len(labels))]
    table = pa.table({"image": images, "label": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def test_what_save_to_disk_leaves_is_read(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["fake", "real"]}}
    for split in ("train", "test"):
        write_arrow(tmp_path / split / "data-00000-of-00001.arrow", [0, 1, 1], features)
    source = opened(tmp_path)
    assert Counter((s.split, s.label) for s in source.samples) == {
        ("train", 1): 1, ("train", 0): 2, ("test", 1): 1, ("test", 0): 2,
    }  # fmt: skip
    assert decode(source.encoded(5))[0, 0, 0] == 2


README = """---
license: mit
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': FAKE
          '1': REAL
---
# A data set
"""


def bare_parquet(file: Path, label: str = "label", image: str = "image") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({image: [png(1), png(2)], label: [0, 1]}), file)


def test_class_names_of_a_readme_are_known(tmp_path):
    bare_parquet(tmp_path / "data" / "test-00000.parquet")
    with pytest.raises(UserError, match="cannot tell whether label 0"):
        opened(tmp_path)
    (tmp_path / "README.md").write_text(README)
    assert [(s.label, s.split) for s in opened(tmp_path).samples] == [(1, "test"), (0, "test")]


def test_columns_and_labels_can_be_said(tmp_path):
    bare_parquet(tmp_path / "a.parquet", label="is_generated", image="shot")
    with pytest.raises(UserError, match="the columns image and label are missing; found is_generated, shot"):
        opened(tmp_path / "a.parquet")
    said = {"columns": {"label": "is_generated"}, "labels": {0: "real", 1: "fake"}}
    assert [s.label for s in opened(tmp_path / "a.parquet", **said).samples] == [0, 1]
    with pytest.raises(UserError, match="has no column 'kind'"):
        opened(tmp_path / "a.parquet", columns={"label": "kind"})


def test_two_layouts_in_one_folder_ask_which(tmp_path):
    tree(tmp_path, "real/a.png", "fake/b.png")
    bare_parquet(tmp_path / "data" / "test.parquet")
    with pytest.raises(UserError) as caught:
        opened(tmp_path)
    assert_matches(
        "1 parquet file or 2 images in class folders\n  name the layout: layout: parquet or layout: folder",
        str(caught.value),
    )
    assert len(opened(tmp_path, layout="folder").samples) == 2
    # A picture of the description is no data.
    tree(tmp_path / "hub", "assets/example.png")
    bare_parquet(tmp_path / "hub" / "data" / "test.parquet")
    assert len(opened(tmp_path / "hub", labels={0: "real", 1: "fake"}).samples) == 2


def test_a_table_of_something_else_beside_class_folders_is_no_second_layout(tmp_path):
    tree(tmp_path, "real/1.png", "fake/2.png")
    pq.write_table(pa.table({"file_name": ["1.png"], "prompt": ["a cat"]}), tmp_path / "metadata.parquet")
    assert [s.label for s in opened(tmp_path).samples] == [1, 0]
    pq.write_table(pa.table({"file_name": ["real/1.png"], "label": ["real"]}), tmp_path / "list.parquet")
    with pytest.raises(UserError, match="can be read in more than one way"):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.txt"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match="is not a data source") as caught:
        opened(tmp_path / name)
    assert ("unpack" in caught.value.hint) == (name != "a.txt")


# Several sources


def two_sources(tmp_path):
    tree(tmp_path / "a" / "images", "real/1.png", "real/2.png", "fake/3.png")
    tree(tmp_path / "b" / "images", "4.png", "5.png")
    parts = [{"source": "a/images"}, {"source": "b/images", "label": "fake", "generator": "sdxl"}]
    return [parts, parts[::-1]]


def test_several_sources_are_one_with_ids_that_do_not_depend_on_their_order(tmp_path):
    orders = [open_data(DataSpec(sources=parts), tmp_path) for parts in two_sources(tmp_path)]
    assert (
        facts(orders[0])
        == facts(orders[1])
        == {
            "a/images/real/1.png": (0, "real", None),
            "a/images/real/2.png": (0, "real", None),
            "a/images/fake/3.png": (1, "fake", None),
            "b/images/4.png": (1, "sdxl", None),
            "b/images/5.png": (1, "sdxl", None),
        }
    )
    for source in orders:
        for index, sample in enumerate(source.samples):
            assert source.encoded(index) == (tmp_path / sample.id).read_bytes()


def test_a_source_twice_is_refused(tmp_path):
    tree(tmp_path / "a", "real/1.png")
    with pytest.raises(UserError, match="is listed twice"):
        open_data(DataSpec(sources=["a", "./a"]), tmp_path)


def test_only_sources_without_splits_are_divided_and_near_duplicates_across_them_stay_together(tmp_path):
    for number in range(20):
        write_image(tmp_path / "a" / "real" / f"{number}.png", number, fake=False)
        write_image(tmp_path / "b" / "fake" / f"{number}.png", 100 + number, fake=True)
        write_image(tmp_path / "c" / "test" / "fake" / f"{number}.png", 200 + number, fake=True)
    for number in range(20):
        twin = Image.open(tmp_path / "a" / "real" / f"{number}.png").resize(
            (48, 48), Image.Resampling.BICUBIC
        )
        twin.save(tmp_path / "b" / "fake" / f"twin{number}.jpg", quality=80)
    source = open_data(DataSpec(sources=["a", "b", "c"]), tmp_path)
    by_split = {
        split: {s.id for s in select(source, split, None).samples} for split in ("train", "val", "test")
    }
    assert {i for i in by_split["test"] if i.startswith("c/")} == {f"c/test/fake/{n}.png" for n in range(20)}
    assert not any(i.startswith("c/") for i in by_split["train"] | by_split["val"])
    assert sum(len(ids) for ids in by_split.values()) == 80
    for ids in by_split.values():
        for number in range(20):
            assert (f"a/real/{number}.png" in ids) == (f"b/fake/twin{number}.jpg" in ids)


def test_the_same_image_in_two_sources_is_noticed(tmp_path, cli, image_folder):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "copy.png").write_bytes((image_folder / "real" / "00.png").read_bytes())
    data = f"[{image_folder}, {{source: {tmp_path / 'more'}, label: fake, generator: x}}]"
    outcome = cli(
        "run",
        "jpeg_sweep",
        "--data",
        data,
        "--split",
        "all",
        "--detector",
        "minigen/lenet5",
        "--output",
        tmp_path / "o",
    )
    assert outcome.code == 0, outcome.err
    assert "1 image is in more than one source: images/real/00.png and more/copy.png" in outcome.err
    assert "1 image is labelled both real and fake" in outcome.err
    assert "images: folders class" in outcome.err
    info = json.loads((tmp_path / "o" / "jpeg_sweep" / "latest" / "run.json").read_text())
    assert info["data"]["images"] == 25
    again = read_data(info["command"].split("--data ")[1].split("' --split")[0].lstrip("'"))
    assert [part.label for part in again.parts.values()] == [None, "fake"]


# What the command line says


def test_list_data_looks_into_a_source(tmp_path, cli):
    tree(tmp_path / "ADM", "val/nature/1.png", "val/ai/2.png", "val/ai/3.png")
    outcome = cli("list", "data", tmp_path, "--json")
    said = json.loads(outcome.out)
    assert said["layout"] == "folders generator/split/class, as in GenImage"
    assert said["images"] == [{"split": "val", "generator": "ADM", "real": 1, "fake": 2}]
    assert "ADM" in cli("list", "data", tmp_path).out
    assert cli("list", "runs", tmp_path).code == 2


def test_a_source_is_described_by_split_and_generator(tmp_path):
    tree(tmp_path, "test/real/1.png", "test/fake/sdxl/2.png", "train/fake/flux/3.png")
    assert describe(opened(tmp_path))[1:] == [
        "  train: 0 real, 1 fake (flux 0+1)",
        "  test: 1 real, 1 fake (sdxl 0+1, 1 real of all)",
    ]


def test_mistakes_in_one_of_several_sources_name_its_line(tmp_path, cli, image_folder):
    text = "version: 1\nname: x\ndata:\n  sources:\n    - {}\n    - source: nowhere\ndetectors: [minigen/lenet5]\npipelines: {{}}\n"
    (tmp_path / "s.yaml").write_text(text.format(image_folder))
    outcome = cli("validate", tmp_path / "s.yaml")
    assert outcome.code == 2
    assert "s.yaml:6: data.sources[1].source: no data at 'nowhere'" in outcome.err


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("my_image", "did you mean '{}/my_images'?"),
        ("my_imgaes/test", "did you mean '{}/my_images/test'?"),
        ("my_images/tset", "did you mean '{}/my_images/test'?"),
        ("list.cvs", "did you mean '{}/list.csv'?"),
        ("my_image/no such split", "a path that exists"),
        ("my_note", "a path that exists"),
        ("elsewhere", "a path that exists"),
    ],
)
def test_a_misspelt_path_names_the_folder_or_file_beside_it(tmp_path, typed, hint):
    tree(tmp_path, "my_images/test/real/1.png")
    (tmp_path / "list.csv").write_text("path,label\n")
    (tmp_path / "my_notes.docx").write_text("no data")
    with pytest.raises(UserError, match="no data at") as raised:
        opened(tmp_path / typed)
    assert raised.value.hint.startswith(hint.format(tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{split: all}", "needs a 'source'"),
        ("{source: a, sources: [b]}", "needs a 'source', or several"),
        ("{sources: [a], labels: {0: fake}}", "'labels' belongs to one source"),
        ("{source: a, labels: {0: fale}}", "'0' must be real or fake, not 'fale'"),
        ("{source: a, labels: [fake, real]}", "must give the meaning of each label"),
        ("{source: a, layout: class/class}", "names a level twice"),
        ("{source: a, columns: {picture: x}}", "picture"),
        ("{source: a, label: 1}", "must be 'real' or 'fake'"),
        ("{sources: []}", "must not be empty"),
    ],
)
def test_mistakes_in_the_data_section(tmp_path, data, message):
    with pytest.raises(UserError) as caught:
        read_data(data)
    assert_matches(message, str(caught.value))


# Small, one-sided, empty


def test_three_images_are_too_few_for_splits_and_it_is_said(tmp_path):
    tree(tmp_path, "real/1.png", "real/2.png", "fake/3.png")
    with pytest.raises(UserError, match=r"no splits of its own, and too few images \(3\) for a 'test' split"):
        select(opened(tmp_path), "test", None)
    assert len(select(opened(tmp_path), "all", None).indices) == 3


def test_an_empty_split_and_an_empty_folder_are_said(tmp_path):
    tree(tmp_path / "data", "train/real/1.png", "train/fake/2.png")
    (tmp_path / "data" / "test" / "real").mkdir(parents=True)
    with pytest.raises(UserError, match="has no split 'test'") as caught:
        select(opened(tmp_path / "data"), "test", None)
    assert caught.value.hint == "known splits: train, all"
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="no images in"):
        opened(tmp_path / "nothing")


SHARED = {
    "genimage8": ("folders generator/split/class, as in GenImage", {("val", 0): 194, ("val", 1): 194}, 8),
    "shoes": (
        "folders split/class, as in CIFAKE",
        {
            ("train", 1): 976,
            ("train", 0): 593,
            ("val", 1): 244,
            ("val", 0): 149,
            ("test", 1): 136,
            ("test", 0): 83,
        },
        1,
    ),
    "faces": ("folders class", {(None, 1): 700, (None, 0): 589}, 1),
    "web_ai_vs_real": ("folders class", {(None, 1): 533, (None, 0): 427}, 1),
    "cifake": (
        "2 Parquet files",
        {("train", 0): 50_000, ("train", 1): 50_000, ("test", 0): 10_000, ("test", 1): 10_000},
        1,
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_real_data_sets(name):
    if not (SHARED_DATA / name).is_dir():
        pytest.skip(f"{name} is not on this machine")
    layout, counts, generators = SHARED[name]
    source = opened(SHARED_DATA / name)
    assert source.layout == layout
    assert Counter((s.split, s.label) for s in source.samples) == counts
    assert len({s.generator for s in source.samples if s.label == 1}) == generators
