"""docs/PYTHON.md: its blocks run one after the other, and its sentences are short."""

import ast
import re

from conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "PYTHON.md").read_text(encoding="utf-8")


def test_the_blocks_of_the_python_document_run(tmp_path, monkeypatch, capsys, undrawn):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "python_document"}
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    for block in blocks:
        exec(compile(ast.parse(block), "PYTHON", "exec"), space)
    assert capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_paragraphs_and_sentences_are_short():
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    for paragraph in prose.split("\n\n"):
        if paragraph.lstrip().startswith("|"):
            continue
        items = re.split(r"^- ", paragraph.strip(), flags=re.MULTILINE)
        for item in items:
            assert item.count("\n") < 6, item
            for sentence in re.split(r"(?<=[.:!?])\s", item.replace("\n", " ")):
                assert len(sentence.split()) <= 30, sentence
