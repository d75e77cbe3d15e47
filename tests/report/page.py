"""A page as a reader sees it: its Markdown rendered as GitHub does, and the HTML taken apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

from markdown_it import MarkdownIt

_VOID = frozenset({"br", "hr", "img", "input", "meta", "link"})


@dataclass
class Element:
    """One element: its tag, its attributes, the text in it, and the tags it stands in, the outermost first."""

    tag: str
    attributes: dict[str, str]
    within: tuple[str, ...]
    text: str = ""


@dataclass
class Rendered(HTMLParser):
    """
    The elements in the order of the document. Whatever is not closed in order is noted in `broken`. `bare` is the text
    outside `code` and `pre`: there GitHub looks for `@names`, `#numbers` and addresses.
    """

    markdown: str
    elements: list[Element] = field(default_factory=list)
    bare: str = ""
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []
        self.feed(MarkdownIt("commonmark").enable("table").render(self.markdown))
        self.close()
        self.broken += [element.tag for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Element(tag, {name: value or "" for name, value in attrs}, tuple(each.tag for each in self._open))
        self.elements.append(made)
        if tag not in _VOID:
            self._open.append(made)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1].tag == tag:
            self._open.pop()
        else:
            self.broken.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data
        if not {"code", "pre"} & {element.tag for element in self._open}:
            self.bare += data

    @property
    def tags(self) -> set[str]:
        return {element.tag for element in self.elements}

    @property
    def outline(self) -> list[tuple[str, str]]:
        """The elements that stand in no other: tag and text."""
        return [(element.tag, element.text.strip()) for element in self.elements if not element.within]

    def all(self, tag: str, within: str = "") -> list[str]:
        """The texts of every element of that tag, or only of those within another."""
        return [each.text for each in self.elements if each.tag == tag and (not within or within in each.within)]
