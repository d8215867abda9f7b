"""What documents list of registered things is what is registered."""

import re
import shutil

import pytest
from conftest import REPOSITORY

from benchmarks import documents


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return documents.documents()


def test_generated_documents_are_up_to_date(made):
    stale = [name for name, text in made.items() if (REPOSITORY / name).read_text(encoding="utf-8") != text]
    assert not stale, f"run make docs: {', '.join(stale)}"


def test_make_docs_writes_what_is_stale_and_nothing_else(tmp_path, monkeypatch, capsys, made):
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs")
    shutil.copy(REPOSITORY / "README.md", tmp_path)
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    documents.main()
    assert capsys.readouterr().out == ""
    readme = tmp_path / "README.md"
    readme.write_text(
        made["README.md"].replace("| `eps_floored` |", "| `eps_cut` |").replace("`pgd` ", "", 1)
    )
    documents.main()
    assert capsys.readouterr().out == "written: README.md\n"
    assert readme.read_text() == made["README.md"]


def test_every_part_stands_in_one_document(made):
    marked = [name for text in made.values() for name in re.findall(r"<!-- generated: (\w+) -->", text)]
    assert sorted(marked) == sorted(documents.PARTS)
    assert all(text.count("<!-- generated: ") == text.count("<!-- end -->") for text in made.values())


def test_every_attack_stands_in_one_row_of_the_readme():
    rows = documents.attack_kinds().splitlines()[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.partition(", and any")[0])]
    assert sorted(named) == sorted(documents.attacks())
