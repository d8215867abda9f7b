"""The page of one picture: its views against a run of the scenario that it names, and the page in a browser."""

import io
import re
import shlex
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium
from conftest import REPOSITORY, write_image
from PIL import Image

from robustbench_aigen import Detector, Scenario, UserError, explain, load_detector
from robustbench_aigen.app.archive import SCENARIO, archive, png
from robustbench_aigen.app.gallery import captioned, gallery
from robustbench_aigen.app.page import PicturePage, started
from robustbench_aigen.app.settings import ATTACKS, NO_ATTACK, NO_MAP, PictureSettings
from robustbench_aigen.app.uploads import MOST_PIXELS, read_upload
from robustbench_aigen.app.views import compute_views
from robustbench_aigen.detectors.formats.wrappers import BlackBox

DETECTORS = ("minigen/lenet5", "minigen/cifake_cnn")
DOCUMENT = (REPOSITORY / "docs" / "APP.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def detectors() -> dict[str, Detector]:
    return {name: load_detector(name) for name in DETECTORS}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    write_image(tmp_path / "my picture.png", 3, fake=True, size=(40, 36))
    return tmp_path / "my picture.png"


SETTINGS = {
    "all of it": PictureSettings(size=0.5, noise=8, quality=75),
    "attack alone": PictureSettings(attack="fgsm", eps=0.5),
    "queries": PictureSettings(attack="square", eps=8, label="real", method=NO_MAP, quality=90),
    "processing alone": PictureSettings(attack=NO_ATTACK, noise=4, quality=50),
    "nothing": PictureSettings(attack=NO_ATTACK),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_scenario_of_a_page_gives_its_scores(name, detectors, picture, tmp_path):
    settings, upload = SETTINGS[name], read_upload(picture)
    (tmp_path / "work").mkdir()
    views = compute_views(upload, detectors, settings, tmp_path / "work")
    with zipfile.ZipFile(io.BytesIO(archive(upload, views))) as file:
        file.extractall(tmp_path / "unpacked")
    run = Scenario.from_yaml(tmp_path / "unpacked" / SCENARIO).run(tmp_path / "results")
    records = run.records.set_index(["detector", "pipeline"])
    assert [each.detector for each in views.detectors] == list(DETECTORS)
    assert len(records) == sum(len(each.views) for each in views.detectors)
    for each in views.detectors:
        for view in each.views:
            assert view.log_odds == records.loc[(each.detector, view.pipeline), "log_odds"]
            # The shown picture is the one with that score.
            shown = detectors[each.detector].log_odds([Image.fromarray(view.levels)])
            assert float(shown[0]) == pytest.approx(view.log_odds, abs=1e-4)
            assert view.verdict == ("fake" if view.score >= 0.5 else "real")


def test_the_difference_is_what_the_attack_changed(detectors, picture, tmp_path):
    views = compute_views(
        read_upload(picture), detectors, PictureSettings(eps=2, method=NO_MAP), tmp_path / "w"
    )
    for each in views.detectors:
        clean, attacked = (view.levels.astype(int) for view in each.views)
        assert each.linf == np.abs(attacked - clean).max() == 2
        assert each.amplification == 127.5 / 2
        assert each.difference == pytest.approx(127.5 + 63.75 * (attacked - clean), abs=0.51)
        assert all(view.overlay is None for view in each.views)
    assert views.commands == ""


def test_maps_are_those_of_explain_on_one_scale(detectors, picture, tmp_path):
    settings = PictureSettings(method="occlusion", quality=60)
    views = compute_views(read_upload(picture), detectors, settings, tmp_path / "w")
    (first, _) = views.detectors
    levels = [Image.fromarray(view.levels) for view in first.views]
    found = explain.maps(detectors[first.detector], levels, "occlusion", towards="fake")
    assert len(found) == 3
    limit = max(np.percentile(np.abs(values), 99.5) for values in found.values)
    for view, values in zip(first.views, found.values, strict=True):
        # Where the map is 0, the picture is grey; where it is largest, it has a colour.
        spread = np.ptp(view.overlay.astype(int), axis=2)
        assert spread[np.abs(values) < 1e-3 * limit].max(initial=0) <= 8
        if np.abs(values).max() > 0.5 * limit:
            assert spread.flat[np.abs(values).argmax()] > 60


def test_the_commands_of_a_page_draw_the_maps(detectors, picture, tmp_path, cli, monkeypatch, undrawn):
    upload, settings = read_upload(picture), PictureSettings(method="input_gradients")
    views = compute_views(upload, dict([*detectors.items()][:1]), settings, tmp_path / "w")
    with zipfile.ZipFile(io.BytesIO(archive(upload, views))) as file:
        file.extractall(tmp_path / "unpacked")
    monkeypatch.chdir(tmp_path / "unpacked")
    (line,) = views.commands.splitlines()
    done = cli(*shlex.split(line)[1:])
    assert done.code == 0, done.err


def test_a_map_that_is_missing_is_a_sentence(picture, tmp_path):
    box = Detector(BlackBox(lambda pixels: pixels.mean(axis=(1, 2, 3))), name="box")
    settings = PictureSettings(attack=NO_ATTACK, quality=50)
    views = compute_views(read_upload(picture), {"minigen/lenet5": box}, settings, tmp_path / "w")
    (note,) = views.detectors[0].notes
    assert "integrated_gradients needs gradients, and box has no gradients" in note
    with pytest.raises(UserError, match="gradients"):
        compute_views(read_upload(picture), {"minigen/lenet5": box}, PictureSettings(), tmp_path / "v")
    with pytest.raises(UserError, match="no detector is chosen"):
        compute_views(read_upload(picture), {}, PictureSettings(), tmp_path / "u")


def test_bad_uploads_get_a_sentence(tmp_path):
    def refused(name: str, content: bytes) -> str:
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(UserError) as said:
            read_upload(file)
        assert said.value.hint
        return said.value.message

    whole = png(np.zeros((8, 8, 3), np.uint8))
    assert "'thesis.png' cannot be read as a picture: not an image" in refused("thesis.png", b"years of work")
    assert "cannot be read as a picture" in refused("half.png", whole[: len(whole) // 2])
    assert "cannot be read as a picture" in refused("empty.png", b"")
    assert "has one pixel" in refused("dot.png", png(np.zeros((1, 1, 3), np.uint8)))
    assert "has no suffix of a picture" in refused("picture", whole)
    side = int(MOST_PIXELS**0.5) + 1
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    assert f"has {side}×{side} pixels, and the page takes at most 16 million" in refused(
        "huge.png", buffer.getvalue()
    )
    with pytest.raises(UserError, match="cannot be read as a picture"):
        read_upload(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match="cannot be read as a picture"):
        read_upload(tmp_path)


def test_names_of_uploads_are_plain(tmp_path):
    file = tmp_path / "..$(rm) <b>: 'x'.PNG"
    file.write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    assert re.fullmatch(r"[\w.-]+\.png", read_upload(file).name)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"eps": 17}, "eps is 17, and must be from 0 to 16"),
        ({"quality": 0}, "quality is 0, and must be from 1 to 100"),
        ({"size": 0.01}, "size is 0.01"),
        ({"noise": -1}, "noise is -1"),
        ({"eps": float("nan")}, "eps is nan"),
        ({"attack": "pdg"}, "unknown attack 'pdg'"),
        ({"method": "gradcam"}, "unknown map 'gradcam'"),
        ({"label": "ai"}, "unknown class 'ai'"),
    ],
)
def test_settings_outside_their_range_are_refused(wrong, said):
    with pytest.raises(UserError, match=re.escape(said)):
        PictureSettings(**wrong)


def test_every_attack_of_the_page_is_one_of_a_scenario():
    for attack in ATTACKS:
        assert PictureSettings(attack=attack).scenario(DETECTORS).experiment  # Validated.


def test_captions_name_the_pipeline_and_the_score(detectors, picture, tmp_path):
    views = compute_views(
        read_upload(picture), detectors, PictureSettings(method="occlusion"), tmp_path / "w"
    )
    texts = [text for _, text in captioned(views)]
    score = views.detectors[0].views[1].score
    assert any(text.startswith(f"minigen/lenet5, attacked: score {score:.3f}") for text in texts)
    assert any(re.search(r"minigen/lenet5, change × 31.9, at most 4/255", text) for text in texts)
    assert all(192 <= max(image.size) <= 1024 for image, _ in captioned(views))


def test_names_in_the_gallery_are_text(picture, tmp_path):
    hostile = Detector(BlackBox(lambda pixels: pixels.mean(axis=(1, 2, 3))), name="<b onclick=alert(1)>")
    settings = PictureSettings(attack=NO_ATTACK, method=NO_MAP)
    views = compute_views(read_upload(picture), {"minigen/lenet5": hostile}, settings, tmp_path / "w")
    assert "<b" not in gallery(views)
    assert "&lt;b" in gallery(views)


def test_the_page_answers_mistakes_with_a_sentence(picture, tmp_path):
    page = PicturePage(["minigen/lenet5"], tmp_path, "cpu", trust_code=False)
    rest = ("fake", ["minigen/lenet5"], "pgd", 4, 2, 100, 0, 0, NO_MAP)
    assert page.show(None, *rest)[0] == "Drop a picture."
    (tmp_path / "broken.png").write_bytes(b"<script>")
    message, *others = page.show(str(tmp_path / "broken.png"), *rest)
    assert "cannot be read as a picture" in message
    assert others == ["", "", "", None]
    assert "is not on offer" in page.show(str(picture), "fake", ["cnnspot"], *rest[2:])[0]
    table, pictures, scenario, _, kept = page.show(str(picture), *rest)
    assert "minigen/lenet5" in table
    assert pictures.count("<img") == 3
    assert "eps: 4/255" in scenario
    assert zipfile.is_zipfile(kept)


def test_without_gradio_the_command_says_what_to_type(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = cli("app", "minigen/lenet5")
    assert done.code == 2
    assert "app needs gradio" in done.err
    assert "pip install 'robustbench-aigen[app]'" in done.err


def test_wrong_arguments_get_one_line(cli):
    assert "minigen/lenet6" in cli("app", "minigen/lenet6").err
    assert cli("app", "--port", 0).code == 2
    assert "--port" in cli("app", "--help").out


def test_the_logic_needs_no_gradio():
    modules = "archive", "settings", "uploads", "views", "page"
    code = "import sys; " + "; ".join(f"import robustbench_aigen.app.{name}" for name in modules)
    subprocess.run([sys.executable, "-c", f"{code}; assert 'gradio' not in sys.modules"], check=True)


def test_the_python_of_the_document_runs(image_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image_folder.rename(tmp_path / "my_images")
    (block,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    exec(compile(block, "APP", "exec"), {})
    said = capsys.readouterr().out
    assert "'delivered'" in said
    assert "quality: 75" in said


def test_the_commands_of_the_document_are_understood(cli, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "robustbench_aigen.app.page.serve",
        lambda page, host, port, told: seen.append((page.names, host, port)),
    )
    for line in re.findall(r"^\$ robust-aigen (app.*)$", DOCUMENT, re.MULTILINE):
        done = cli(*shlex.split(line))
        assert done.code == 0, done.err
    assert seen[0][1:] == ("127.0.0.1", 7860)
    assert "minigen/lenet5" in seen[0][0]
    assert seen[1] == (["minigen/lenet5", "minigen/cifake_cnn+pgd"], "127.0.0.1", 7861)
    assert "$ robust-aigen run picture.yaml" in DOCUMENT
    assert SCENARIO == "picture.yaml"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    pytest.importorskip("gradio", reason="gradio is not installed; pip install 'robustbench-aigen[app]'")
    page = PicturePage(list(DETECTORS), tmp_path_factory.mktemp("archives"), "cpu", trust_code=False)
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    blocks = started(page, "127.0.0.1", free_port())
    yield browser, blocks.local_url
    browser.close()
    blocks.close(verbose=False)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(browser: Chromium, expression: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not browser.evaluate(expression):
        assert time.monotonic() < end, f"{expression}: {browser.evaluate('document.body.innerText')}"
        time.sleep(0.2)


def drop(browser: Chromium, file: Path) -> None:
    clear = "document.querySelector('#picture button[aria-label=\"Clear\"]')"
    browser.evaluate(f"{clear}?.click()")
    wait_for(browser, "!!document.querySelector('#picture input[type=file]')")
    root = browser.send("DOM.getDocument")["root"]["nodeId"]
    found = browser.send("DOM.querySelector", nodeId=root, selector="#picture input[type=file]")
    browser.send("DOM.setFileInputFiles", nodeId=found["nodeId"], files=[str(file)])


def test_a_dropped_picture_is_attacked_in_the_browser_without_network(served, picture, tmp_path):
    browser, address = served
    browser.open(address, width=1280, dark=False)
    message = "document.querySelector('#message').innerText"
    wait_for(browser, "!!document.querySelector('#picture input[type=file]')")
    drop(browser, picture)
    wait_for(browser, f"{message}.includes('minigen/lenet5')")
    shown = browser.evaluate(message)
    page = PicturePage(list(DETECTORS), tmp_path, "cpu", trust_code=False)
    table = page.show(
        str(picture), "fake", ["minigen/lenet5"], "pgd", 4, 10, 100, 0, 0, "integrated_gradients"
    )[0]
    numbers = re.findall(r"\d\.\d{4} (?:fake|real)", table)
    assert re.findall(r"\d\.\d{4} (?:fake|real)", shown) == numbers
    assert len(numbers) == 2
    assert "eps: 4/255" in browser.evaluate("document.querySelector('#scenario').innerText")
    wait_for(browser, "document.querySelectorAll('#views img').length >= 5")
    assert browser.evaluate("!!document.querySelector('#download a')")
    # Of what was asked, all came from this machine.
    asked = [
        each["params"]["request"]["url"]
        for each in browser.messages
        if each["method"] == "Network.requestWillBeSent"
    ]
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    wrong = [
        each["params"]["entry"]["text"] for each in browser.messages
        if each["method"] == "Log.entryAdded" and each["params"]["entry"]["level"] == "error"
    ]  # fmt: skip
    assert wrong == []
    assert not [each for each in browser.messages if each["method"] == "Runtime.exceptionThrown"]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    drop(browser, tmp_path / "broken.png")
    wait_for(browser, f"{message}.includes('cannot be read as a picture')")


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_telephone(served, dark):
    browser, address = served
    browser.open(address, width=390, dark=dark)
    wait_for(browser, "!!document.querySelector('#picture')")
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
