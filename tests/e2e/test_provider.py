"""
With a real provider: what it has created is in the state, whoever is signalled in whatever order, frozen or not.

Needs a Terraform filesystem mirror with hashicorp/aws: a folder named `tf-plugins` in one of the usual places, or named
by TFGUARD_TF_PLUGINS. Without one these tests are skipped; `test_signals` has the same rows with a stand-in.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ACCESS_KEY, REGION, SECRET_KEY
from tests.e2e.conftest import TFGUARD, Stage
from tests.e2e.running import running
from tests.support.eventually import eventually
from tests.support.proxy import proxy

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PLACES = tuple(f"{place}/tf-plugins" for place in ("/opt", "/usr/share", "/usr/local/share", "~", "~/.terraform.d"))
QUEUES = 5
APPLY = ("apply", "-auto-approve", "-no-color")

CONFIGURATION = """
terraform {{
  required_providers {{
    aws = {{ source = "hashicorp/aws" }}
  }}
}}
provider "aws" {{
  region                      = "us-east-1"
  access_key                  = "testkey"
  secret_key                  = "testsecret"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  endpoints {{ sqs = "{endpoint}" }}
}}
resource "aws_sqs_queue" "q" {{
  count = {queues}
  name  = "q-${{count.index}}-{suffix}"
}}
"""


def mirror() -> str:
    """The mirror's path, empty where there is none."""
    candidates = [os.environ.get("TFGUARD_TF_PLUGINS", ""), *PLACES]
    for place in (Path(each).expanduser() for each in candidates if each):
        if list(place.glob("**/hashicorp/aws")):
            return str(place)
    return ""


MIRROR = mirror()
needs_provider = pytest.mark.skipif(not MIRROR, reason="no filesystem mirror with hashicorp/aws (TFGUARD_TF_PLUGINS)")


@pytest.fixture
def queues(stage: Callable[..., Stage], tmp_path: Path) -> Callable[..., Stage]:
    """A directory that creates queues with the real AWS provider, against the emulator."""

    def make(*, lock_endpoint: Callable[[str], str] = lambda endpoint: endpoint) -> Stage:
        made = stage("dynamodb", is_initialised=False)
        made.endpoints["dynamodb"] = lock_endpoint(made.endpoints["dynamodb"])
        suffix = tmp_path.name.replace("_", "-")[-20:]
        made.write(CONFIGURATION.format(endpoint=made.s3.endpoint, queues=QUEUES, suffix=suffix))
        rc = tmp_path / "terraformrc"
        rc.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{MIRROR}"\n  }}\n}}\n')
        made.environ["TF_CLI_CONFIG_FILE"] = str(rc)
        made.environ["SUFFIX"] = suffix
        return made.init()

    return make


def created(made: Stage) -> set[str]:
    """The queues that exist."""
    urls = _sqs(made.s3.endpoint).list_queues().get("QueueUrls", [])
    return {url.rsplit("/", 1)[-1] for url in urls if made.environ["SUFFIX"] in url}


@functools.cache
def _sqs(endpoint: str) -> Any:
    import botocore.session

    return botocore.session.get_session().create_client(
        "sqs",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )


def known(made: Stage) -> set[str]:
    """The queues that the state knows of."""
    instances = [each for resource in (made.state() or {}).get("resources", []) for each in resource["instances"]]
    return {each["attributes"]["name"] for each in instances}


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    front = psutil.Process(process.pid)
    return sorted([front, *front.children(recursive=True)], key=lambda each: each.pid)


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@needs_provider
@pytest.mark.long
def test_sigterm_to_every_process_highest_pid_first_loses_no_resource(queues: Callable[..., Stage]) -> None:
    made = queues()
    with running(made.start([*TFGUARD, *APPLY], TFGUARD_SENTINEL="1")) as ours:
        signal_everybody(made, ours.process)
        result = ours.end()

    assert known(made) == created(made), str(result)
    assert len(created(made)) == QUEUES
    eventually(lambda: made.locks() == [], 15, "the lock's release")


def signal_everybody(made: Stage, process: subprocess.Popen[str]) -> None:
    """SIGTERM to all once the queues are there, the highest PID first, up to 6 s for each to go."""
    eventually(lambda: len(created(made)) == QUEUES, 60, "the queues' creation")
    provider = eventually(
        lambda: next((each for each in family(process) if each.name().startswith("terraform-prov")), None),
        20,
        "provider",
    )
    eventually(lambda: family(process)[-1].pid > provider.pid, 10, "a sentinel above the provider")

    for each in reversed(family(process)):
        with contextlib.suppress(psutil.Error):
            each.terminate()
            began = time.monotonic()
            while is_alive(each) and time.monotonic() - began < 6:
                time.sleep(0.1)


@needs_provider
def test_a_provider_with_open_connections_is_frozen_and_goes_on(queues: Callable[..., Stage]) -> None:
    with contextlib.ExitStack() as opened:
        between = []

        def through(endpoint: str) -> str:
            between.append(opened.enter_context(proxy(endpoint)))
            return between[0].endpoint

        made = queues(lock_endpoint=through)
        ours = opened.enter_context(running(made.start([*TFGUARD, *APPLY], TFGUARD_LOCK_LEASE="15s")))
        eventually(lambda: len(created(made)) == QUEUES, 90, "the queues' creation")
        between[0].turn("hang")
        frozen = eventually(lambda: stopped(ours.process), 30, "the freeze of Terraform and its provider")
        time.sleep(4)
        between[0].turn("pass")
        result = ours.end()

    assert frozen
    assert known(made) == created(made), str(result)
    eventually(lambda: made.locks() == [], 15, "the lock's release")


def stopped(process: subprocess.Popen[str]) -> bool:
    named = [each for each in family(process) if each.name().startswith("terraform")]
    return len(named) >= 2 and all(each.status() == psutil.STATUS_STOPPED for each in named)
