"""Notices of a command beside its results: information, and warnings that results may be wrong."""

from collections.abc import Mapping
from typing import Literal, Self

Level = Literal["information", "warning"]


class Notice(str):
    """One line for the user.

    A notice is a string, so code that prints or stores notices can ignore levels. A plain string is
    information, unless it begins with ``warning:``.

    Attributes
    ----------
    level
        ``warning`` if the numbers may be wrong, else ``information``.
    subject
        The subject, for example a detector; empty if the notice concerns the whole command.
    text
        The line without the subject.
    """

    __slots__ = ("level", "subject", "text")
    level: Level
    subject: str
    text: str

    def __new__(cls, text: str, level: Level | None = None, subject: str = "") -> Self:
        """Return a notice; a notice made from another keeps the level and subject that are not given."""
        if isinstance(text, Notice):
            level, subject, text = level or text.level, subject or text.subject, text.text
        elif level is None:
            level = "warning" if text[:8].lower() == "warning:" else "information"
        if level == "warning" and text[:8].lower() == "warning:":
            text = text[8:].strip()
        self = super().__new__(cls, f"{subject}: {text}" if subject else text)
        self.level, self.subject, self.text = level, subject, text
        return self

    @property
    def is_warning(self) -> bool:
        """Whether the numbers may be wrong."""
        return self.level == "warning"

    @classmethod
    def stored(cls, content: Mapping[str, str]) -> Self:
        """Return the notice that :meth:`as_dict` stored."""
        level: Level = "warning" if content["level"] == "warning" else "information"
        return cls(content["text"], level, content["subject"])

    def as_dict(self) -> dict[str, str]:
        """Return the entry of ``run.json``."""
        return {"level": self.level, "subject": self.subject, "text": self.text}


def warning(text: str, subject: str = "") -> Notice:
    """Return a warning: the numbers may be wrong."""
    return Notice(text, "warning", subject)


def about(subject: str, text: str) -> Notice:
    """Return a notice about a detector or a source; a notice keeps its level, and both subjects come first.

    >>> about("mine.pt", "output 1 means fake")
    'mine.pt: output 1 means fake'
    """
    inner = text.subject if isinstance(text, Notice) else ""
    return Notice(text, subject=f"{subject}: {inner}" if inner else subject)
