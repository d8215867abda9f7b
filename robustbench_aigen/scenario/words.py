"""The words in a name: split at case, digits and punctuation, in any script."""

import os
import re
import shlex
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"u+(?!l)|u?l+|d+|o+")
"""A word in kinds of characters: upper and lower case, digits, letters of scripts that have no case."""


def printable(name: str | os.PathLike[str]) -> str:
    r"""Return a name or path as text that can be stored: bytes that are not UTF-8 become escapes.

    >>> printable("MJ_\udcb0")
    'MJ_\\xb0'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def storable(content: object) -> object:
    """Return JSON's content with every text in it as :func:`printable` writes it."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, dict):
        return {storable(key): storable(value) for key, value in content.items()}
    return [storable(value) for value in content] if isinstance(content, list | tuple) else content


def shell_word(word: str) -> str:
    r"""Quote a word for a shell; bytes that are not UTF-8 become escapes that bash and zsh read.

    >>> print(shell_word("my data"), shell_word("MJ_\udcb0"))
    'my data' $'MJ_\xb0'
    """
    escaped = printable(word.replace("\\", "\\\\").replace("'", "\\'"))
    return shlex.quote(word) if printable(word) == word else f"$'{escaped}'"


def folded(name: str) -> str:
    """Return the form in which two spellings of one name are equal: folded case, composition and edges."""
    return unicodedata.normalize("NFKC", name.strip()).casefold().replace("i̇", "i")


@lru_cache(maxsize=1 << 14)
def words_of(name: str) -> tuple[str, ...]:
    """Split a name into its words, in lower case.

    >>> words_of("AiArtData"), words_of("train2017"), words_of("0_real")
    (('ai', 'art', 'data'), ('train', '2017'), ('0', 'real'))
    """
    text = unicodedata.normalize("NFKC", name)
    kinds = "".join(map(_kind, text))
    # A mark belongs to the letter before it.
    kinds = re.sub(r"([ulo])m+", lambda found: found[1] * len(found[0]), kinds)
    return tuple(folded(text[found.start() : found.end()]) for found in _WORD.finditer(kinds))


def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Lu", "Ll", "Nd"):
        return {"Lu": "u", "Ll": "l", "Nd": "d"}[category]
    return {"L": "o", "M": "m"}.get(category[0], " ")
