"""The pages of explanations in a real browser: no faults, no network, on a desk and on a telephone, light and dark."""

import pytest
from chromium import Chromium

from robustbench_aigen import ImageData, Scenario, load_detector
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.explain.detector_page import PageSettings, Pictures, detector_page
from robustbench_aigen.explain.page import PAGE
from robustbench_aigen.explain.run_page import run_page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    browser.send(
        "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
    )
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def pages(browser, tmp_path_factory):
    folder, detector = tmp_path_factory.mktemp("pages"), load_detector("minigen/lenet5")
    data = ImageData.open("minigen", limit=60)
    settings = PageSettings(methods=("grad_cam", "input_gradients"), images=2)
    of_detector = detector_page(detector, Pictures.of(data, 6), settings, "robust-aigen explain …", Silent())
    run = Scenario(
        name="s", data={"source": "minigen", "limit": 12}, detectors=["minigen/lenet5"], trust="off", keep_images="all",
        pipelines={"pgd": [{"attack": "pgd", "eps": ["2/255", "8/255"], "steps": 2}]},
    ).run(folder)  # fmt: skip
    of_run = run_page(run, detector, "c", Silent(), methods=["input_gradients"], images=2)
    return {"detector": of_detector.write(folder / "d") / PAGE, "run": of_run.write(folder / "r") / PAGE}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", ["detector", "run"])
def test_the_page_has_no_fault_at_every_width_in_both_schemes(browser, pages, kind, width, dark):
    browser.open(pages[kind], width=width, dark=dark)
    assert browser.faults() == []
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert browser.evaluate("[...document.images].every(e => e.complete && e.naturalWidth > 0)")
    assert browser.evaluate("document.images.length") >= {"detector": 8, "run": 2}[kind]
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(each) for each in paper.removeprefix("rgb(").rstrip(")").split(",")]
    assert (max(levels) < 100) is dark
