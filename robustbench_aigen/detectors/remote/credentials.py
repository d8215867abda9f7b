"""Values of environment variables in a request, and texts without these values."""

import base64
import html
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from robustbench_aigen.errors import Source, UserError
from robustbench_aigen.scenario.http_spec import VARIABLE, is_credential

MASK = "***"
_SHORTEST = 4
"""Shorter values are refused as credentials, because masking them would damage other words."""


class Credentials:
    """The environment variables that a request uses.

    Parameters
    ----------
    values
        The values by name, as read by :func:`read_variables`.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        forms: set[str] = set()
        for value in self._values.values():
            # "Basic ${MY_LOGIN}" may be written as one variable with a space in it.
            for part in {value, *value.split()}:
                if len(part) >= _SHORTEST:
                    encoded = base64.b64encode(part.encode()).decode()
                    # Escapes of single characters are in the pattern; a space may also be a plus.
                    forms |= {part, part.replace(" ", "+"), encoded, encoded.rstrip("=")}
        longest_first = sorted(forms, key=len, reverse=True)
        self._secret = re.compile("|".join(map(_escaped, longest_first))) if forms else None

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self._values))})"

    def filled(self, value: Any, *, in_address: bool = False) -> Any:
        """Return a value of JSON with the variables replaced; in an address they are percent-encoded."""
        if isinstance(value, str):
            return VARIABLE.sub(
                lambda found: (
                    quote(self._values[found[1]], safe="") if in_address else self._values[found[1]]
                ),
                value,
            )
        if isinstance(value, dict):
            return {key: self.filled(below) for key, below in value.items()}
        return [self.filled(below) for below in value] if isinstance(value, list) else value

    def settings_filled(self, value: Any, name: str = "") -> Any:
        """Return a value of JSON with the variables replaced, except where a name is that of a credential.

        ``name`` is the name of the value.
        """
        if isinstance(value, dict):
            return {key: self.settings_filled(below, key) for key, below in value.items()}
        if isinstance(value, list):
            return [self.settings_filled(below, name) for below in value]
        return value if is_credential(name) else self.filled(value)

    def masked(self, text: str) -> str:
        """Return a text without the values."""
        return text if self._secret is None else self._secret.sub(MASK, text)

    def masked_json(self, value: Any) -> Any:
        """Return a value of JSON without the values in its texts and numbers."""
        if isinstance(value, str):
            return self.masked(value)
        if isinstance(value, dict):
            return {self.masked(key): self.masked_json(below) for key, below in value.items()}
        if isinstance(value, list):
            return [self.masked_json(below) for below in value]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return MASK if is_number and self.masked(str(value)) != str(value) else value


def _escaped(text: str) -> str:
    r"""Return a pattern for a text whose characters may be escaped, as by JSON, HTML and addresses.

    >>> re.findall(_escaped("a/b"), r"a/b a\/b a%2fb a\u002fb a&#47;b a-b")
    ['a/b', 'a\\/b', 'a%2fb', 'a\\u002fb', 'a&#47;b']
    """
    return "".join(map(_escaped_character, text))


def _escaped_character(character: str) -> str:
    number, plain = ord(character), re.escape(character)
    # Numbers of repetitions are bounded: a text of backslashes alone takes no longer than others.
    forms = [
        plain,
        rf"\\\\{{0,3}}{plain}",
        rf"%(?:25){{0,2}}(?i:{number:02x})",
        rf"\\\\{{0,3}}u(?i:{number:04x})",
        rf"&#0{{0,6}}{number};",
        rf"&#[xX]0{{0,6}}(?i:{number:x});",
    ]
    if len(html.escape(character)) > 1:
        forms.append(html.escape(character))
    return f"(?:{'|'.join(forms)})"


def read_variables(texts: Iterable[tuple[str, str, Source | None]]) -> Credentials:
    """Return the environment variables that some texts name.

    Parameters
    ----------
    texts
        Texts with references such as ``${MY_TOKEN}``, each with the name of its header, field or parameter, and its
        place in a file.

    Raises
    ------
    UserError
        If a variable is not set, has a character that a header cannot have, or is too short for a credential.
    """
    values: dict[str, str] = {}
    for place, text, source in texts:
        for name in VARIABLE.findall(text):
            # Files of secrets end in a line feed.
            value = os.environ.get(name, "").strip()
            if not value:
                raise UserError(
                    f"the environment variable {name} is not set", source=source, hint=f"export {name}=…"
                )
            if not (value.isascii() and value.isprintable()):
                raise UserError(
                    f"the environment variable {name} has a character that is not printable ASCII",
                    source=source,
                    hint=f"export {name}=… without line breaks",
                )
            if len(value) < _SHORTEST and is_credential(place):
                raise UserError(
                    f"the environment variable {name} has fewer than {_SHORTEST} characters: too short for a credential that is masked",
                    source=source,
                    hint=f"export {name}=… with the whole credential",
                )
            values[name] = value
    return Credentials(values)
