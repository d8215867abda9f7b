"""The language of documents, messages, comments and docstrings: plain English, by rules that a program can check."""

import ast
import io
import os
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "robustbench_aigen"
DOCUMENTS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "docs" / "tutorials").glob("*.md")),
]
GENERATED = sorted((REPOSITORY / "docs" / "reference").glob("*.md"))
"""Pages of texts from docstrings, recipes and options."""
RECIPES = [
    path
    for folder in ("attacks", "scenarios", "robustbench_aigen/training/recipes")
    for path in sorted((REPOSITORY / folder).glob("*.yaml"))
]
PYTHON = [*sorted(PACKAGE.rglob("*.py")), *sorted((REPOSITORY / "examples").glob("*.py"))]
PHRASES = {
    r"so much\b": "the quantity: 'this many units', 'up to 3 points'",
    r"in so many\b": "the number: 'in COUNT columns'",
    r"what is left\b": "the noun: 'the remaining images', 'the accuracy under attack'",
    r"(?:is|are|was|were) (?-i:none)\b": "'is not a …', or 'there is no …'",
    r"(?:stands? (?:in|there|beside|behind|around|still|inside)|stood)\b": "'replaces', 'is in', 'is beside', 'makes no progress'",
    r"held (?:for|against)\b": "'regarded as', 'compared with'",
    r"(?:hand(?:s|ed)? (?:on|over|back|out))\b": "'passes', 'copies', 'returns'",
    r"tak(?:e|es|en|ing) over\b": "'copies', 'uses', 'reads'",
    r"(?:tell|tells|told|telling)(?: [\w*`']+){0,6} apart\b": "'distinguishes', 'separates'",
    r"speaks? (?:of|for|against)\b": "'concerns', 'supports', 'contradicts'",
    r"look(?:s|ed|ing)? into\b": "'reads', 'examines'",
    r"ask(?:s|ed)? for(?! `)\b": "'requested', 'given', 'required'; for messages name the key to write",
    r"(?:go|goes|gone|going) on\b": "'continues', 'resumes'",
    r"(?:comes? to what|came of|comes? of)\b": "'the result of'",
    r"(?:anew|afresh)\b": "'again', or 'new'",
    r"(?:whoever|nobody|somebody|anybody)\b": "the noun: 'the user', 'the caller', 'no setting'",
    r"lets? go of\b": "'releases', 'discards'",
    r"for want of\b": "'without', 'because … is missing'",
    r"at fault\b": "'is wrong', 'causes the error'",
    r"made ready\b": "'prepared'",
    r"(?:more than|no more than|as|beyond|of) luck\b": "'significant', 'by chance'",
    r"(?:says? so|say what it|says? otherwise)\b": "the statement itself",
    r"as (?:it|they) (?:came|come|was meant|were meant)\b": "'unchanged', 'the original'",
    r"(?<!there )(?:is|are) no (?:number|file|image|path|grid|picture|model|class|baseline|layout|data|photograph|tensor|weight|weights|smooth|value|text|folder|list)\b": "'is not a …'",
    r"of one's own\b": "'the user's', 'another'",
    r"the (?:wrong|right|other) way round\b": "'swapped', 'in the wrong order'",
    r"turn(?:s|ed)? (?:it )?round\b": "'reverses'",
    r"(?:the ones|this one)\b": "the noun again: 'this detector', 'the other images'",
    r"mend(?:s|ed)?\b": "'fix', 'correct'",
    r"(?:what there is|what is there)\b": "the noun: 'the existing files'",
    r"gets? (?:\w+ ){0,3}right\b": "'judges right'",
    r"once more\b": "'again'",
    r"tangle\b": "the plain word",
    r"(?:whatever|wherever)\b": "'any', 'every', 'in any …'",
    r"look(?:s|ed)? at\b": "'reads', 'examines', 'checks'",
    r"what (?:a|the) (?:user|scenario|card|file|name|caller)s? (?:says?|said)(?: of)?\b": "'the keys of the scenario', 'the declared …'",
    r"as far as (?:it|they|that|its|their)\b": "the condition itself: 'if known'",
    r"comes? out at\b": "'is'",
    r"no number any more\b": "'is NaN or infinite'",
    r"dies? away\b": "'fades', 'decreases'",
}
"""Phrases that may not come back, each with what to write instead."""
ALLOWED = ("An in depth look at Facebook's new photo service",)  # The title of a source.
FINITE_VERBS = {"is", "are", "was", "were", "has", "have", "does", "do", "can", "will", "may", "must", "should", "makes", "leaves", "says", "gets", "goes", "comes", "needs", "takes"}  # fmt: skip
QUESTION_WORDS = {"what", "how", "why", "when", "who", "where"}
PARAGRAPH_LINES, SENTENCE_WORDS, MESSAGE_WORDS = 6, 30, 30
ERRORS = {
    "UserError",
    "StageError",
    "ParameterError",
    "RefusedFileError",
    "UnreadableImageError",
    "NeedsTrustError",
}
NAMES = {
    "HDF5", "JPEG", "Keras", "ONNX", "PNG", "PIL", "Parquet", "Pillow", "PostScript", "TorchScript", "WebDataset", "YAML"
}  # fmt: skip
"""Proper names that a message may begin with."""


class Text(NamedTuple):
    """A text of the repository, and its place."""

    file: Path
    line: int
    text: str

    @property
    def place(self) -> str:
        return f"{os.path.relpath(self.file, REPOSITORY)}:{self.line}"


def literal(node: ast.expr) -> str:
    """Return the text of a string literal; values in braces become ``…``."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def python_texts(file: Path) -> Iterator[Text]:
    """Yield every string with a space, docstrings included, and every comment of a Python file."""
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    parts = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and id(node) not in parts):
            text = literal(node)
            if " " in text:
                yield Text(file, node.lineno, text)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(file, token.start[0], token.string)


def lines_of(file: Path) -> Iterator[Text]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        yield Text(file, number, line)


def phrase_faults(texts: Iterable[Text]) -> Iterator[str]:
    """Yield the phrases that may not come back, each with its place and with what to write instead."""
    for text in texts:
        content = text.text
        for title in ALLOWED:
            content = content.replace(title, "…")
        for phrase, instead in PHRASES.items():
            for found in re.finditer(rf"\b{phrase}", content, re.IGNORECASE):
                line = text.line + content[: found.start()].count("\n")
                yield f"{text._replace(line=line).place}: '{found[0]}': write {instead}"


def messages(file: Path) -> Iterator[tuple[str, Text]]:
    """Yield the messages and the hints of a file's errors, each with ``message`` or ``hint``."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
            yield "message", Text(file, node.lineno, literal(node.args[0]))
        for keyword in node.keywords:
            if keyword.arg == "hint":
                yield "hint", Text(file, node.lineno, literal(keyword.value))


def blocks(file: Path) -> Iterator[Text]:
    """Yield the paragraphs and list items of a document; headings, tables and code are left out."""
    start, lines, in_code = 0, [], False
    for text in [*lines_of(file), Text(file, 0, "")]:
        line = text.text.removeprefix("> ")
        is_fence = line.lstrip().startswith("```")
        is_item = re.match(r"\s*(?:[-*]|\d+\.) ", line)
        if lines and (is_fence or is_item or not line.strip() or line.startswith(("#", "|"))):
            yield Text(file, start, "\n".join(lines))
            lines = []
        in_code ^= is_fence
        if in_code or is_fence or not line.strip() or line.startswith(("#", "|", "    ")):
            continue
        start = start if lines else text.line
        lines.append(line)


def sentences(block: str) -> list[str]:
    """Return the sentences of a paragraph; code is a word, and a link is its text."""
    plain = re.sub(r"`[^`]*`", "Code", " ".join(block.split()))
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", plain).replace("et al.", "et al").replace("**", "")
    return re.split(r"(?<=[.!?])\s+|(?<=:) (?=[A-Z])", plain)


def heading_faults(file: Path) -> Iterator[str]:
    """Yield the headings of a document that are questions or clauses."""
    in_code = False
    for text in lines_of(file):
        in_code ^= text.text.startswith("```")
        if in_code or not text.text.startswith("#"):
            continue
        words = re.sub(r"`[^`]*`", "Code", text.text.lstrip("# ")).lower().split()
        if words[0] in QUESTION_WORDS or text.text.endswith("?"):
            yield f"{text.place}: {text.text} (a question; name the subject)"
        elif set(words[1:]) & FINITE_VERBS:
            yield f"{text.place}: {text.text} (a clause; write a noun phrase or an imperative)"


def message_faults(file: Path) -> Iterator[str]:
    """Yield the messages and hints of a file's errors that break a rule."""
    for kind, text in messages(file):
        message = text.text.strip()
        first = re.match(r"[A-Za-z0-9]+", message)
        if message.endswith(".") and not message.endswith(".."):
            yield f"{text.place}: no full stop at the end: {message}"
        if first and first[0][0].isupper() and not first[0].isupper() and first[0] not in NAMES:
            yield f"{text.place}: begin in lower case, or with a name or a quote: {message}"
        if kind == "message" and len(message.split()) >= MESSAGE_WORDS:
            yield f"{text.place}: {MESSAGE_WORDS} words or more: {message}"


@pytest.mark.parametrize("file", [*DOCUMENTS, *GENERATED], ids=lambda file: file.name)
def test_documents_have_no_odd_phrases(file):
    assert not list(phrase_faults(lines_of(file)))


def test_recipes_and_scenarios_have_no_odd_phrases():
    assert not list(phrase_faults(line for file in RECIPES for line in lines_of(file)))


def test_python_files_have_no_odd_phrases():
    assert not list(phrase_faults(text for file in PYTHON for text in python_texts(file)))


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_paragraphs_and_sentences_are_short(file):
    long = [text.place for text in blocks(file) if text.text.count("\n") >= PARAGRAPH_LINES]
    assert not long, f"more than {PARAGRAPH_LINES} lines; split or cut: {', '.join(long)}"
    wordy = [
        f"{text.place}: {sentence}"
        for text in blocks(file)
        for sentence in sentences(text.text)
        if len(sentence.split()) > SENTENCE_WORDS
    ]
    assert not wordy, f"more than {SENTENCE_WORDS} words; make two sentences"


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_headings_are_noun_phrases_or_imperatives(file):
    assert not list(heading_faults(file))


def test_messages_are_one_short_phrase():
    assert not [fault for file in sorted(PACKAGE.rglob("*.py")) for fault in message_faults(file)]


@pytest.mark.parametrize(
    ("text", "is_odd"),
    [
        ("so much work begins", True),
        ("the list is none", True),
        ("returns None, which is None", False),
        ("nobody tells them apart", True),
        ("the images are separated by size", False),
    ],
)
def test_odd_phrases_are_found(text, is_odd):
    assert bool(list(phrase_faults([Text(REPOSITORY / "README.md", 1, text)]))) is is_odd


def test_faults_of_a_document_are_found(tmp_path):
    file = tmp_path / "page.md"
    code, table = "\n```\n# What?\n" + "x\n" * 9 + "```\n", "\n| a |\n|---|\n"
    file.write_text(
        "# What a run leaves\n## The gate is strict\n\n- one\n  two\n\n" + "a b\n" * 7 + code + table
    )
    assert [text.text.count("\n") + 1 for text in blocks(file)] == [2, 7]
    assert [fault.partition(": ")[2] for fault in heading_faults(file)] == [
        "# What a run leaves (a question; name the subject)",
        "## The gate is strict (a clause; write a noun phrase or an imperative)",
    ]
    assert sentences("One `a b c` is [two](x.md). `a` (Wang et al. 2020) four: Five.") == [
        "One Code is two.", "Code (Wang et al 2020) four:", "Five."
    ]  # fmt: skip


def test_faults_of_a_message_are_found(tmp_path):
    file = tmp_path / "code.py"
    file.write_text(
        'UserError("No such file.", hint=f"Give {it}")\nUserError(f"{name} has no \'x\'", hint="JPEG or PNG")\n'
    )
    assert [fault.partition(": ")[2] for fault in message_faults(file)] == [
        "no full stop at the end: No such file.",
        "begin in lower case, or with a name or a quote: No such file.",
        "begin in lower case, or with a name or a quote: Give …",
    ]
