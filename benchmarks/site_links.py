"""Hook of the documentation site: links that leave ``docs/``, and the roles of docstrings.

mkdocs calls the functions (``hooks:`` in ``mkdocs.yml``). On a repository's host, the pages link to files outside
``docs/``. On the site, such a link leads to ``repo_url`` of ``mkdocs.yml``. Without ``repo_url``, the link becomes text
with the path in the repository.
"""

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(
    r"^```.*?^```$|(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)|`[^`\n]+`",
    re.MULTILINE | re.DOTALL,
)
"""Links; code is matched as well, and is left as it is."""
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):<code>~?([^<]*)</code>")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: object) -> str:
    """Return the text of a page with the links that work on the site."""
    docs, place = Path(config["docs_dir"]).resolve(), Path(page.file.abs_src_path).parent
    return with_site_links(markdown, docs, place.resolve(), config["repo_url"])


def on_page_content(html: str, **_: object) -> str:
    """Return a page without the roles of Sphinx in docstrings: their names alone."""
    return _ROLE.sub(r"<code>\1</code>", html)


def with_site_links(markdown: str, docs: Path, place: Path, repository: str | None) -> str:
    """Return a page's text with other links in place of those that leave the folder of the pages.

    Parameters
    ----------
    markdown
        The text of the page.
    docs, place
        The folder of all pages, and the folder of the page.
    repository
        The address of the repository; without one, such links become text.
    """

    def changed(link: re.Match[str]) -> str:
        target = link["target"]
        if target is None or "://" in target or target.startswith("mailto:"):
            return link[0]
        file = (place / target).resolve()
        if file.is_relative_to(docs):
            return link[0]
        path = file.relative_to(docs.parent).as_posix() + "/" * file.is_dir()
        if repository:
            kind = "tree" if file.is_dir() else "raw" if link["image"] else "blob"
            address = f"{repository.rstrip('/')}/{kind}/main/{path}{link['anchor'] or ''}"
            return f"{link['image']}[{link['text']}]({address})"
        return link["text"] if path.strip("/") in link["text"] else f"{link['text']} (`{path}`)"

    return _LINK.sub(changed, markdown)
