"""
The words of TF_CLI_ARGS, as Terraform splits them.

It uses a Go library, go-shellwords, whose words are not a shell's: a backslash takes the next sign as it is, between
double quotes too; an operator (`;`, `&`, `|`, `<`, `>`) ends the line, and what follows is dropped in silence. Its
versions differ: Terraform 1.11 has another one than OpenTofu 1.6, and later ones have others. What they do not read
alike is read here as well as one can, and called doubtful. tests/terraform/test_shell_words.py asks the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfguard.text import valid

_SPACES = " \t\r\n"
_OPERATORS = ";&|<>"
_DIGITS = "0123456789"


@dataclass(frozen=True)
class ShellWords:
    """
    What a variable says. `is_refused`: Terraform calls it an invalid command line, and runs nothing. `is_doubtful`: it
    depends on the version whether Terraform reads just these words.
    """

    words: tuple[str, ...] = ()
    is_refused: bool = False
    is_doubtful: bool = False

    @property
    def is_certain(self) -> bool:
        """Whether Terraform reads exactly these words."""
        return not (self.is_refused or self.is_doubtful)


def split(text: str) -> ShellWords:
    """Split the value of TF_CLI_ARGS or one of its kin. Never fails."""
    return _Reader().read(valid(text))  # Go reads U+FFFD where there is no UTF-8.


class _Reader:
    def __init__(self) -> None:
        self._words: list[str] = []
        self._word: str | None = None
        self._has_plain_sign = False
        self._quote = ""
        self._is_doubtful = False

    def read(self, text: str) -> ShellWords:
        signs = iter(text)
        for sign in signs:
            if sign == "\\" and self._quote != "'":
                following = next(signs, "")
                if not following:
                    return self._refused()
                self._is_doubtful |= following in "tn"  # Later versions make a tab and a line end of these.
                self._word = (self._word or "") + following
            elif self._quote:
                self._read_quoted(sign)
            elif sign in "'\"":
                self._quote, self._word = sign, self._word or ""
            elif sign in _SPACES:
                self._end_word()
            elif sign in _OPERATORS:
                self._end_at(sign)
                break
            elif sign == "(" and not (self._word or "").endswith("$") and not self._is_doubtful:
                return self._refused()
            else:
                self._is_doubtful |= sign in "`()"
                self._add(sign)
        if self._quote:
            return self._refused()
        self._end_word()
        return ShellWords(tuple(self._words), is_doubtful=self._is_doubtful)

    def _add(self, sign: str) -> None:
        self._word = (self._word or "") + sign
        self._has_plain_sign |= sign not in _SPACES

    def _read_quoted(self, sign: str) -> None:
        if sign == self._quote:
            self._quote = ""
        else:
            self._add(sign)

    def _end_word(self) -> None:
        if self._word is not None:
            # OpenTofu 1.6 drops an empty word, and one of blanks and of what a backslash took.
            self._is_doubtful |= not self._has_plain_sign
            self._words.append(self._word)
        self._word, self._has_plain_sign = None, False

    def _end_at(self, operator: str) -> None:
        if operator == ">" and self._word and self._word[0] in _DIGITS:  # `2>`: the number is no word.
            self._is_doubtful |= any(sign not in _DIGITS for sign in self._word)
            self._word = None

    def _refused(self) -> ShellWords:
        return ShellWords(tuple(self._words), is_refused=True, is_doubtful=self._is_doubtful)
