"""What a command tells its user beside results: information, and warnings that the results may be wrong."""

from collections.abc import Mapping
from typing import Literal, Self

Level = Literal["information", "warning"]


class Notice(str):
    """One line for the user.

    A notice is a string, so that whoever only prints or stores it need not know of levels. A plain string is
    information, unless it begins with ``warning:``.

    Attributes
    ----------
    level
        ``warning`` for what may make the numbers wrong, ``information`` for anything else.
    subject
        What the notice is about, a detector for example; empty where it is about the whole command.
    text
        The line without the subject.
    """

    __slots__ = ("level", "subject", "text")
    level: Level
    subject: str
    text: str

    def __new__(cls, text: str, level: Level | None = None, subject: str = "") -> Self:
        """Return a notice; one that is made of another keeps what is not given anew."""
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
        """Return the notice that :meth:`as_dict` was of."""
        level: Level = "warning" if content["level"] == "warning" else "information"
        return cls(content["text"], level, content["subject"])

    def as_dict(self) -> dict[str, str]:
        """Return what stands in ``run.json``."""
        return {"level": self.level, "subject": self.subject, "text": self.text}


def warning(text: str, subject: str = "") -> Notice:
    """Return a notice of something that may make the numbers wrong."""
    return Notice(text, "warning", subject)


def about(subject: str, text: str) -> Notice:
    """Return a notice about a detector or a source; a notice keeps its level, and both subjects stand in front.

    >>> about("mine.pt", "output 1 means fake")
    'mine.pt: output 1 means fake'
    """
    inner = text.subject if isinstance(text, Notice) else ""
    return Notice(text, subject=f"{subject}: {inner}" if inner else subject)
