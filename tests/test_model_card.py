"""Model cards: Hugging Face's own reader returns the numbers of the summary."""

import sys

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY
from gated_runs import made_up, with_records
from huggingface_hub import EvalResult, ModelCard
from test_gate import NASTY

from robustbench_aigen.metrics.summary import summarise
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.model_card import model_card, write_model_cards

MINIGEN = REPOSITORY / "results" / "minigen"
RIGHT = np.arange(200) >= 20


def computed(**changes) -> Run:
    """A made-up run of one detector with its summary."""
    name = changes.pop("detector", "d")
    run = made_up({(name, "clean"): RIGHT, (name, "pgd"): ~RIGHT}, **changes)
    summary = summarise(run.records, run.info.pipelines, run.info.scenario.mode).assign(trust="ok")
    return Run.computed(run.info, run.records, summary, run.gallery)


def results_of(text: str) -> list[EvalResult]:
    """Read a card as the hub does."""
    return ModelCard(text).data.eval_results


@pytest.mark.parametrize("detector", ["minigen/lenet5", "minigen/cifake_cnn"])
def test_a_card_has_the_numbers_of_two_runs(detector):
    runs = [Run.load(MINIGEN / name) for name in ("pgd_eps4", "genimage")]
    card = ModelCard(model_card(join_runs(runs), detector))
    assert card.data.model_name == detector
    found = {(each.dataset_config, each.metric_type): each.metric_value for each in card.data.eval_results}
    expected = {}
    for run in runs:
        rows = run.overall()
        for row in rows[rows["detector"] == detector].to_dict(orient="records"):
            names = {"accuracy": "accuracy", "tpr": "recall", "tnr": "specificity", "auroc": "roc_auc"}
            for column, metric in names.items():
                if row[column] == row[column]:
                    expected[row["pipeline"], metric] = row[column]
    assert found == expected
    assert ("clean", "roc_auc") in found
    assert ("pgd[eps=4/255]", "roc_auc") not in found


def test_what_was_measured_is_in_the_arguments():
    text = model_card(join_runs([computed()]), "d")
    clean, *_ = results_of(text)
    assert clean.metric_args == {"low": pytest.approx(0.85, abs=0.02), "high": pytest.approx(0.935, abs=0.02), "confidence": 0.95}  # fmt: skip
    assert clean.dataset_args["images"] == 200
    assert clean.dataset_args["trust"] == "ok"
    attacked = next(each for each in results_of(text) if each.dataset_config == "pgd")
    assert attacked.dataset_args["stages"][0]["eps"] == 4 / 255
    head = yaml.safe_load(text.split("---")[1])
    assert [each["dataset"]["config"] for each in head["model-index"][0]["results"]] == ["clean", "pgd"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf://org/name@main/folder", "org/name"),
        ("hf://datasets/org/name", "org/name"),
        ("/home/user/my_images", "my_images"),
        ("C:\\data\\my_images", "my_images"),
        ("minigen", "minigen"),
    ],
)
def test_a_card_names_no_folder_of_the_machine(source, name):
    run = computed(
        pipelines={"clean": [], "pgd": [{"attack": "transfer", "surrogate": {"path": "/home/user/w.pt"}}]}
    )
    data = run.info.data.model_copy(update={"source": source})
    text = model_card(join_runs([with_records(run, run.records, data=data.to_dict())]), "d")
    assert {each.dataset_type for each in results_of(text)} == {name}
    assert "/home" not in text
    assert "C:" not in text
    assert "w.pt" in text


def test_names_of_strangers_stay_text(tmp_path):
    name = NASTY.replace("\x00", "") + "\n---\n"
    text = model_card(join_runs([computed(detector=name)]), name)
    assert ModelCard(text).data.model_name == name
    assert "<b>" not in text.split("\n---\n")[-1].replace("\\<", "")
    (file,) = write_model_cards(join_runs([computed(detector="../../up")]), tmp_path / "cards")
    assert file.parent == tmp_path / "cards"


def test_detectors_with_equal_file_names_have_different_files(tmp_path):
    run = made_up({(name, "clean"): RIGHT for name in ("a/b", "a-b", "A b")})
    summary = summarise(run.records, run.info.pipelines, "accuracy").assign(trust="ok")
    joined = join_runs([Run.computed(run.info, run.records, summary, run.gallery)])
    files = write_model_cards(joined, tmp_path / "cards")
    assert [file.name for file in files] == ["a-b.md", "a-b-2.md", "A-b-3.md"]
    assert [ModelCard.load(file).data.model_name for file in files] == ["a/b", "a-b", "A b"]


def test_the_command_writes_cards_and_a_later_report_replaces_them(tmp_path, cli):
    folder = tmp_path / "report"
    outcome = cli("report", MINIGEN / "pgd_eps4", "--output", folder, "--model-cards")
    assert outcome.code == 0, outcome.err
    names = sorted(file.name for file in (folder / "model_cards").iterdir())
    assert "minigen-lenet5.md" in names
    assert len(names) == len(Run.load(MINIGEN / "pgd_eps4").detectors)
    assert cli("report", MINIGEN / "genimage", "--output", folder).code == 0
    assert not (folder / "model_cards").exists()


def test_without_the_library_the_report_is_refused_before_it_begins(tmp_path, cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    outcome = cli("report", MINIGEN / "pgd_eps4", "--output", tmp_path / "report", "--model-cards")
    assert outcome.code == 2
    assert "pip install 'robustbench-aigen[hub]'" in outcome.err
    assert not (tmp_path / "report").exists()
