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
    trust, threats = "docs/TRUST.md", "docs/THREAT_MODELS.md"
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    documents.main()
    assert capsys.readouterr().out == ""
    (tmp_path / trust).write_text(made[trust].replace("| `eps_floored` |", "| `eps_cut` |"))
    (tmp_path / threats).write_text(made[threats].replace("`pgd` ", "", 1))
    documents.main()
    assert capsys.readouterr().out == f"written: {threats}\nwritten: {trust}\n"
    assert all((tmp_path / name).read_text() == made[name] for name in (trust, threats))


def test_every_part_stands_in_one_document(made):
    marked = [name for text in made.values() for name in re.findall(r"<!-- generated: (\w+) -->", text)]
    assert sorted(marked) == sorted(documents.PARTS)
    assert all(text.count("<!-- generated: ") == text.count("<!-- end -->") for text in made.values())


def test_every_attack_stands_in_one_row_of_the_kinds():
    rows = documents.attack_kinds().splitlines()[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.partition(", and any")[0])]
    assert sorted(named) == sorted(documents.attacks())
