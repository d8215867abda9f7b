"""The pages of committed results: written from what is there, and holding what it says."""

import json

import pandas as pd
import pytest
from conftest import REPOSITORY
from torch import nn

from benchmarks import cross_generator
from benchmarks.finetune_results import Planned, read_list, write_page
from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.detectors.zoo import build_architecture

PIPELINES = (
    "clean", "pgd[eps=1/255]", "pgd[eps=2/255]", "auto", "square", "transfer", "jpeg[severity=5]", "resize[severity=1]"
)  # fmt: skip


@pytest.fixture
def tuned(tmp_path):
    """One fine-tuning of two, as a run leaves it."""
    planned = Planned("minigen", "finetune_pgd_eps2")
    folder = tmp_path / planned.name
    folder.mkdir(parents=True)
    rows = [
        {"detector": name, "pipeline": pipeline, "generator": generator, "n": 200, "accuracy": value, "trust": trust}
        for name, trust in (("minigen/cifake_cnn", "ok"), (planned.called, "ok, loss_still_rising"))
        for pipeline, value in zip(PIPELINES, (0.9, 0.8, 0.7, 0.6, 0.65, 0.75, 0.5, 0.75), strict=True)
        for generator in ("all", "vae")
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "summary.csv", index=False)
    metrics = {
        "name": planned.called, "epoch_kept": 2, "epochs_run": 3, "seconds": 90.0, "collapse": None,
        "finetuning": {"threat": {"norm": "linf", "eps": 2 / 255}},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return planned


def test_a_row_is_what_the_summary_says(tuned, tmp_path):
    write_page(tmp_path, [tuned, Planned("cifake", "finetune_pgd_eps2", 2)])
    (row,) = pd.read_csv(tmp_path / "results.csv").to_dict(orient="records")
    assert (row["clean after"], row["PGD-20 after"], row["auto after"]) == (0.9, 0.7, 0.6)
    assert (row["square after"], row["transfer after"], row["degraded after"]) == (0.65, 0.75, 0.625)
    assert (row["flags"], row["n"], row["epochs"], row["minutes"]) == (
        "loss_still_rising",
        200,
        "2 of 3",
        1.5,
    )
    page = (tmp_path / "README.md").read_text()
    assert "[cifake_cnn_pgd_eps2](minigen/cifake_cnn_pgd_eps2/report.md)" in page
    assert "Not run yet: cifake/cifake_cnn_pgd_eps2." in page


def test_the_list_names_what_is_there():
    planned = read_list()
    assert len({each.name for each in planned}) == len(planned)
    for each in planned:
        assert each.id in shipped_detectors()
        assert each.file in shipped_files("finetunings")


@pytest.mark.parametrize("kind", ["cross_generator", "finetune", "reference_systems", "speed"])
def test_committed_results_name_no_folder_of_a_machine(kind):
    files = [file for file in (REPOSITORY / "results" / kind).rglob("*.*") if file.suffix != ".png"]
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not any(root in text for root in ("/work", "/tmp", "/home", "/root")), file


def test_what_the_document_says_of_cifake_is_what_was_measured():
    measured = pd.read_csv(REPOSITORY / "results" / "finetune" / "cifake_robustness.csv")
    undefended = pd.read_csv(REPOSITORY / "results" / "reference_systems" / "pipelines.csv").set_index(
        "system"
    )
    document = (REPOSITORY / "docs" / "FINETUNE.md").read_text()
    for eps in ("2", "4"):
        rows = measured[measured["detector"] == f"cifake_cnn_fast_eps{eps}"].set_index(["pipeline", "images"])
        auto = rows.loc[f"auto[eps={eps}/255]", 1000]
        cells = [
            f"after `finetune_cifake_fast_eps{eps}`",
            f"{eps}/255",
            f"{100 * rows.loc['clean', 20_000]['accuracy']:.1f} %",
            f"{100 * rows.loc[f'pgd[eps={eps}/255]', 1000]['accuracy']:.1f} % (20 steps)",
            f"{100 * auto['accuracy']:.1f} % ({100 * auto['ci_low']:.1f}–{100 * auto['ci_high']:.1f})",
        ]
        assert f"| {' | '.join(cells)} |" in document
        before = 100 * undefended.loc["cifake_cnn", f"pgd[eps={eps}/255]"]
        assert f"| {eps}/255 | 96.9 % | {before:.1f} % (10 steps) |" in document
    assert "89.3 % under `auto`" in document
    assert "left 45.9 %" in document


def test_what_the_document_says_of_queries_transfer_and_faces_is_what_was_measured():
    folder = REPOSITORY / "results" / "finetune"
    measured = pd.read_csv(folder / "cifake_robustness.csv")
    document = " ".join((REPOSITORY / "docs" / "FINETUNE.md").read_text().split())
    for eps in (2, 4):
        rows = measured[measured["detector"] == f"cifake_cnn_fast_eps{eps}"].set_index("pipeline")
        few, many = rows.loc[f"auto[eps={eps}/255]"], rows.loc[f"auto[eps={eps}/255,queries=5000]"]
        assert few["images"] == many["images"] == 1000
        assert few["accuracy"] == many["accuracy"]
        transfer = rows.loc[f"transfer[eps={eps}/255]"]
        assert f"{100 * transfer['accuracy']:.1f} % at {eps}/255" in document
        assert transfer["accuracy"] > rows.loc[f"pgd[eps={eps}/255]"]["accuracy"]
    assert "with 5,000 not one more of the 1,000 images fell, at 2/255 or at 4/255" in document
    report = pd.read_csv(folder / "cifake" / "cifake_cnn_fast_eps4" / "summary.csv")
    report = report[report["generator"] == "all"].set_index(["detector", "pipeline"])["accuracy"]
    for operation in ("gaussian_blur[severity=3]", "gaussian_noise[severity=5]", "jpeg[severity=5]"):
        assert report["cifake_cnn_fast_eps4", operation] > report["cifake/cifake_cnn", operation] + 0.05
    faces = pd.read_csv(folder / "faces_robustness.csv").set_index(["detector", "pipeline"])["accuracy"]
    assert faces["resnet18", "pgd[eps=1/255]"] == 0
    clean, two, four = (
        100 * faces["resnet18_faces_fast_eps2", pipeline]
        for pipeline in ("clean", "pgd[eps=2/255]", "pgd[eps=4/255]")
    )
    assert f"has {clean:.0f} % on the 129 clean test images" in document
    assert f"Under PGD-10, the detector has {two:.1f} % at 2/255, {four:.1f} % at 4/255," in document
    six, eight = (100 * faces["resnet18_faces_fast_eps2", f"pgd[eps={eps}/255]"] for eps in (6, 8))
    assert f"{six:.1f} % at 6/255 and {eight:.1f} % at 8/255" in document
    assert faces["resnet18_faces_fast_eps2", "transfer[eps=4/255]"] == 1


def between(values, text):
    """Put the smallest and the largest of some values, rounded, into a text."""
    return text.format(round(values.min()), round(values.max()))


def test_what_was_found_on_cifake_stands_in_the_tables():
    folder = REPOSITORY / "results" / "reference_systems"
    table = pd.read_csv(folder / "pipelines.csv").set_index("system")
    table = 100 * table[table["data"] == "cifake"].drop(columns="data")
    found = " ".join((folder / "FINDINGS.md").read_text().split())

    assert between(table["pgd[eps=2/255]"], "leave {} to {} % at 2/255") in found
    assert between(table["pgd[eps=4/255]"], "at most {1} % at 4/255") in found
    ratio = table["fgsm"] / table["pgd[eps=4/255]"]
    assert f"leaves {ratio.min():.1f} to {ratio.max():.0f} times" in found
    assert 2 < (table["clean"] - table["jpeg[quality=65]"]).max() <= 3
    assert between(table["clean"] - table["half"], "takes {} to {}") in found
    without = ["vgg16", "conv_dense_cnn", "genimage_cnn"]
    for name in table.index:
        layers = build_architecture(name).modules()
        normed = any(isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) for layer in layers)
        assert normed == (name not in without)
    assert table["pgd[eps=2/255]"].nlargest(3).index.tolist() == without
    assert f"27,000 images, {table['clean']['vgg16']:.0f} % clean" in found
    assert f"one epoch, {table['clean']['resnet50']:.0f} % clean) keeps least" in found
    assert table["pgd[eps=2/255]"].idxmin() == table["pgd[eps=4/255]"].idxmin() == "resnet50"


def test_what_was_found_on_larger_images_stands_in_the_tables():
    folder = REPOSITORY / "results" / "reference_systems"
    found = " ".join((folder / "FINDINGS.md").read_text().split())

    elsewhere = pd.read_csv(folder / "elsewhere.csv")
    web = 100 * elsewhere[elsewhere["trained on"] == "web"][["shoes", "web"]]
    assert between(web["shoes"], "{} to {} % balanced against") in found
    assert between(web["web"], "% balanced against {} to {}.") in found
    larger = 100 * pd.read_csv(folder / "pipelines.csv").set_index("system").drop(columns="data")
    shoes, faces = larger.loc["shoes_cnn"], larger.loc["hog_svm"]
    assert f"loses {shoes['clean'] - shoes['half']:.0f} points to halving" in found
    assert f"and 2/255 leaves it {shoes['pgd[eps=2/255]']:.0f} %" in found
    assert f"and 2/255 leaves it {faces['pgd[eps=2/255]']:.0f} %" in found
    network = larger.loc["resnet18"]
    assert f"gets {network['clean']:.0f} % right and none after ten steps at 1/255" in found
    assert network["pgd[eps=1/255]"] == 0
    grown = larger.loc["growing_kernel_cnn"]
    assert f"keeps {grown['pgd[eps=4/255]']:.0f} % of these faces" in found
    assert grown["fgsm"] == grown["pgd[eps=4/255]"]
    flags = pd.read_csv(folder / "growing_kernel_cnn" / "summary.csv").query("own")["trust"]
    assert set(flags.dropna()) == {"ok"}
    for system in (faces, network):
        assert (system["clean"] - system[system.index[5:]]).max() <= 2
        assert list(system.index[5:]) == [*(f"jpeg[quality={q}]" for q in (95, 85, 65, 50)), "half", "noise"]
    small, transformer = larger.loc["convnext_small"], larger.loc["deit_bottleneck"]
    assert f"{small['clean']:.0f} % clean, {small['pgd[eps=4/255]']:.0f} % after PGD" in found
    assert "and no processing changes its accuracy" in found
    assert (small[small.index[5:]] == small["clean"]).all()
    for name, text in (
        ("resnet50_frozen", "at 112: {:.0f} and {:.0f} %"),
        ("shoes_cnn", "at 240: {:.0f} and {:.0f} %"),
    ):
        assert text.format(*larger.loc[name, ["clean", "pgd[eps=4/255]"]]) in found
    assert f"{transformer['clean']:.0f} % clean and {transformer['pgd[eps=4/255]']:.0f} % at 4/255" in found
    for name in ("convnext_small", "resnet50_frozen", "deit_bottleneck"):
        assert set(pd.read_csv(folder / name / "summary.csv").query("own")["trust"].dropna()) == {"ok"}
    foreign = elsewhere.query("`trained on` == 'cifake'")
    chance = 100 * foreign[["faces", "web", "genimage8"]]
    assert chance.min().min() >= 39
    assert chance.max().max() <= 63
    assert chance["faces"].max() < 50


def test_what_is_said_across_generators_holds_in_the_tables():
    folder = REPOSITORY / "results" / "cross_generator"
    gaps = pd.read_csv(folder / "protocol_gaps.csv").set_index(["pipeline", "detector"])
    gaps = 100 * gaps[["in_domain", "foreign", "difference"]]
    wide = pd.read_csv(folder / "protocol_genimage.csv").set_index(["pipeline", "detector"])
    found = " ".join((folder / "FINDINGS.md").read_text().split())
    families = ["dcgan", "flow", "upgan", "vae", "vqgan"]
    alone = gaps.loc["clean"].loc[[f"lenet5@{name}" for name in families]]
    own = alone["in_domain"]
    assert f"has {own.min():.0f} to {own.max():.0f} % balanced accuracy" in found
    assert own.nsmallest(2).index.tolist() == ["lenet5@flow", "lenet5@vqgan"]
    others = alone["foreign"].drop("lenet5@vqgan")
    assert f"{others.min():.0f} to {others.max():.0f} % on average" in found
    assert f"best ({alone.loc['lenet5@vqgan', 'foreign']:.0f} %)" in found
    left_out = gaps.loc["clean"].loc[[f"lenet5@all-but-{name}" for name in families]]
    fifth = dict(zip(families, left_out["foreign"], strict=True))
    told = [fifth[name] for name in ("dcgan", "upgan", "vae")]
    assert f"with {min(told):.0f} to {max(told):.0f} % balanced accuracy" in found
    assert f"`vqgan` with {fifth['vqgan']:.0f} % and `flow` with {fifth['flow']:.0f} %" in found
    lost = left_out["difference"]
    assert f"left out: {lost.min():.0f} to {lost.max():.0f} points" in found
    attacked = gaps.loc["pgd", "in_domain"]
    easy = attacked[[f"lenet5@{name}" for name in families if name != "vqgan"]]
    assert f"leave {attacked['lenet5@vqgan']:.0f} % to the detector of `vqgan` alone" in found
    assert f"{easy.min():.0f} to {easy.max():.0f} % to detectors of one other family" in found
    average = 100 * wide.loc[("pgd", "lenet5"), "average"]
    assert f"detector of all five families keeps {average:.0f} % on average" in found
    assert " ".join(cross_generator.WORDS) in (folder / "README.md").read_text()


def test_no_library_attack_breaks_what_auto_leaves():
    table = pd.read_csv(REPOSITORY / "results" / "speed" / "strength.csv")
    (left, tried) = (table[(table["attack"] == "auto") == own] for own in (True, False))
    assert sorted(left["detector"]) == sorted(2 * list(shipped_detectors()))
    assert left["budget"].str.startswith("linf").sum() == left["budget"].str.startswith("l2").sum()
    assert (left["of"] - left["breaks"]).max() > 100
    for _, cell in tried.groupby(["detector", "budget"]):
        assert len(cell) >= 20
        assert {"hopskipjump (art)", "square (torchattacks)", "apgd-ce + fab (pyautoattack)"} <= set(
            cell["attack"]
        )
    # torchattacks' DeepFool returns NaN there.
    silent = tried[tried["breaks"].isna()]
    assert silent[["detector", "budget", "attack"]].to_numpy().tolist() == [
        ["cifake/lenet5", "l2 0.5", "deepfool (torchattacks)"]
    ]
    assert tried["breaks"].sum() == 0


SPEED_ROWS = {
    ("`cifake/cifake_cnn`", "float32"): ("cifake/cifake_cnn", "accuracy", "True"),
    ("the same, `--no-lookahead`", "float32"): ("cifake/cifake_cnn", "accuracy", "False"),
    ("the same, `--no-lookahead`", "bfloat16"): ("cifake/cifake_cnn", "accuracy", "False"),
    ("the same, every step on every image (`--mode score`)", "float32"): ("cifake/cifake_cnn", "score", "False"),
    ("the same, every step on every image (`--mode score`)", "bfloat16"): ("cifake/cifake_cnn", "score", "False"),
    ("`minigen/cifake_cnn+pgd` at 2/255, adversarially trained", "float32"): (
        "minigen/cifake_cnn+pgd", "accuracy", "True"
    ),
    ("`cifake_cnn` after `finetune_cifake_fast_eps4`, `--no-lookahead`", "bfloat16"): (
        "finetune_cifake_fast_eps4", "accuracy", "False"
    ),
    ("ResNet-18 on faces at 224×224 (`--side 224`)", "float32"): ("resnet18", "accuracy", "True"),
    ("ResNet-18, `--no-lookahead`", "bfloat16"): ("resnet18", "accuracy", "False"),
    ("ResNet-18, every step (`--mode score`)", "float32"): ("resnet18", "score", "False"),
    ("ResNet-18, every step (`--mode score`)", "bfloat16"): ("resnet18", "score", "False"),
}  # fmt: skip
GRADIENTS = {"float32": "fp32", "bfloat16": "bf16"}


@pytest.mark.parametrize("said", SPEED_ROWS)
def test_the_speeds_of_the_document_are_those_measured(said):
    detector, mode, lookahead = SPEED_ROWS[said]
    table = pd.read_csv(REPOSITORY / "results" / "speed" / "attacks.csv", dtype=str)
    wanted = {"detector": detector, "mode": mode, "lookahead": lookahead, "precision": GRADIENTS[said[1]]}
    rows = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)].set_index("contestant")
    ratio, left = rows["times native"], rows["accuracy left"]
    lines = (REPOSITORY / "docs" / "SPEED.md").read_text().splitlines()
    (row,) = (
        cells
        for cells in ([cell.strip() for cell in line.split("|")] for line in lines)
        if tuple(cells[1:3]) == said
    )
    assert row[3:-1] == [
        rows["images"].iloc[0],
        *(ratio.get(name, "") for name in ("torchattacks", "art", "foolbox")),
        f"{left['native']}, {left['torchattacks']}",
    ]
    assert 0.77 <= float(ratio["floor"]) <= 0.98


def test_what_is_said_of_looking_ahead_was_measured():
    table = pd.read_csv(REPOSITORY / "results" / "speed" / "attacks.csv")
    table = table.query("detector == 'cifake/cifake_cnn' and mode == 'accuracy' and precision == 'fp32'")
    native = table[table["contestant"] == "native"].set_index("lookahead")
    document = " ".join((REPOSITORY / "docs" / "ATTACKS.md").read_text().split())
    left = native["accuracy left"]
    assert f"PGD-10 at 4/255 leaves {left[True]} instead of {left[False]}." in document
    seconds = native["seconds (median)"]
    assert "saves a third of the time" in document
    assert 0.3 < 1 - seconds[True] / seconds[False] < 0.37


def test_what_is_said_of_sweeps_was_measured():
    table = pd.read_csv(REPOSITORY / "results" / "speed" / "sweeps.csv", dtype=str)
    ratio = table.set_index(["detector", "lookahead"])["of separate"]
    document = " ".join((REPOSITORY / "docs" / "SPEED.md").read_text().split())
    assert f"takes {ratio['minigen/cifake_cnn', 'True']} of the time of eight separate runs" in document
    trained, textbook = ratio["cifake/cifake_cnn", "True"], ratio["cifake/cifake_cnn", "False"]
    assert f"{trained} on `cifake/cifake_cnn` ({textbook} with `lookahead: false`)" in document
    assert f"and {ratio['minigen/cifake_cnn+pgd', 'True']} on `minigen/cifake_cnn+pgd`" in document
    most = table["most above separate"].astype(float).max()
    assert f"A shared sweep leaves at most {most} points more" in document
