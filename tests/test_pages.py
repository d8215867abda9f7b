"""The HTML report in a real browser: sizes, colour schemes, sorting, no network, nobody's markup but its own."""

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import Chromium
from hostile_report import DETECTOR, FILE, GENERATOR, SUMMARY
from PIL import Image

from robustbench_aigen.trust.check import CHECKS


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


class Tags(HTMLParser):
    """Collects the elements of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_is_one_file_without_foreign_markup(hostile):
    page = (hostile / "report.html").read_text(encoding="utf-8")
    tags = Tags(page).found
    assert sum(tag == "script" for tag, _ in tags) == 1
    assert not {tag for tag, _ in tags} & {"b", "i", "iframe", "link", "object", "embed", "base", "form"}
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), attributes
    assert not re.search(r"url\(|@import", re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1])


def test_the_page_says_everything_that_the_report_is_for(hostile, browser):
    browser.open(hostile / "report.html", width=1280, dark=False)
    text = browser.evaluate(
        "document.querySelectorAll('details').forEach(d => d.open = true), document.body.innerText"
    )
    for said in (*(" ".join(name.split()) for name in (DETECTOR, GENERATOR, SUMMARY)), FILE):
        assert said in text, said
    assert CHECKS["eps_floored"].meaning in text
    assert "not shared: every eps attacked all images" in text
    for part in ("robust-aigen run", "fingerprint", "Seed", "torch", "weights", '"share_sweeps": true'):
        assert part in text, part
    figures = browser.evaluate("[...document.querySelectorAll('figure')].map(f => f.id.slice(7))")
    assert figures == [
        "curves", "accuracy", "generators", "confusion", "scores", "roc", "gallery-1", "gallery-2",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_and_reads_at_every_width_in_both_schemes(hostile, browser, width, dark, tmp_path):
    browser.send(
        "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
    )
    browser.open(hostile / "report.html", width=width, dark=dark)
    assert browser.faults() == []
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert browser.evaluate(
        "Promise.all([...document.images].map(i => i.decode())).then(() => [...document.images].every(i => i.naturalWidth > 200))"
    )
    assert browser.evaluate("document.title") == "hostile · robust-aigen"
    assert browser.evaluate("document.querySelectorAll('script').length") == 1
    # What a reader sees of the page and of the first figure is dark or light.
    browser.screenshot(tmp_path / "page.png")
    with Image.open(io.BytesIO((tmp_path / "page.png").read_bytes())) as picture:
        box = browser.evaluate(
            "(r => [r.x + scrollX, r.y + scrollY])(document.querySelector('figure img').getBoundingClientRect())"
        )
        grey = picture.convert("L")
        for place in ((2, 2), (int(box[0]) + 3, int(box[1]) + 3)):
            assert (grey.getpixel(place) < 60) == dark, place
            assert (grey.getpixel(place) > 200) == (not dark), place


def test_tables_are_sorted_by_a_click_and_back_by_a_second(hostile, browser):
    browser.open(hostile / "report.html", width=1280, dark=False)
    column = "[...document.querySelectorAll('#table-accuracy tbody tr')].map(r => r.cells[{}].textContent)"
    titles = browser.evaluate(
        "[...document.querySelectorAll('#table-accuracy th')].map(h => h.textContent.trim())"
    )
    place = titles.index("drop")
    click = f"document.querySelectorAll('#table-accuracy th')[{place}].querySelector('button').click()"
    for descending in (False, True):
        browser.evaluate(click)
        texts = browser.evaluate(column.format(place))
        numbers = [float(text.rstrip("*")) for text in texts if text]
        assert numbers == sorted(numbers, reverse=descending)
        assert len(numbers) > 5
        assert texts[-2:] == ["", ""], "clean has no drop, and stays at the end"
    browser.evaluate("document.querySelector('#table-accuracy th button').click()")
    names = browser.evaluate(column.format(0))
    assert len(names) == len(texts)
    assert sorted(names, key=names.index) == names


def test_a_report_is_readable_on_a_phone(hostile, browser):
    """Figures keep a width at which they can be read, and tables scroll inside themselves."""
    browser.open(hostile / "report.html", width=390, dark=False)
    widths = browser.evaluate(
        "[...document.images].map(i => [i.getBoundingClientRect().width, i.naturalWidth])"
    )
    for shown, natural in widths:
        assert shown >= min(natural, 640) - 1
    assert browser.evaluate("[...document.querySelectorAll('.scroll')].every(d => d.clientWidth <= 390)")


def test_the_page_is_small_enough_to_mail(hostile: Path):
    assert (hostile / "report.html").stat().st_size < 2_000_000
