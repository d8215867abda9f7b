"""The documentation site: the build is strict, links that leave ``docs/`` work or become text, and nothing is loaded."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from benchmarks.reference_pages import described, in_markdown
from benchmarks.site_links import on_page_content, with_site_links

MKDOCS = Path(f"{sys.prefix}-site") / "bin" / "mkdocs"
"""The environment that ``make test`` and ``make site`` make beside that of the tests."""
ADDRESS = "https://example.org/owner/project"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if not MKDOCS.is_file():
        pytest.skip(f"mkdocs is not installed in {MKDOCS.parents[1].name}: make site VENV={sys.prefix}")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [MKDOCS, "build", "--strict", "--site-dir", folder],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_on_the_site(site):
    pages = {file.relative_to(REPOSITORY / "docs") for file in (REPOSITORY / "docs").rglob("*.md")}
    assert all((site / page.with_suffix(".html")).is_file() for page in pages)


def test_the_pages_load_nothing_from_other_hosts(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//[^"]*"', text), page
        assert not re.findall(r'<link[^>]* rel="stylesheet"[^>]* href="(?:https?:)?//', text), page


def test_the_python_reference_has_every_public_name(site):
    import robustbench_aigen

    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    ids = {name.rpartition(".")[2] for name in re.findall(r'<h\d id="(robustbench_aigen\.[\w.]+)"', text)}
    elsewhere = {"__version__", "attacks", "explain", "interop", "perturbations", "plugins", "training"}
    assert set(robustbench_aigen.__all__) - elsewhere <= ids
    assert {"from_function", "metric", "figure", "finetune", "maps"} <= ids


@pytest.fixture
def docs(tmp_path):
    for name in ("docs/a.md", "docs/deep/b.md", "code/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "docs"


@pytest.mark.parametrize(
    ("text", "plain", "linked"),
    [
        ("[b](deep/b.md#x)", "[b](deep/b.md#x)", "[b](deep/b.md#x)"),
        ("[c](../code/c.py)", "c (`code/c.py`)", f"[c]({ADDRESS}/blob/main/code/c.py)"),
        ("[`code/`](../code)", "`code/`", f"[`code/`]({ADDRESS}/tree/main/code/)"),
        ("![c](../code/c.py)", "c (`code/c.py`)", f"![c]({ADDRESS}/raw/main/code/c.py)"),
        ("[c](../code/c.py#L1)", "c (`code/c.py`)", f"[c]({ADDRESS}/blob/main/code/c.py#L1)"),
        ("[x](https://example.org)", "[x](https://example.org)", "[x](https://example.org)"),
        ("`[c](../code/c.py)`", "`[c](../code/c.py)`", "`[c](../code/c.py)`"),
        ("```\n[c](../code/c.py)\n```", "```\n[c](../code/c.py)\n```", "```\n[c](../code/c.py)\n```"),
    ],
)
def test_a_link_that_leaves_the_pages_leads_to_the_repository_or_is_text(docs, text, plain, linked):
    assert with_site_links(text, docs, docs, None) == plain
    assert with_site_links(text, docs, docs, f"{ADDRESS}/") == linked


def test_a_link_starts_at_the_folder_of_its_page(docs):
    assert with_site_links("[a](../a.md)", docs, docs / "deep", None) == "[a](../a.md)"
    assert with_site_links("[c](../../code/c.py)", docs, docs / "deep", None) == "c (`code/c.py`)"


def test_roles_of_docstrings_become_code():
    assert on_page_content("see :func:<code>~a.b</code>") == "see <code>a.b</code>"
    assert (
        in_markdown("see :class:`a.B` and ``c``\nof the same\n\nthen")
        == "see `a.B` and `c` of the same\n\nthen"
    )


def test_parameters_are_read_from_docstrings():
    text = "Head of it.\n\n    Parameters\n    ----------\n    a, b\n        Two\n        lines.\n    c\n        One.\n\n    Raises\n    ------\n    E\n        Never."
    assert described(text) == ("Head of it.", {"a": "Two lines.", "b": "Two lines.", "c": "One."})
    assert described(None) == ("", {})
