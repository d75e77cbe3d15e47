"""
Terraform's language taken apart, as far as one must to tell blocks and plain values from everything else.

No more is understood than where a comment, a text or a heredoc ends. Every character is looked at once: what has no end
goes on to the end of its line, or of the file, and Terraform says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from tfguard.wire import publish

#: *broken*: a text, a comment or a heredoc without an end. *sign*: any other character; line ends are signs.
Kind = Literal["word", "number", "text", "heredoc", "broken", "sign"]
Token = tuple[Kind, str]

_COMMENT = re.compile(r"\#[^\n]*|//[^\n]*|/\*")
_SPACE = re.compile(r"[^\S\n]+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_CLOSED_BY = {"{": "}", "[": "]", "(": ")"}
_CLOSING = frozenset(_CLOSED_BY.values())
_WORD = re.compile(r"[^\W\d][\w-]*")
_HEREDOC = re.compile(r"<<-?(?P<mark>[\w-]+)")
#: What a text is made of, up to its end or to a template. `$${` and `%%{` begin none.
_LETTERS = re.compile(r'(?:[^"\\$%\n]+|\\.|\$\$\{|%%\{|[$%](?!\{))*', re.DOTALL)
#: The same of a heredoc, in which nothing else is escaped.
_LINES = re.compile(r"(?:[^$%]+|\$\$\{|%%\{|[$%](?!\{))*")
#: What a template is made of, up to a text in it or to a brace.
_EXPRESSION = re.compile(r'[^"{}]*')


def tokens(source: str) -> Iterator[Token]:
    """Return what a file is made of, in order, each as it stands there; spaces and comments are left out."""
    at, last_line_at = 0, source.rfind("\n") + 1
    while at < len(source):
        if found := _SPACE.match(source, at) or _COMMENT.match(source, at):
            begin, at = at, _after(source, "*/", found.end()) if found[0] == "/*" else found.end()
            if at < 0:
                yield "broken", source[begin:]
                return
            continue
        kind, end = _token(source, at, last_line_at)
        yield kind, source[at:end]
        at = end


def _token(source: str, at: int, last_line_at: int) -> tuple[Kind, int]:
    """The kind of what begins here, and where it ends. On the last line no heredoc begins: it would have no lines."""
    if source[at] == '"':
        end, is_whole = _text(source, at)
        return ("text" if is_whole else "broken"), end
    if at < last_line_at and (found := _HEREDOC.match(source, at)):
        end = _heredoc(source, found)
        return ("heredoc", end) if end >= 0 else ("broken", len(source))
    if found := _NUMBER.match(source, at):
        return "number", found.end()
    if found := _WORD.match(source, at):
        return "word", found.end()
    return "sign", at + 1


def _text(source: str, at: int) -> tuple[int, bool]:
    """Where a text ends, and whether it does. It may hold templates, and those texts of their own."""
    return _closed(source, at + 1, '"')


def _closed(source: str, at: int, opening: str) -> tuple[int, bool]:
    """Where what `opening` has opened right before ends, a text or a template, and whether it does."""
    inside = [opening]
    while inside:
        part = (_LETTERS if inside[-1] == '"' else _EXPRESSION).match(source, at)
        assert part is not None, "both match nothing, too"
        at = part.end()
        sign = source[at : at + 1]
        if sign in ("", "\n", "\\"):
            return at + len(sign.strip()), False
        if inside[-1] != '"' and sign in ('"', "{"):
            inside.append(sign)
        elif sign in ("$", "%"):
            at += 1  # The brace is next.
            inside.append("{")
        else:
            inside.pop()
        at += 1
    return at, True


def template(inside: str, *, is_heredoc: bool = False) -> Iterator[tuple[bool, str]]:
    """
    Return the parts of a text: (False, letters as they stand there) or (True, the expression of a `${…}`).

    Raises:
        ValueError: There is a directive (`%{if …}`), or a template without an end.
    """
    at = 0
    while at < len(inside):
        letters = (_LINES if is_heredoc else _LETTERS).match(inside, at)
        assert letters is not None, "it matches nothing, too"
        if letters[0]:
            yield False, letters[0]
        at = letters.end()
        if at < len(inside):
            end, is_whole = _closed(inside, at + 2, "{")
            if not is_whole or inside[at] == "%":
                raise ValueError("not a template that stands for a value")
            yield True, inside[at + 2 : end - 1]
            at = end


def heredoc(word: str) -> str:
    """Return the lines of a heredoc, its templates as they stand there; `<<-` drops what all lines are indented by."""
    opening, _, rest = word.partition("\n")
    lines = [f"{line}\n" for line in rest.split("\n")[:-1]]
    if opening.startswith("<<-"):
        indented = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
        width = min(indented, default=0)
        lines = [line[width:] if line.strip() else line.lstrip(" \t") for line in lines]
    return "".join(lines)


def _heredoc(source: str, opening: re.Match[str]) -> int:
    """Where it ends; -1 where it does not."""
    closing = re.compile(rf"^[ \t]*{re.escape(opening['mark'])}(?=[ \t\r]*$)", re.MULTILINE)
    found = closing.search(source, source.index("\n", opening.end()))
    return found.end() if found else -1


def _after(source: str, mark: str, at: int) -> int:
    """Where the next mark ends; -1 where there is none."""
    found = source.find(mark, at)
    return found if found < 0 else found + len(mark)


def is_whole(source: str) -> bool:
    """Whether all that is opened in a file is closed, and git has not left two versions of something in it."""
    opened: list[str] = []
    before = ""
    for kind, word in tokens(source):
        if kind == "broken" or before + word == "<<":
            return False
        if word in _CLOSED_BY:
            opened.append(_CLOSED_BY[word])
        elif word in _CLOSING and (not opened or opened.pop() != word):
            return False
        before = word
    return not opened


def hcl(value: Any) -> str:
    """Write a plain value as an HCL expression on one line, in which nothing is a template."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{hcl(key)} = {hcl(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(hcl(item) for item in value) + "]"
    if isinstance(value, str):
        return _hcl_text(value)
    return publish(value).decode()


def terraform_variable(value: Any) -> str:
    """Return a variable's value as TF_VAR_* carries it: text as it is, everything else as an expression."""
    return value if isinstance(value, str) else hcl(value)


def _hcl_text(text: str) -> str:
    # HCL has fewer escapes than JSON, and reads ${ and %{ as templates.
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
    escaped = "".join(named.get(c) or (c if c.isprintable() or ord(c) > 0x9F else f"\\u{ord(c):04x}") for c in text)
    return '"' + escaped.replace("${", "$${").replace("%{", "%%{") + '"'
