"""Numbers with nouns in sentences: ``1 image``, ``2 images``."""


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun (and an optional verb) in the singular or plural.

    Parameters
    ----------
    count
        How many.
    one
        What one of them is called, a verb behind its noun perhaps: ``image is``.
    several
        What several are called, where that is not the singular with an s.

    >>> counted(1, "image"), counted(0, "image"), counted(2, "image is", "images are")
    ('1 image', '0 images', '2 images are')
    """
    return f"{count} {one if count == 1 else several or f'{one}s'}"
