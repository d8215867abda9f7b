"""The audit: what it finds in planted and in real data, what it does not, and the equalised copy."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SHARED_DATA, write_image
from PIL import Image

from robustbench_aigen.data.opening import open_source
from robustbench_aigen.evaluation import run
from robustbench_aigen.scenario.scenario import load_scenario


@pytest.fixture
def tree(tmp_path) -> Path:
    """Two splits, ten reals and ten fakes each, all 32×32 PNG."""
    folder = tmp_path / "tree"
    for place, split in enumerate(("train", "test")):
        for number in range(10):
            for label, name in enumerate(("real", "fake")):
                seed = 100 * place + 10 * number + label
                write_image(folder / split / name / f"{number:02}.png", seed, fake=bool(label))
    return folder


def reencode(file: Path, quality: int) -> None:
    with Image.open(file) as image:
        image.save(file.with_suffix(".jpg"), quality=quality)
    file.unlink()


def audited(cli, *arguments: object, code: int = 0) -> dict:
    outcome = cli("audit", *arguments, "--json")
    assert outcome.code == code, outcome.err
    return json.loads(outcome.out)


def fixed(cli, source: Path, out: Path) -> tuple[dict, dict]:
    """Equalise, hold the copy to what is promised of it, and return the audits before and after."""
    before = audited(cli, source, "--fix", out)
    after = audited(cli, out, "--strict")
    assert after["verdict"]["call"] == "chance"
    assert after["verdict"]["accuracy"]["value"] == 0.5
    assert after["duplicates"]["leaks"] == 0
    for part in after["facts"]:
        for fact in ("format", "quality", "subsampling", "size", "metadata", "software"):
            assert len(part["facts"][fact]) == 1
            assert part["facts"][fact].keys() == after["facts"][0]["facts"][fact].keys()
    return before, after


def test_a_clean_tree_raises_nothing(tree, cli):
    content = audited(cli, tree, "--strict")
    assert content["verdict"]["call"] == "chance"
    assert content["balance"] == [
        {"split": "test", "real": 10, "fake": 10},
        {"split": "train", "real": 10, "fake": 10},
    ]
    assert content["confounded"] == []
    assert content["duplicates"]["leaks"] == 0


def test_png_fakes_among_jpeg_reals_are_found_and_mended(tree, cli, tmp_path):
    for file in tree.rglob("real/*.png"):
        reencode(file, 90)
    content = audited(cli, tree, "--strict", code=1)
    assert content["confounded"] == ["all"]
    assert {"format", "JPEG quality", "subsampling"} == set(content["verdict"]["told_by"])
    _, after = fixed(cli, tree, tmp_path / "out")
    assert after["images"] == 40
    assert set(after["facts"][0]["facts"]["quality"]) == {"90"}


def test_sizes_are_found_and_mended(tree, cli, tmp_path):
    for number, file in enumerate(sorted(tree.rglob("fake/*.png"))):
        Image.open(file).resize((48 + number, 40)).save(file)
    content = audited(cli, tree, "--strict", code=1)
    assert {"width", "height", "aspect"} <= set(content["verdict"]["told_by"])
    _, after = fixed(cli, tree, tmp_path / "out")
    assert set(after["facts"][0]["facts"]["size"]) == {"32×32"}
    assert set(after["facts"][0]["facts"]["format"]) == {"PNG"}


def test_metadata_and_modes_do_not_get_into_the_copy(tree, cli, tmp_path):
    for number, file in enumerate(sorted(tree.rglob("fake/*.png"))):
        image = Image.open(file).convert(["RGBA", "L", "P"][number % 3])
        image.save(file, icc_profile=b"profile")
    before, after = fixed(cli, tree, tmp_path / "out")
    assert "metadata" in before["verdict"]["told_by"]
    assert after["images"] == 40


@pytest.mark.parametrize("identical", [True, False])
def test_a_copy_in_another_split_is_a_leak_and_stays_where_it_is_tested(tree, cli, tmp_path, identical):
    leaked = tree / "train" / "fake" / "leaked.png"
    shutil.copy(tree / "test" / "fake" / "03.png", leaked)
    if not identical:
        reencode(leaked, 85)
    content = audited(cli, tree, "--strict", code=1)
    kind = "exact" if identical else "near"
    assert content["duplicates"]["leaks"] == 1
    assert content["duplicates"][kind]["across_splits"] == 1
    (example,) = content["duplicates"][kind]["examples"]
    assert {image["split"] for image in example} == {"train", "test"}
    _, after = fixed(cli, tree, tmp_path / "out")
    assert after["images"] == 40
    record = json.loads((tmp_path / "out" / "equalised.json").read_text())
    assert record["left_out"] == {f"train/fake/leaked.{'png' if identical else 'jpg'}": "leak"}
    assert "test/fake/03.png" in record["files"].values()


def test_one_picture_with_both_labels_is_said_and_left_out_but_edited_pairs_stay(tree, cli, tmp_path):
    shutil.copy(tree / "test" / "fake" / "03.png", tree / "test" / "real" / "same.png")
    with Image.open(tree / "test" / "fake" / "05.png") as image:
        image.resize((40, 40), Image.Resampling.BICUBIC).save(tree / "test" / "real" / "edited.png")
    outcome = cli("audit", tree)
    assert "CONTRADICTION: 1 image has both labels as identical files" in outcome.out
    content = audited(cli, tree, "--fix", tmp_path / "out")
    assert content["duplicates"]["exact"]["across_classes"] == 1
    assert content["duplicates"]["near"]["across_classes"] == 1
    assert content["fixed"]["left_out"] == {"both labels": 2}
    assert content["fixed"]["images"] == 40


def test_unreadable_files_are_named_and_skipped(tree, cli, tmp_path):
    (tree / "test" / "real" / "text.jpg").write_text("not an image")
    whole = (tree / "test" / "fake" / "00.png").read_bytes()
    (tree / "test" / "fake" / "cut.png").write_bytes(whole[: len(whole) // 2])
    content = audited(cli, tree, "--fix", tmp_path / "out")
    assert {problem["sample"] for problem in content["unreadable"]} == {
        "test/fake/cut.png",
        "test/real/text.jpg",
    }
    assert content["images"] == 40
    assert content["fixed"]["left_out"] == {"unreadable": 2}
    assert "2 images cannot be read" in cli("audit", tree).out


def test_a_decompression_bomb_is_unreadable(tree, cli, monkeypatch):
    write_image(tree / "test" / "real" / "bomb.png", 999, fake=False, size=(64, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    (problem,) = audited(cli, tree)["unreadable"]
    assert problem["sample"] == "test/real/bomb.png"
    assert "bomb" in problem["reason"]


def test_one_confounded_generator_among_others_is_named(tmp_path, cli):
    folder = tmp_path / "tree"
    for place, generator in enumerate(["adm", "glide", "sdxl"]):
        for number in range(10):
            for label, name in enumerate(("nature", "ai")):
                file = folder / generator / name / f"{number}.png"
                write_image(file, 100 * place + 10 * number + label, fake=bool(label))
                if generator == "glide" and label:
                    reencode(file, 75)
    content, after = fixed(cli, folder, tmp_path / "out")
    assert content["by_generator"]["glide"]["call"] == "confound"
    assert {content["by_generator"][name]["call"] for name in ("adm", "sdxl")} == {"chance"}
    assert "glide" in content["confounded"]
    kept = {(s.generator, s.label) for s in open_source(str(tmp_path / "out"), tmp_path).samples}
    assert kept == {(generator, label) for generator in ("adm", "glide", "sdxl") for label in (0, 1)}
    assert [part["images"] for part in after["facts"]] == [10] * 6


def test_a_copy_of_parquet_keeps_split_generator_and_label(tmp_path, cli):
    rows = []
    for number in range(24):
        file = tmp_path / "x.png"
        write_image(file, number, fake=bool(number % 2), size=(32 + number % 2, 32))
        rows.append({"bytes": file.read_bytes(), "path": None})
    labels = [n % 2 for n in range(24)]
    generators = [
        ["real", "Stable Diffusion 1.4", "test", "fake"][n % 2 * (1 + n // 2 % 3)] for n in range(24)
    ]
    table = pa.table(
        {"image": rows, "label": ["ai" if n else "real" for n in labels], "generator": generators}
    )
    pq.write_table(table, tmp_path / "val.parquet")
    fixed(cli, tmp_path / "val.parquet", tmp_path / "out")
    kept = Counter(
        (s.label, s.generator, s.split) for s in open_source(str(tmp_path / "out"), tmp_path).samples
    )
    assert kept == {
        (0, "real", "val"): 12,
        (1, "Stable_Diffusion_1.4", "val"): 4,
        (1, "generator_test", "val"): 4,
        (1, "fake", "val"): 4,
    }


def test_a_copy_that_cannot_be_written_is_refused_before_anything_is_looked_at(
    tree, cli, tmp_path, monkeypatch
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("robustbench_aigen.data.audit.inspection.audit", None)
    for out, part in [
        ("full", "exists already"),
        ("file", "exists already"),
        ("tree/copy", "inside the data"),
    ]:
        outcome = cli("audit", tree, "--fix", tmp_path / out)
        assert outcome.code == 2
        assert part in outcome.err
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_an_interrupted_copy_leaves_nothing(tree, cli, tmp_path, monkeypatch):
    written = []

    def interrupted(*arguments: object) -> None:
        written.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("robustbench_aigen.data.audit.equalised_copy._write", interrupted)
    assert cli("audit", tree, "--fix", tmp_path / "out").code == 3
    assert written
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_an_empty_folder_is_filled(tree, cli, tmp_path):
    (tmp_path / "out").mkdir()
    assert audited(cli, tree, "--fix", tmp_path / "out")["fixed"]["images"] == 40
    assert len(list((tmp_path / "out").rglob("*.png"))) == 40


def test_a_limit_is_said(tree, cli):
    outcome = cli("audit", tree, "--limit", 20)
    assert "20 images of 40" in outcome.out
    assert audited(cli, tree, "--split", "test")["images"] == 20


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere"], "no data at 'nowhere'"),
        (["minigen", "--split", "holdout"], "no split 'holdout'"),
        (["minigen", "--limit", "0"], "--limit"),
    ],
)
def test_bad_arguments(cli, arguments, part):
    outcome = cli("audit", *arguments)
    assert outcome.code == 2
    assert part in outcome.err


def test_nothing_readable_is_an_error(tmp_path, cli):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_text("no")
    outcome = cli("audit", tmp_path)
    assert outcome.code == 2
    assert "no image can be read (1 tried); the first is real/a.jpg: not an image" in outcome.err


def test_the_tables_fit_a_terminal_of_80_columns(tree, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for number, file in enumerate(sorted(tree.rglob("real/*.png"))):
        Image.open(file).resize((300 + number, 400)).save(file.with_suffix(".jpg"), comment=b"scanned")
        file.unlink()
    lines = re.sub(r"\x1b\[\d+m", "", cli("audit", tree).out).splitlines()
    assert max(len(line) for line in lines if not line.startswith(("CONFOUND", "LEAK"))) <= 80
    assert any(line.split()[:3] == ["all", "together", "100.0"] for line in lines)


# Real data.


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data is not on this machine")
def test_shoes_are_confounded_by_jpeg_quality(cli, tmp_path):
    content = audited(cli, SHARED_DATA / "shoes", "--limit", 500, "--strict", code=1)
    assert content["verdict"]["told_by"] == ["JPEG quality", "metadata"]
    _, after = fixed(cli, SHARED_DATA / "shoes" / "test", tmp_path / "out")
    assert after["images"] == 219


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data is not on this machine")
@pytest.mark.parametrize("name", ["genimage8", "faces", "cifake"])
def test_these_are_not(cli, name):
    assert audited(cli, SHARED_DATA / name, "--limit", 1000)["confounded"] == []


# In a run.


def test_a_run_says_in_one_line_that_the_facts_tell_the_classes_apart(tree, cli, tmp_path):
    scenario = tmp_path / "s.yaml"
    scenario.write_text(
        "version: 1\nname: s\ndata: {source: tree, split: test}\ndetectors: [minigen/lenet5]\n"
        "pipelines: {jpeg: [{perturb: jpeg}]}\n"
    )
    quiet = cli("run", scenario, "--output", tmp_path / "out")
    assert "CONFOUND" not in quiet.err
    for file in tree.rglob("real/*.png"):
        reencode(file, 90)
    outcome = cli("run", scenario, "--output", tmp_path / "out")
    (line,) = [line for line in outcome.err.splitlines() if "CONFOUND" in line]
    assert "format, JPEG quality, subsampling" in line
    folder = tmp_path / "out" / "s" / "latest"
    assert json.loads((folder / "run.json").read_text())["audit"]["call"] == "confound"
    assert "separate real from fake" in (folder / "report.md").read_text()


def test_a_run_on_minigen_records_that_nothing_was_found(tmp_path):
    loaded = load_scenario("jpeg_sweep")
    data = loaded.data.model_copy(update={"limit": 60})
    assert run(loaded.replace(data=data), output=tmp_path).info.audit.call == "chance"
