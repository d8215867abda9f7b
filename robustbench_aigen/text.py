"""Numbers with nouns in sentences: ``1 image``, ``2 images``."""


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun (and an optional verb) in the singular or plural.

    Parameters
    ----------
    count
        The number.
    one
        The singular, perhaps with a verb: ``image is``.
    several
        The plural, if not the singular with an s.

    >>> counted(1, "image"), counted(0, "image"), counted(2, "image is", "images are")
    ('1 image', '0 images', '2 images are')
    """
    return f"{count} {one if count == 1 else several or f'{one}s'}"
