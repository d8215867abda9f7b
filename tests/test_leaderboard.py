"""Cards of the leaderboard: what is incomplete is refused, and what is forged is found. docs/LEADERBOARD.md is run."""

import json
import re
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import REPOSITORY
from safetensors.torch import load_file, save_file

from robustbench_aigen import Run, UserError, benchmark, evaluate
from robustbench_aigen.detectors.shipped import SHIPPED_WEIGHTS, shipped_detectors
from robustbench_aigen.digests import digest_of_text, sealed
from robustbench_aigen.leaderboard.card import card_name, find_cards, read_entry, verdicts_file
from robustbench_aigen.leaderboard.checking import check_entry
from robustbench_aigen.leaderboard.page import write_page
from robustbench_aigen.leaderboard.ranking import ranks
from robustbench_aigen.leaderboard.submission import Disclosed, submit
from robustbench_aigen.leaderboard.verdicts import Verdicts
from robustbench_aigen.leaderboard.verification import _part, verify
from robustbench_aigen.metrics.paired import holm, mcnemar_p_value, mcnemar_p_values
from robustbench_aigen.suites.suite import suite_of

COMMITTED = REPOSITORY / "results" / "leaderboard"
CARDS = sorted(COMMITTED.glob("*.json"))
LARGEST = 200_000
"""Bytes of a card with its verdicts."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a user's weights, their card, and a run of suite quick on them."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(SHIPPED_WEIGHTS / "minigen" / "lenet5.safetensors", folder / "mine.safetensors")
    said = json.loads((SHIPPED_WEIGHTS / "minigen" / "lenet5.json").read_text())
    kept = {
        key: said[key]
        for key in ("input_size", "mean", "std", "fake_index", "data", "generators", "training")
    }
    (folder / "mine.json").write_text(json.dumps({**kept, "licence": "CC0"}))
    spec = {"path": str(folder / "mine.safetensors"), "arch": "lenet5"}
    benchmark(spec, "quick", device="cpu", output=folder / "results")
    return folder


@pytest.fixture
def run(made):
    return Run.load(made / "results" / "quick_v1")


@pytest.fixture
def card(made, run, tmp_path):
    """A card in a folder of its own, with the weights beside it."""
    for name in ("mine.safetensors", "mine.json"):
        shutil.copy(made / name, tmp_path)
    return submit(run, tmp_path)


def forge(card, change=lambda content: None, rows=None):
    """Change a card and its verdicts, and compute the digests again, as a forger who knows the code."""
    content = json.loads(card.read_text())
    change(content)
    file = verdicts_file(card)
    if rows is not None:
        file.write_bytes(rows)
    del content["digests"]
    card.write_text(json.dumps(sealed(content, {file.name: digest_of_text(file.read_bytes())})))


def faults(card, **options):
    return {fault.subject for fault in verify(card, **{"seed": 1, "device": "cpu", **options}).faults}


def test_a_card_has_the_evidence_and_no_folder_of_the_machine(card, made):
    entry = read_entry(card)
    assert entry.changes == ()
    assert check_entry(entry) == []
    said = entry.card
    assert said.detector.spec == {"path": "mine.safetensors", "arch": "lenet5"}
    assert said.licence == "CC0"
    assert {*said.training.generators} == {"vae", "dcgan", "upgan", "flow", "vqgan"}
    assert said.training.hyperparameters["optimizer"]
    assert said.run.packages["robustbench-aigen"]
    assert (said.threshold.score, said.threshold.rule) == (0.5, None)
    text = card.read_text() + verdicts_file(card).read_text()
    assert str(made) not in text
    assert len(text) < LARGEST


def test_the_numbers_of_a_card_are_those_of_the_run(card, run):
    results = read_entry(card).card.results
    for name in run.pipelines:
        assert results[name]["all"].accuracy == pytest.approx(run.accuracy(name), abs=1e-6)
        summary = run.overall().set_index("pipeline").loc[name]
        assert results[name]["all"].low == pytest.approx(summary["ci_low"], abs=1e-6)
        assert results[name]["real"].accuracy == pytest.approx(summary["tnr"], abs=1e-6)
    in_all = run.records.pivot_table(index="sample", columns="pipeline", values="correct", aggfunc="min")
    linf = in_all[["clean", "pgd_linf[eps=2/255]", "auto_linf"]].all(axis=1).mean()
    assert results["every attack, Linf 2/255"]["all"].accuracy == pytest.approx(linf)


def test_a_sound_card_passes(card):
    done = verify(card, seed=1, device="cpu")
    assert done.passed, done.faults
    assert (done.images, done.verdicts) == (20, 180)
    assert done.equal >= 179


def test_numbers_raised_by_two_points_are_found(card):
    def raised(content):
        for groups in content["results"].values():
            for numbers in groups.values():
                numbers["accuracy"] += 0.02

    content = json.loads(card.read_text())
    raised(content)
    card.write_text(json.dumps(content))
    assert faults(card) == {"digest", "numbers"}
    forge(card)
    assert faults(card) == {"numbers"}


def test_verdicts_raised_by_two_points_with_numbers_that_fit_are_found(card):
    """In a tenth of 100 images two are seldom among them, so the whole card is run again here."""
    entry = read_entry(card)
    right = {name: values.copy() for name, values in entry.verdicts.right.items()}
    for values in right.values():
        values[np.flatnonzero(~values)[:2]] = True
    forged = Verdicts(entry.verdicts.images, right)
    forge(card, lambda content: content.update(results=forged.numbers(entry.suite)), forged.csv())
    assert check_entry(read_entry(card)) == []
    assert faults(card, share=1) == {"verdicts"}


def test_a_threshold_fitted_on_test_is_found(card, made, tmp_path):
    """A forger calls it the detector's own, or says that it was fitted on the validation split."""
    scenario = suite_of("quick_v1").scenario
    spec = {"path": str(made / "mine.safetensors"), "arch": "lenet5"}
    refitted = evaluate(
        spec, {"source": "minigen"}, scenario.pipelines, split="test", limit=100, threshold=0.3, device="cpu",
        name="quick_v1", output=tmp_path / "refitted",
    )  # fmt: skip
    with pytest.raises(UserError, match="neither the detector's own nor fitted by a rule"):
        submit(refitted, tmp_path)
    found = refitted.info.detectors[0]
    stated = {"score": found.threshold, "log_odds": found.threshold_log_odds}
    for rule in (None, "youden"):
        forge(card, lambda content, rule=rule: content.update(threshold={**stated, "rule": rule}))
        assert "threshold" in faults(card)


def test_a_threshold_fitted_on_the_validation_split_passes(made, tmp_path):
    shutil.copy(made / "mine.safetensors", tmp_path)
    shutil.copy(made / "mine.json", tmp_path)
    spec = {"path": str(tmp_path / "mine.safetensors"), "arch": "lenet5"}
    run = benchmark(spec, "quick", threshold="youden", device="cpu", output=tmp_path / "results")
    card = submit(run, tmp_path)
    assert read_entry(card).card.threshold.rule == "youden"
    assert read_entry(card).card.threshold.score != 0.5
    assert faults(card) == set()


def test_exchanged_weights_are_found(card, tmp_path):
    weights = load_file(tmp_path / "mine.safetensors")
    save_file({name: 0.9 * tensor for name, tensor in weights.items()}, tmp_path / "mine.safetensors")
    assert faults(card) == {"weights"}
    from robustbench_aigen.detectors.loading import load_detector

    exchanged = load_detector({"path": str(tmp_path / "mine.safetensors"), "arch": "lenet5"})
    forge(card, lambda content: content["detector"].update(weights_sha256=exchanged.weights_sha256))
    save_file({name: tensor.flip(0) for name, tensor in weights.items()}, tmp_path / "mine.safetensors")
    assert faults(card) == {"weights"}


def test_weights_whose_hash_was_exchanged_too_are_found_by_their_verdicts(card):
    """The card is of another shipped detector's verdicts: the hash fits, the verdicts do not."""
    from robustbench_aigen.detectors.loading import load_detector

    other = load_detector("minigen/lenet5@vae")

    def exchanged(content):
        content["detector"].update(spec={"id": "minigen/lenet5@vae"}, weights_sha256=other.weights_sha256)

    forge(card, exchanged)
    assert "verdicts" in faults(card)


def test_replaced_images_are_found(card):
    rows = verdicts_file(card).read_text().splitlines()
    cells = rows[1].split(",")
    hash_ = rows[1].replace(cells[3], "0" * 32)
    easier = rows[1].replace(cells[0], "test/dcgan/easy")
    for row in (hash_, easier, rows[2]):
        forge(card, rows="\n".join([rows[0], row, *rows[2:], ""]).encode())
        assert "images" in faults(card)
    forge(
        card, lambda content: content["suite"].update(fingerprint="0" * 64), "\n".join([*rows, ""]).encode()
    )
    assert "images" in faults(card)


def test_another_suite_is_found(card):
    forge(card, lambda content: content["suite"].update(sha256="0" * 64))
    assert faults(card) == {"suite"}


def test_a_damaged_card_is_refused_in_one_line(card, tmp_path):
    text = card.read_text()
    for broken, said in (
        ("{", "not valid JSON"),
        ("[]", "not a mapping"),
        (text.replace('"licence"', '"license"'), "unknown key 'license'"),
        (text.replace("quick_v1", "quick_v9"), "not a version of a suite"),
    ):
        card.write_text(broken)
        with pytest.raises(UserError, match=said):
            read_entry(card)
    card.write_text(text)
    verdicts_file(card).write_text("sample\n")
    with pytest.raises(UserError, match="verdicts"):
        read_entry(card)
    verdicts_file(card).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_entry(card)
    with pytest.raises(UserError, match="no card"):
        find_cards(tmp_path / "none")


def test_an_incomplete_run_is_refused(made, run, tmp_path, cli):
    shutil.copytree(made / "results", tmp_path / "results")
    for name in ("mine.safetensors", "mine.json"):
        shutil.copy(made / name, tmp_path)
    spec = {"path": str(tmp_path / "mine.safetensors"), "arch": "lenet5"}
    (tmp_path / "mine.json").unlink()
    info = run.info.to_dict()
    info["scenario"]["detectors"] = [spec]
    bare = replace(run, info=run.info.replace(scenario=info["scenario"]))
    with pytest.raises(
        UserError, match="lacks training data, training generators, hyper-parameters, licence"
    ):
        submit(bare, tmp_path)
    disclosed = Disclosed("minigen", ["vae"], {"epochs": 1}, "MIT", "https://example.org/log")
    entry = read_entry(submit(bare, tmp_path, disclosed))
    assert entry.card.run.link == "https://example.org/log"
    service = {"id": "https://example.org/detect", "http": {"score": {"path": "score", "of": "fake"}}}
    in_memory = {**info["scenario"], "detectors": [{"memory": "x", "identity": "0"}]}
    for scenario, said in (
        ({**info["scenario"], "name": "quick_v1-limit24"}, "not a whole run of a suite"),
        ({**info["scenario"], "mode": "score"}, "differs from quick_v1 in mode"),
        ({**info["scenario"], "trust": "off"}, "differs from quick_v1 in trust"),
        (in_memory, "was in memory"),
        ({**info["scenario"], "detectors": [service]}, "shows no weights"),
    ):
        with pytest.raises(UserError, match=said):
            submit(replace(run, info=run.info.replace(scenario=scenario)), tmp_path, disclosed)
    with pytest.raises(UserError, match="differs from quick_v1 in seed"):
        submit(replace(run, info=run.info.replace(seed=1)), tmp_path, disclosed)
    with pytest.raises(UserError, match="images of the run"):
        data = {**info["data"], "fingerprint": "0" * 64}
        submit(replace(run, info=run.info.replace(data=data)), tmp_path, disclosed)
    with pytest.raises(UserError, match="has no folder with records"):
        submit(replace(run, folder=None), tmp_path, disclosed)
    save_file(
        {name: 0.9 * tensor for name, tensor in load_file(tmp_path / "mine.safetensors").items()},
        tmp_path / "mine.safetensors",
    )
    with pytest.raises(UserError, match="have changed since the run"):
        submit(bare, tmp_path, disclosed)
    assert "name" in cli("submit", tmp_path / "results" / "quick_v1", "--hyperparameters", "epochs").err


def test_a_page_refuses_faulty_and_repeated_cards(card, tmp_path):
    assert write_page(card.parent, tmp_path / "page" / "index.html") == 1
    other = card.with_name("quick_v1-again.json")
    shutil.copy(card, other)
    shutil.copy(verdicts_file(card), verdicts_file(other))
    forge(other)
    with pytest.raises(UserError, match="same detector and suite"):
        write_page(card.parent, tmp_path / "page.html")
    forge(other, lambda content: content["results"]["clean"]["all"].update(accuracy=1.0))
    with pytest.raises(UserError, match="the verdicts give"):
        write_page(card.parent, tmp_path / "page.html")


def test_ranks_have_ties_where_a_paired_test_finds_no_difference():
    rng = np.random.default_rng(0)
    base = rng.random(1000)
    right = np.array([base < share for share in (0.9, 0.898, 0.8, 0.5)])
    right = np.vstack([right, rng.permutation(right[3])])
    assert ranks(right) == [(1, 2), (1, 2), (3, 3), (4, 5), (4, 5)]
    assert ranks(right[:1]) == [(1, 1)]
    assert ranks(np.vstack([right[0], right[0]])) == [(1, 2), (1, 2)]
    pairs = [(i, j) for i in range(5) for j in range(i)]
    p_values = holm([mcnemar_p_value(right[i], right[j]) for i, j in pairs])
    tied = {pair for pair, p_value in zip(pairs, p_values, strict=True) if p_value >= 0.05}
    assert tied == {(1, 0), (4, 3)}


def test_p_values_from_counts_are_those_of_the_verdicts():
    rng = np.random.default_rng(1)
    for size in (0, 1, 5, 60):
        one, other = rng.random((2, size)) < 0.6
        expected = mcnemar_p_value(one, other) if size else 1.0
        counts = int((one & ~other).sum()), int((other & ~one).sum())
        assert float(mcnemar_p_values(*counts)) == pytest.approx(expected, rel=1e-12)


def test_the_command_exits_with_1_for_a_forged_card(card, cli):
    assert cli("verify", card, "--seed", 1).out.splitlines()[-1] == "verify: passed"
    forge(card, lambda content: content["results"]["clean"]["all"].update(accuracy=1.0))
    outcome = cli("verify", card, "--seed", 1, "--json")
    assert outcome.code == 1
    assert [fault["subject"] for fault in json.loads(outcome.out)["faults"]] == ["numbers"]
    assert cli("verify", card, "--arch", "lenet5").code == 2
    assert cli("verify", card, "--share", "0").code == 2


def test_the_detector_of_a_card_can_be_elsewhere(card, made, tmp_path, cli):
    (tmp_path / "mine.safetensors").unlink()
    assert cli("verify", card, "--seed", 1).code == 2
    outcome = cli("verify", card, "--seed", 1, "--detector", made / "mine.safetensors", "--arch", "lenet5")
    assert outcome.code == 0, outcome.out + outcome.err


def test_code_that_a_card_names_runs_only_with_consent(card, tmp_path, cli):
    (tmp_path / "code.py").write_text(
        "from pathlib import Path\nfrom robustbench_aigen import load_detector\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        f"def build():\n    return load_detector({str(tmp_path / 'mine.safetensors')!r}, arch='lenet5')\n"
    )
    named = {"id": "python:code.py:build"}
    for spec in (named, {"ensemble": [{"id": "minigen/lenet5"}, named]}):
        forge(card, lambda content, spec=spec: content["detector"].update(spec=spec))
        outcome = cli("verify", card, "--seed", 1)
        assert outcome.code == 2
        assert "--trust-code" in outcome.err
    assert not (tmp_path / "ran").exists()
    cli("verify", card, "--seed", 1, "--trust-code")
    assert (tmp_path / "ran").exists()


def test_every_shipped_detector_has_a_committed_card():
    names = {(entry.card.suite.name, entry.card.detector.name) for entry in map(read_entry, CARDS)}
    assert names == {(suite, name) for suite in ("standard_v1", "cifake_v1") for name in shipped_detectors()}


def test_two_points_in_one_pipeline_are_found_by_the_whole_pipeline(tmp_path):
    """A forged verdict in the random part makes the whole pipeline run again, which is decisive."""
    (file,) = [each for each in CARDS if each.stem == "standard_v1-minigen-lenet5"]
    for each in (file, verdicts_file(file)):
        shutil.copy(each, tmp_path)
    card = tmp_path / file.name
    entry = read_entry(card)
    name, sample = "jpeg[quality=75]", entry.verdicts.images["sample"]
    part = {
        suite_of("standard_v1").data().selection.source.samples[index].id
        for index in _part(suite_of("standard_v1").data().selection, 0.02, 1).indices
    }
    right = {each: values.copy() for each, values in entry.verdicts.right.items()}
    wrong = np.flatnonzero(~right[name])
    right[name][sorted(wrong, key=lambda row: sample[row] not in part)[:20]] = True
    right[name][[row for row in wrong if sample[row] in part][1:]] = False
    forged = Verdicts(entry.verdicts.images, right)
    forge(card, lambda content: content.update(results=forged.numbers(entry.suite)), forged.csv())
    done = verify(card, share=0.02, seed=1, device="cpu")
    assert {fault.subject for fault in done.faults} == {"verdicts"}
    assert done.faults[-1].sentence.startswith(f"{name}: ")
    assert done.verdicts > 1000


def test_a_hidden_flag_of_one_class_is_found(tmp_path):
    (file,) = [each for each in CARDS if each.stem == "standard_v1-cifake-cifake_cnn"]
    for each in (file, verdicts_file(file)):
        shutil.copy(each, tmp_path)
    assert read_entry(file).card.flags
    forge(tmp_path / file.name, lambda content: content.update(flags=[]))
    assert {fault.subject for fault in check_entry(read_entry(tmp_path / file.name))} == {"flags"}


@pytest.mark.parametrize("file", CARDS, ids=lambda file: file.stem)
def test_a_committed_card_is_sound(file):
    entry = read_entry(file)
    assert check_entry(entry) == []
    assert file.name == card_name(entry.card.suite.name, entry.card.detector.name)
    assert file.stat().st_size + verdicts_file(file).stat().st_size < LARGEST
    assert not re.search(r"/(?:work|tmp|home|root)\b", file.read_text())


def test_a_committed_card_can_be_verified():
    (file,) = [each for each in CARDS if each.stem == "standard_v1-minigen-lenet5"]
    # 20 of 1,000 images.
    done = verify(file, share=0.02, seed=1, device="cpu")
    assert done.passed, done.faults


def test_the_committed_page_is_that_of_the_cards(tmp_path):
    shutil.copytree(COMMITTED, tmp_path / "leaderboard")
    page = tmp_path / "leaderboard" / "index.html"
    page.unlink()
    write_page(page.parent, page)
    assert page.read_text() == (COMMITTED / "index.html").read_text(), "run robust-aigen leaderboard"


def test_the_commands_of_the_document_run(made, tmp_path, image_folder, monkeypatch, cli):
    """Suite quick runs from the cache."""
    image_folder.rename(tmp_path / "my_images")
    shutil.copytree(made / "results", tmp_path / "results")
    for name in ("mine.safetensors", "mine.json"):
        shutil.copy(made / name, tmp_path / name.replace("mine", "my_detector"))
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "docs" / "LEADERBOARD.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    assert len(commands) >= 5
    for command in commands:
        outcome = cli(*shlex.split(command)[1:])
        assert outcome.code == 0, (command, outcome.out, outcome.err)
