"""A backend's attributes, as Terraform's files have them: read with their types checked, whichever backend it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfguard.durations import parse_duration
from tfguard.errors import ConfigError

#: What Terraform makes of a text where true or false is wanted.
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class MissingAttribute(ConfigError):
    """The backend cannot do without an attribute that nothing gives: `init` may be told it elsewhere."""


class Attributes:
    """
    A backend's configuration, read with its types checked. For messages, `source` names the file and `advice` says how
    to correct it; values never show.

    Every method raises:
        ConfigError: The attribute has another type than Terraform would have written.
    """

    def __init__(self, config: Mapping[str, Any], source: str, advice: str = "Run: tfguard init -reconfigure") -> None:
        self._config = config
        self._source = source
        self._advice = advice

    def _wrong(self, name: str) -> ConfigError:
        return ConfigError(f"{self._source}: `{name}` is not what Terraform writes.\n{self._advice}")

    def is_given(self, name: str) -> bool:
        """Whether the attribute is set, be it to an empty text."""
        return self._config.get(name) is not None

    def text(self, name: str) -> str:
        """Return an attribute as text, empty where it is unset."""
        value = self._config.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(name)
        return value

    def required(self, name: str) -> str:
        """Return an attribute that the backend cannot do without. Raises MissingAttribute."""
        value = self.text(name)
        if not value:
            raise MissingAttribute(f"{self._source}: the backend has no `{name}`.\n{self._advice}")
        return value

    def flag(self, name: str) -> bool | None:
        """Return a boolean, None where it is unset."""
        value = self._config.get(name)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str) and value in _FLAGS:
            return _FLAGS[value]
        raise self._wrong(name)

    def seconds(self, name: str) -> int:
        """Return a duration, written as text (`1h`) or as a number of seconds; 0 where it is unset."""
        value = self._config.get(name)
        if value is None or value == "":
            return 0
        try:
            return int(parse_duration(value) if isinstance(value, str) and not value.isdecimal() else value)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._wrong(name) from error

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list or set of texts."""
        value = self._config.get(name)
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name)
        return tuple(value)

    def pairs(self, name: str) -> dict[str, str]:
        """Return a map of texts."""
        value = self._config.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for pair in value.items() for item in pair):
            raise self._wrong(name)
        return dict(value)

    def block(self, name: str) -> Attributes | None:
        """Return a nested block, written as an object or as a list of one; None where it is unset or empty."""
        value = self._config.get(name)
        if isinstance(value, (list, tuple)) and len(value) <= 1:
            value = value[0] if value else None
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(name)
        return Attributes(value, self._source, self._advice)
