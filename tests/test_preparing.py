"""``data prepare``: watermarks cropped, grids taken apart, splits that keep what belongs together."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import write_image
from PIL import Image

from robustbench_aigen.data.cutting import BottomCrop, Grid, cut, read_crop, read_grid
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.splitting import read_shares
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import decode


def picture(seed: int, width: int = 48, height: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 200, (5, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def save(array: np.ndarray, file: Path, **options) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file, **options)


def marked_grid(seeds: list[int], mark: int = 6) -> np.ndarray:
    """Four pictures in a square over a white bar."""
    first, second, third, fourth = (picture(seed) for seed in seeds)
    square = np.vstack([np.hstack([first, second]), np.hstack([third, fourth])])
    return np.vstack([square, np.full((mark, square.shape[1], 3), 255, dtype=np.uint8)])


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "prepared.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_marked_grid_becomes_its_four_pictures(tmp_path, cli):
    for number in range(5):
        seeds = [100 * number + place for place in range(4)]
        save(marked_grid(seeds), tmp_path / "raw" / "ai" / f"grid{number}.png")
        save(
            marked_grid([seed + 50 for seed in seeds]),
            tmp_path / "raw" / "real" / f"{number}.jpg",
            quality=100,
            subsampling=0,
        )
    outcome = cli(
        "data", "prepare", tmp_path / "raw", tmp_path / "out", "--crop-bottom", "6", "--split-grid", "2x2"
    )
    assert outcome.code == 0, outcome.err
    rows = listed(tmp_path / "out")
    assert len(rows) == 40
    for number in range(5):
        for place in range(4):
            (file,) = tmp_path.glob(f"out/*/fake/grid{number}_r{place // 2 + 1}c{place % 2 + 1}.png")
            assert np.array_equal(np.asarray(Image.open(file)), picture(100 * number + place))
    # Both classes alike: one format, one size, and the pieces of an image in one split.
    files = [Image.open(tmp_path / "out" / row["file"]) for row in rows]
    assert {(image.format, image.size) for image in files} == {("PNG", (48, 40))}
    assert all(
        len({row["split"] for row in rows if row["source"] == source}) == 1
        for source in {r["source"] for r in rows}
    )


def test_near_duplicates_come_into_one_split_and_the_result_is_a_source(tmp_path, cli):
    for number in range(30):
        array = picture(number, 64, 64)
        save(array, tmp_path / "raw" / "real" / f"{number}.png")
        save(array, tmp_path / "raw" / "real" / f"{number}_again.jpg", quality=60)
        write_image(tmp_path / "raw" / "fake" / "somegan" / f"{number}.png", 900 + number, fake=True)
    options = ("--splits", "60/20/20", "--seed", "7")
    outcome = cli("data", "prepare", tmp_path / "raw", tmp_path / "out", *options)
    assert outcome.code == 0, outcome.err
    split = {row["source"]: row["split"] for row in listed(tmp_path / "out")}
    assert all(split[f"real/{n}.png"] == split[f"real/{n}_again.jpg"] for n in range(30))
    fakes = [split[f"fake/somegan/{n}.png"] for n in range(30)]
    assert {name: fakes.count(name) for name in ("train", "val", "test")} == {
        "train": 18,
        "val": 6,
        "test": 6,
    }
    source = open_source(str(tmp_path / "out"), Path())
    found = {(sample.generator, sample.label, sample.split) for sample in source.samples}
    assert found == {(g, int(g != "real"), s) for g in ("real", "somegan") for s in ("train", "val", "test")}
    # Nothing was cut, so the files are what they were.
    row = next(row for row in listed(tmp_path / "out") if row["source"] == "real/3_again.jpg")
    assert (tmp_path / "out" / row["file"]).read_bytes() == (tmp_path / "raw/real/3_again.jpg").read_bytes()


def test_the_same_command_makes_the_same_folder_and_another_seed_another(tmp_path, cli, image_folder):
    def splits(name: str, *options: object) -> dict[str, str]:
        assert cli("data", "prepare", image_folder, tmp_path / name, *options).code == 0
        return {row["source"]: row["split"] for row in listed(tmp_path / name)}

    first = splits("one")
    assert first == splits("two") == splits("three", "--seed", 42)
    assert first != splits("four", "--seed", 1)


def test_a_sources_own_splits_are_kept_unless_others_are_asked_for(tmp_path, cli):
    for number in range(10):
        for name in ("real", "fake"):
            write_image(tmp_path / "raw" / "test" / name / f"{number}.png", number, fake=name == "fake")
    assert cli("data", "prepare", tmp_path / "raw", tmp_path / "kept", "--crop-bottom", "10%").code == 0
    rows = listed(tmp_path / "kept")
    assert {row["split"] for row in rows} == {"test"}
    assert {Image.open(tmp_path / "kept" / row["file"]).size for row in rows} == {(32, 29)}
    assert cli("data", "prepare", tmp_path / "raw", tmp_path / "new", "--splits", "80/20/0").code == 0
    assert {row["split"] for row in listed(tmp_path / "new")} == {"train", "val"}


def test_only_some_images_are_cut_and_the_confound_is_told(tmp_path, cli, image_folder):
    outcome = cli(
        "data",
        "prepare",
        image_folder,
        tmp_path / "out",
        "--split-grid",
        "2x2",
        "--only",
        "fake/0*",
        "--json",
    )
    said = json.loads(outcome.out)
    assert "only fake images were cut" in said["notices"][0]
    sizes = {
        Path(row["source"]): Image.open(tmp_path / "out" / row["file"]).size
        for row in listed(tmp_path / "out")
    }
    assert {name.parts[0] for name, size in sizes.items() if size == (16, 16)} == {"fake"}
    assert sum(size == (32, 32) for size in sizes.values()) == 14


def test_bad_files_are_named_and_the_rest_is_made(tmp_path, cli, image_folder):
    (image_folder / "fake" / "broken.png").write_bytes(b"not an image")
    write_image(image_folder / "real" / "flat.png", 5, fake=False, size=(32, 4))
    outcome = cli("data", "prepare", image_folder, tmp_path / "out", "--crop-bottom", 5)
    assert outcome.code == 0
    assert "left out: fake/broken.png: not an image" in outcome.out
    assert "left out: real/flat.png: the image is 4 pixels high, too little for a crop of 5" in outcome.out
    assert len(listed(tmp_path / "out")) == 24
    assert set(json.loads((tmp_path / "out" / "prepared.json").read_text())["unusable"]) == {
        "fake/broken.png",
        "real/flat.png",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crop-bottom", "5x"], "not a number of pixels or per cent"),
        (["--crop-bottom", "100%"], "not a number of pixels or per cent"),
        (["--crop-bottom", "1.5"], "not a number of pixels or per cent"),
        (["--crop-bottom", "32"], "no image can be used (24 tried)"),
        (["--split-grid", "2"], "is not a grid"),
        (["--split-grid", "1x1"], "is not a grid"),
        (["--split-grid", "40x2"], "cannot be divided into 40×2 equal pictures"),
        (["--splits", "80/10"], "sum 100"),
        (["--splits", "80/30/10"], "sum 100"),
        (["--splits", "a/b/c"], "sum 100"),
        (["--splits", "0/50/50"], "sum 100"),
        (["--only", "x*", "--split-grid", "2x2"], "no image matches 'x*'"),
        (["--only", "fake/*"], "needs --crop-bottom or --split-grid"),
        (["--format", "gif"], "'gif' is not one of"),
    ],
)
def test_a_mistake_leaves_nothing_behind(tmp_path, cli, image_folder, options, message):
    outcome = cli("data", "prepare", image_folder, tmp_path / "out", *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_what_is_there_is_not_touched(tmp_path, cli, image_folder):
    (tmp_path / "out").mkdir()
    assert cli("data", "prepare", image_folder, tmp_path / "out").code == 0
    outcome = cli("data", "prepare", image_folder, tmp_path / "out")
    assert (outcome.code, "exists" in outcome.err) == (2, True)
    inside = cli("data", "prepare", image_folder, image_folder / "out")
    assert (inside.code, "lies inside" in inside.err) == (2, True)


def test_a_cut_leaves_out_what_does_not_divide():
    image = decode(_png(picture(1, 49, 43)))
    parts = list(cut(image, BottomCrop(2, is_share=False), Grid(2, 3)))
    assert [tuple(part.shape) for part in parts] == [(3, 20, 16)] * 6
    assert np.array_equal(parts[4].permute(1, 2, 0).numpy(), picture(1, 49, 43)[20:40, 16:32])


def _png(array: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_numbers_of_the_command_line():
    assert read_crop("24") == BottomCrop(24, is_share=False)
    assert read_crop(" 7.5 %").rows(200) == 15
    assert read_grid("2×3") == Grid(2, 3)
    assert read_shares("0.7/0.2/0.1") == read_shares("70/20/10")
    with pytest.raises(UserError):
        read_shares("")
