"""What Google has to allow for one state: the least, for who plans and for who applies."""

from __future__ import annotations

import pytest

from tfguard.bootstrap.roles import roles
from tfguard.errors import ConfigError

BELOW = 'resource.name.startsWith("projects/_/buckets/b/objects/app/")'


def test_who_plans_may_write_the_lock_and_the_line_and_no_state() -> None:
    plan = roles({"bucket": "b", "prefix": "/app"})["plan"]

    writing = [each for each in plan if "storage.objects.create" in each["permissions"]]

    assert [each["condition"] for each in writing] == [
        f'{BELOW} && (resource.name.endsWith(".tflock") || resource.name.endsWith(".tfguard"))'
    ]
    assert "storage.objects.update" in writing[0]["permissions"], "a heartbeat changes metadata"


def test_who_applies_may_write_below_the_prefix_and_nowhere_else() -> None:
    apply = roles({"bucket": "b", "prefix": "app"})["apply"]

    assert all(BELOW in each["condition"] for each in apply)
    assert any(each["condition"] == BELOW and "storage.objects.create" in each["permissions"] for each in apply)


def test_a_backend_without_a_bucket_has_none() -> None:
    with pytest.raises(ConfigError, match="names no bucket"):
        roles({})
