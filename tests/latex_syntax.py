"""A strict reader of the LaTeX that reports write: what it does not know is an error."""

import re

_COMMANDS = {
    "documentclass", "usepackage", "IfFileExists", "sisetup", "extrafloats", "section", "par",
    "includegraphics", "caption", "label", "centering", "toprule", "midrule", "bottomrule", "addlinespace", "bfseries",
    "textbf", "textsuperscript", "linewidth", "textheight", "infty", "geq", "leq", "rightarrow", "ldots",
    *(f"text{name}" for name in (
        "backslash", "asciicircum", "asciitilde", "less", "greater", "bar", "quotedbl", "quotesingle", "asciigrave",
        "times", "periodcentered", "daggerdbl", "quoteright",
    )),
}  # fmt: skip
_ENVIRONMENTS = {"document", "table", "figure", "adjustbox", "tabular"}
_TOKEN = re.compile(r"\\[a-zA-Z]+\*?|\\.|[{}$&#^_~%]|[^\\{}$&#^_~%]+", re.DOTALL)


def check_latex(text: str) -> None:
    """Assert that environments, braces and columns are right, and that nothing special stands unescaped."""
    text = re.sub(r"(?m)^%.*\n", "", text)
    # A file of the report's own; any other is an error.
    text = re.sub(r"\\input\{tables/[a-z_]+\.tex\}", r"\\par", text)
    assert all(character == "\n" or character.isprintable() for character in text), "control characters"
    assert all(ord(character) < 256 for character in text), "a character that pdflatex has no letter for"
    tokens = _TOKEN.findall(text)
    assert "".join(tokens) == text
    _check_nesting(tokens)
    _check_columns(text)


def _check_nesting(tokens: list[str]) -> None:
    depth, maths = 0, False
    environments: list[tuple[str, int]] = []
    for place, token in enumerate(tokens):
        if token in "{}":
            depth += 1 if token == "{" else -1
            assert depth >= 0, "a brace is closed that was not opened"
        elif token in {r"\begin", r"\end"}:
            _check_environment(environments, token, "".join(tokens[place + 1 : place + 4]), depth)
        elif token in {r"\(", r"\)"}:
            assert maths == (token == r"\)")
            maths = not maths
        elif re.fullmatch(r"\\[a-zA-Z]+\*?", token):
            assert token[1:].rstrip("*") in _COMMANDS, token
        elif token == "&":
            assert environments[-1][0] == "tabular", "& outside a table"
        else:
            assert token not in set("$#^_~%"), f"{token} is not escaped"
    assert not environments
    assert (depth, maths) == (0, False)


def _check_environment(environments: list[tuple[str, int]], token: str, name: str, depth: int) -> None:
    name = name.strip("{}")
    assert name in _ENVIRONMENTS, name
    if token == r"\begin":
        environments.append((name, depth))
    else:
        assert environments, f"{name} is ended and was not begun"
        assert environments.pop() == (name, depth), name


def _check_columns(text: str) -> None:
    tables = re.findall(r"\\begin\{tabular\}\{@\{\} (.*?) @\{\}\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(tables) == text.count(r"\begin{tabular}")
    for specification, body in tables:
        columns = len(re.findall(r"(?:^| )(?:l|S\[[^]]*\])(?= |$)", specification))
        rows = re.sub(r"\\(toprule|midrule|bottomrule|addlinespace)\n", "", body).strip().split("\\\\\n")
        for row in rows:
            cells = re.split(r"(?<!\\)&", row.removesuffix("\\\\"))
            assert len(cells) == columns, f"{len(cells)} cells in {columns} columns: {row}"
