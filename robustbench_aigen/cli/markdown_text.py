"""A Markdown report of this package on the terminal: headings, paragraphs, and tables that fit."""

import re
from itertools import groupby, pairwise

from robustbench_aigen.cli.console import print_table, say

_CELL_ENDS = re.compile(r"(?<!\\)(?:\\\\)*\|")


def print_markdown(text: str) -> None:
    """Print a report as it was written by :mod:`robustbench_aigen.views.formats.markdown`."""
    import pandas as pd

    for is_table, group in groupby(text.splitlines(), lambda line: line.startswith("|")):
        lines = list(group)
        if not is_table:
            for line in lines:
                heading = re.match(r"#+ ", line)
                say(plain(line[heading.end() :] if heading else line), style="bold" if heading else "")
            continue
        titles, _, *rows = [_cells(line) for line in lines]
        print_table(pd.DataFrame(rows, columns=titles))


def plain(text: str) -> str:
    r"""Return Markdown without its marks and escapes.

    >>> plain(r"**pgd\[eps=1/255\]** &amp; `ok`")
    'pgd[eps=1/255] & ok'
    """
    text = re.sub(r"(?<!\\)(\*\*|`|\*(?=\S))", "", text)
    return re.sub(r"\\([\\`*_\[\]<>|#~$!])", r"\1", text).replace("&amp;", "&")


def _cells(line: str) -> list[str]:
    ends = [match.end() for match in _CELL_ENDS.finditer(line)]
    return [plain(line[start : end - 1].strip()) for start, end in pairwise(ends)]
