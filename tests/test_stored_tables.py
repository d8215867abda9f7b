"""Tables and lists as other people store them: labels, generators, splits and images in every form."""

import base64
import io
import json
import os
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_layouts import facts, opened

from robustbench_aigen.data.layouts.tables import _ParquetRows
from robustbench_aigen.data.samples import read_encoded
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.parquet.footer import column_chunks
from robustbench_aigen.parquet.pages import page_sizes

PIXELS = [np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8) for seed in range(4)]
REAL_FIRST, FAKE_FIRST = ["real", "fake"], ["fake", "real"]


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[number]).save(buffer, "PNG")
    return buffer.getvalue()


PNGS = [png(number) for number in range(4)]
STRUCTS = [{"bytes": encoded, "path": None} for encoded in PNGS]


def write(file, columns, **names):
    table = pa.table(columns)
    if names:
        features = {column: {"_type": "ClassLabel", "names": said} for column, said in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=2)
    return file


def labels(source):
    return [sample.label for sample in source.samples]


def assert_holds_the_pixels(source):
    for index in range(len(source.samples)):
        assert (decode(source.encoded(index)).permute(1, 2, 0).numpy() == PIXELS[index]).all()


# Labels


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 1, 0],
        [0.0, 1.0, 1.0, 0.0],
        ["0.0", "1.", " 1 ", "'0'"],
        [False, True, True, False],
        ["FALSE", "True", "true", "false"],
        ["0", "1", "1e0", "0"],
    ],
)
@pytest.mark.parametrize("said", [{0: "real", 1: "fake"}, {"0.0": "real", "1.0": "fake"}])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_numbers_and_truth_values_are_asked_for_and_mean_what_is_said(tmp_path, values, said, suffix):
    file = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        write(file, {"image": STRUCTS, "label": values})
    else:
        rows = [f"{number}.png,{value}\n" for number, value in enumerate(values)]
        file.write_text("path,label\n" + "".join(rows))
    with pytest.raises(UserError, match="cannot tell whether label") as caught:
        opened(file)
    # Both readings stand there: the hint takes no side.
    assert ": fake, " in str(caught.value.hint)
    assert ": real, " in str(caught.value.hint)
    assert labels(opened(file, labels=said)) == [0, 1, 1, 0]


@pytest.mark.parametrize(("names", "expected"), [(REAL_FIRST, [0, 1, 1, 0]), (FAKE_FIRST, [1, 0, 0, 1])])
@pytest.mark.parametrize("values", [[0, 1, 1, 0], [0.0, 1.0, 1.0, 0.0], [False, True, True, False]])
def test_class_names_of_a_file_decide_in_either_order(tmp_path, names, expected, values):
    file = write(tmp_path / "a.parquet", {"image": STRUCTS, "label": values}, label=names)
    assert labels(opened(file)) == expected


def test_names_that_are_digits_are_not_mixed_up_with_their_numbers(tmp_path):
    file = write(tmp_path / "a.parquet", {"image": STRUCTS, "label": [0, 1, 1, 0]}, label=["1", "0"])
    with pytest.raises(UserError, match="cannot tell"):
        opened(file)
    # Row 0 holds number 0, whose name is "1".
    assert labels(opened(file, labels={"1": "fake", "0": "real"})) == [1, 0, 0, 1]


def test_rows_without_a_label_are_counted(tmp_path):
    file = write(tmp_path / "a.parquet", {"image": STRUCTS, "label": [0, -1, None, 1]}, label=REAL_FIRST)
    source = opened(file)
    assert labels(source) == [0, 1]
    assert (decode(source.encoded(1)).permute(1, 2, 0).numpy() == PIXELS[3]).all()
    assert source.notices == ["2 images are left out: no label (a.parquet, row 1 …)"]
    (tmp_path / "a.csv").write_text("path,label\n0.png,real\n1.png,nan\n2.png,\n3.png,fake\n")
    source = opened(tmp_path / "a.csv")
    assert labels(source) == [0, 1]
    assert source.notices == ["2 images are left out: no label (line 3 …)"]


def test_labels_that_contradict_the_folders_of_their_images_are_refused(tmp_path):
    structs = [
        {"bytes": PNGS[n], "path": f"{c}/{n}.png"} for n, c in enumerate(["real", "fake", "real", "fake"])
    ]
    agreeing = write(tmp_path / "a.parquet", {"image": structs, "label": [7, 3, 7, 3]})
    assert labels(opened(agreeing)) == [0, 1, 0, 1]
    other = write(tmp_path / "b.parquet", {"image": structs, "label": [7, 3, 3, 7]})
    with pytest.raises(UserError, match="is on images in folders of both classes"):
        opened(other)
    above = [{"bytes": encoded, "path": f"ai_set/{n}.png"} for n, encoded in enumerate(PNGS)]
    with pytest.raises(UserError, match="cannot tell"):
        opened(write(tmp_path / "c.parquet", {"image": above, "label": [0, 1, 1, 0]}))


def test_a_class_that_names_a_generator_keeps_it(tmp_path):
    names = ["real", "SD21", "SDXL"]
    file = write(tmp_path / "a.parquet", {"image": STRUCTS, "label": [0, 1, 2, 0]}, label=names)
    with pytest.raises(UserError, match="cannot tell whether label 1") as caught:
        opened(file)
    assert "SD21: …, SDXL: …" in str(caught.value.hint)
    source = opened(file, labels={"SD21": "fake", "SDXL": "fake"})
    assert [s.generator for s in source.samples] == ["real", "SD21", "SDXL", "real"]


# Generators and splits


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ([0, 1, 2, 0], {"generator": ["nature", "SD21", "SDXL"]}),
        (pa.array(["Real", "SD21", "SDXL", None]).dictionary_encode(), {}),
        (["real", " SD21", "SDXL", "n/a"], {}),
    ],
    ids=["ClassLabel", "dictionary", "text"],
)
def test_generators_have_the_files_own_names_and_a_class_is_none(tmp_path, column, names):
    columns = {"image": STRUCTS, "label": ["real", "fake", "fake", "real"], "generator": column}
    source = opened(write(tmp_path / "a.parquet", columns, **names))
    assert [s.generator for s in source.samples] == ["real", "SD21", "SDXL", "real"]


def test_pandas_categories_are_names(tmp_path):
    frame = pd.DataFrame(
        {
            "image": PNGS,
            "label": pd.Categorical(["ai", "nature", "ai", "nature"]),
            "generator": pd.Categorical(["sdxl", None, "flux", None]),
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    source = opened(tmp_path / "a.parquet")
    assert [(s.label, s.generator) for s in source.samples] == [
        (1, "sdxl"), (0, "real"), (1, "flux"), (0, "real"),
    ]  # fmt: skip


def test_a_fake_whose_generator_is_called_real_is_refused(tmp_path):
    columns = {"image": STRUCTS, "label": ["fake"] * 4, "generator": ["sdxl", "sdxl", "real", "sdxl"]}
    with pytest.raises(UserError, match="row 2: the label means fake, and the generator is called 'real'"):
        opened(write(tmp_path / "a.parquet", columns))


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("split", ["Train", "TESTING", "validation", "dev"], ["train", "test", "val", "val"]),
        ("subset", ["training", "test", "valid", "test"], ["train", "test", "val", "test"]),
        ("Partition", ["train", "test", "val", "test"], ["train", "test", "val", "test"]),
        ("subset", ["a", "b", "a", "b"], [None] * 4),
    ],
)
def test_columns_of_splits(tmp_path, name, values, expected):
    columns = {"image": STRUCTS, "label": ["real", "fake"] * 2, name: values}
    assert [s.split for s in opened(write(tmp_path / "a.parquet", columns)).samples] == expected


def test_a_missing_file_of_a_numbered_table_is_told(tmp_path):
    for number in (0, 2):
        write(
            tmp_path / f"test-0000{number}-of-00003.parquet",
            {"image": STRUCTS, "label": ["real", "fake"] * 2},
        )
    source = opened(tmp_path)
    assert Counter(s.split for s in source.samples) == {"test": 8}
    assert source.notices == ["test: found 2 of 3 files"]
    assert len({s.id for s in source.samples}) == 8


# Images


def as_list(type_):
    return pa.array([list(encoded) for encoded in PNGS], pa.list_(type_))


IMAGES = {
    "binary": PNGS,
    "large binary": pa.array(PNGS, pa.large_binary()),
    "struct of bytes": STRUCTS,
    "list of uint8": as_list(pa.uint8()),
    "list of int64": as_list(pa.int64()),
    "base64": [base64.b64encode(encoded).decode() for encoded in PNGS],
    "data URI": ["data:image/png;base64," + base64.b64encode(encoded).decode() for encoded in PNGS],
    "dictionary": pa.array(PNGS).dictionary_encode(),
}


@pytest.mark.parametrize("form", IMAGES)
def test_images_in_every_form(tmp_path, form):
    source = opened(write(tmp_path / "a.parquet", {"image": IMAGES[form], "label": ["real", "fake"] * 2}))
    assert_holds_the_pixels(source)


@pytest.mark.parametrize("form", ["relative", "absolute", "windows", "text", "file_name", "some have bytes"])
def test_images_by_their_paths(tmp_path, form, monkeypatch):
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    for number, encoded in enumerate(PNGS):
        (tmp_path / "data" / "pictures" / f"{number}.png").write_bytes(encoded)
    root = f"{tmp_path}/data/" if form == "absolute" else ""
    paths = [f"{root}pictures/{number}.png" for number in range(4)]
    if form == "windows":
        paths = [path.replace("/", "\\") for path in paths]
    structs = [{"bytes": None, "path": path} for path in paths]
    if form == "some have bytes":
        structs[1]["bytes"], structs[2]["bytes"] = PNGS[1], b""
    images = {
        "file_name" if form == "file_name" else "image": paths if form in ("text", "file_name") else structs
    }
    file = write(tmp_path / "data" / "a.parquet", {**images, "label": ["real", "fake"] * 2})
    monkeypatch.chdir(tmp_path)
    source = opened(file)
    assert_holds_the_pixels(source)
    if form != "windows":
        # An id does not say where the data set stands.
        assert [s.id for s in source.samples] == [f"pictures/{number}.png" for number in range(4)]
    (tmp_path / "data" / "pictures" / "3.png").unlink()
    assert not read_encoded(source, 3)


def test_of_several_image_columns_one_is_asked_for_or_told(tmp_path):
    file = write(tmp_path / "a.parquet", {"before": PNGS[::-1], "after": PNGS, "label": ["real", "fake"] * 2})
    with pytest.raises(UserError, match="several columns hold images: before, after"):
        opened(file)
    assert_holds_the_pixels(opened(file, columns={"image": "after"}))
    file = write(tmp_path / "b.parquet", {"mask": PNGS[::-1], "image": PNGS, "label": ["real", "fake"] * 2})
    source = opened(file)
    assert_holds_the_pixels(source)
    assert "column 'image', not from mask" in source.notices[0]


def test_columns_inside_a_struct(tmp_path):
    rows = [{"image": s, "meta": {"label": c}} for s, c in zip(STRUCTS, ["real", "fake"] * 2, strict=True)]
    file = write(tmp_path / "a.parquet", {"sample": [str(n) for n in range(4)], "data": rows})
    for said in ({}, {"columns": {"image": "data.image", "label": "data.meta.label"}}):
        source = opened(file, **said)
        assert facts(source) == {str(n): (n % 2, ("real", "fake")[n % 2], None) for n in range(4)}
        assert_holds_the_pixels(source)


def test_rows_of_large_groups_are_read_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr("robustbench_aigen.data.layouts.tables._HELD", 0)
    monkeypatch.setattr("robustbench_aigen.data.layouts.tables._ROWS", 1)
    source = opened(write(tmp_path / "a.parquet", {"image": PNGS, "label": ["real", "fake"] * 2}))
    for index in (3, 0, 1, 1, 0, 2, 3):
        assert source.encoded(index) == PNGS[index]


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"use_dictionary": False},
        {"compression": "zstd", "write_statistics": False},
        {"compression": "none", "data_page_version": "2.0"},
        {"use_dictionary": False, "data_page_size": 500, "write_batch_size": 10},
    ],
    ids=str,
)
def test_headers_of_pages_say_what_a_column_unpacks_to(tmp_path, stored):
    images = [os.urandom(number) for number in range(1, 2001)]
    file = stored_as(tmp_path / "a.parquet", {"image": images}, row_group_size=700, **stored)
    metadata = pq.ParquetFile(file).metadata
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(0)
        sizes = page_sizes(file, column_chunks(file)[group][0])
        held = sum(len(image) + 4 for image in images[700 * group : 700 * (group + 1)])
        assert held <= sizes.total <= chunk.total_uncompressed_size <= sizes.total + 300 * (1 + held // 500)
        assert sizes.inflated == 0


@pytest.mark.parametrize("stored", [{}, {"use_dictionary": False}, {"write_statistics": False}], ids=str)
def test_a_footer_is_read_as_pyarrow_reads_it(tmp_path, stored):
    columns = {
        "image": [{"bytes": bytes([number]) * 9, "path": f"{number}.png"} for number in range(50)],
        "label": [number % 2 for number in range(50)],
        "name": [f"ä{number:02}" for number in range(50)],
        "seen": [[number] * (number % 3) for number in range(50)],
    }
    file = stored_as(tmp_path / "a.parquet", columns, row_group_size=20, **stored)
    metadata = pq.ParquetFile(file).metadata
    groups = column_chunks(file)
    assert [len(chunks) for chunks in groups] == [5, 5, 5]
    for number, chunks in enumerate(groups):
        for place, chunk in enumerate(chunks):
            expected = metadata.row_group(number).column(place)
            offsets = [expected.data_page_offset, expected.dictionary_page_offset]
            assert chunk.path == expected.path_in_schema
            assert chunk.begin == min(offset for offset in offsets if offset is not None)
            assert chunk.size == expected.total_compressed_size
            if chunk.path == "name" and expected.is_stats_set:
                assert chunk.smallest.decode() == expected.statistics.min
                assert chunk.largest.decode() == expected.statistics.max
            assert (chunk.smallest is None) == (not expected.is_stats_set)


def test_a_cell_that_unpacks_to_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("robustbench_aigen.data.layouts.tables._HELD", 2**20)
    images = [*PNGS, *PNGS, bytes(2**21), PNGS[0]]
    labels = ["real", "fake"] * 5
    source = opened(
        stored_as(
            tmp_path / "a.parquet", {"image": images, "label": labels}, row_group_size=4, compression="zstd"
        )
    )
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", counted_calls := CountedCalls(pq.ParquetFile.iter_batches)
    )
    assert [read_encoded(source, index) for index in range(8)] == images[:8]
    calls = counted_calls.count
    for index in (8, 9):
        assert (
            read_encoded(source, index).reason == "row group 2 has a page of 2 MiB: above the limit of 1 MiB"
        )
    assert counted_calls.count == calls


def stored_as(file, columns, **said):
    pq.write_table(pa.table(columns), file, **said)
    return file


class CountedCalls:
    def __init__(self, function):
        self.function, self.count = function, 0

    def __get__(self, parquet, _):
        def call(*arguments, **named):
            self.count += 1
            return self.function(parquet, *arguments, **named)

        return call


def test_an_image_of_a_dictionary_is_not_written_out_for_every_row(tmp_path, monkeypatch):
    monkeypatch.setattr("robustbench_aigen.data.layouts.tables._HELD", 2**20)
    image = os.urandom(2**18)
    file = stored_as(tmp_path / "a.parquet", {"image": [image] * 64, "label": ["real", "fake"] * 32})
    sizes = [values.nbytes for _, values in _ParquetRows(file)._parts(0, "image")]
    assert max(sizes) <= 2**20 + 2**16
    source = opened(file)
    assert all(source.encoded(index) == image for index in (63, 0, 17, 18))


def test_a_label_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("robustbench_aigen.data.layouts.tables._HELD", 2**20)
    file = stored_as(tmp_path / "a.parquet", {"image": PNGS, "label": ["real", "fake", "real", "x" * 2**21]})
    with pytest.raises(UserError, match="column 'label' has a page of 2 MiB: above the limit of 1 MiB"):
        opened(file)


# Lists


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_encodings_and_separators(tmp_path, encoding, separator):
    text = "id,path,label\r\n\r\n1,a.png,fake\r\n ,,\r\n2,b.png,real,\r\n".replace(",", separator)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert facts(opened(tmp_path / "a.csv")) == {"a.png": (1, "fake", None), "b.png": (0, "real", None)}


def test_json_lines(tmp_path):
    rows = [
        {"file_name": "a.png", "label": 1, "meta": {"made": "sdxl"}},
        {"file_name": "b.png", "label": 0.0},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    said = {"labels": {0: "real", 1: "fake"}, "columns": {"generator": "meta.made"}}
    for place in (tmp_path, tmp_path / "metadata.jsonl"):
        assert facts(opened(place, **said)) == {"a.png": (1, "sdxl", None), "b.png": (0, "real", None)}


def test_splits_of_a_list_are_in_its_paths_or_its_name(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\ntrain/a.png,fake\ntest\\b.png,real\n")
    assert [s.split for s in opened(tmp_path / "list.csv").samples] == ["train", "test"]
    (tmp_path / "val.csv").write_text("path,label\na.png,fake\n/dev/b.png,real\n")
    assert [s.split for s in opened(tmp_path / "val.csv").samples] == ["val", "val"]


def test_a_list_without_a_header_says_so(tmp_path):
    (tmp_path / "a.csv").write_text("x/1.png,fake\nx/2.png,real\n")
    with pytest.raises(UserError, match="needs a header") as caught:
        opened(tmp_path / "a.csv")
    assert "add the header path,label above this line" in str(caught.value.hint)
