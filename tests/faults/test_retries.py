"""A request to a store is made once and given up in time: nothing of the user's own settings changes it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.faults.proxy import HANGS, LOST, Fate, refused
from tests.faults.scene import Scene, on_both_stores
from tests.support.eventually import patience
from tfguard.backends import open_store
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.net.times import BEAT
from tfguard.errors import StoreUnavailable

CONFIG = """
[default]
retry_mode = adaptive
max_attempts = 9
defaults_mode = in-region
"""


@pytest.fixture
def stubborn_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody who has told botocore in every way that there is to try again."""
    file = tmp_path / "aws-config"
    file.write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "10")
    monkeypatch.setenv("AWS_RETRY_MODE", "legacy")
    monkeypatch.setenv("AWS_DEFAULTS_MODE", "mobile")


@pytest.mark.parametrize(
    "fate", [LOST, refused("500"), refused("throttled"), HANGS], ids=["lost", "500", "throttled", "hangs"]
)
@pytest.mark.usefixtures("stubborn_user")
@on_both_stores
def test_a_request_is_made_once_whatever_the_users_own_settings_say(scene: Scene, fate: Fate) -> None:
    scene.proxy.always("all", fate)
    credentials = Credentials(scene.kind.spec.aws)
    store = open_store(msgspec.structs.replace(scene.kind.spec, endpoint=scene.proxy.endpoint), credentials)

    began = scene.clock.boottime()
    with pytest.raises(StoreUnavailable):
        store.read()
    took = scene.clock.boottime() - began
    store.close()
    credentials.close()

    assert len(scene.proxy.asked("read")) == 1
    assert took < patience(sum(BEAT))
