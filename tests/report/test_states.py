"""What is said of a state that Terraform could not save: the command fetches it from wherever its copy is."""

from __future__ import annotations

import pytest

from tfguard.report.messages.phrases import Subject
from tfguard.report.messages.states import fetching

_AZ = "az storage blob download --auth-mode login"
_LOGIN = '-u "$TF_HTTP_USERNAME:$TF_HTTP_PASSWORD"'


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("/srv/app/errored", "cp /srv/app/errored errored.tfstate"),
        ("s3://b/app.errored.1", "aws s3 cp s3://b/app.errored.1 errored.tfstate"),
        ("gs://b/app.errored.1", "gcloud storage cp gs://b/app.errored.1 errored.tfstate"),
        ("consul://h:1/app/x", "consul kv get app/x > errored.tfstate"),
        (
            "azblob://acct/states/.tfguard/a.errored.1",
            f"{_AZ} --account-name acct -c states -n .tfguard/a.errored.1 -f errored.tfstate",
        ),
        ("https://h/state/app-x-1", f"curl -fsS {_LOGIN} https://h/state/app-x-1 -o errored.tfstate"),
        ("http://h/state/app-x-1", f"curl -fsS {_LOGIN} http://h/state/app-x-1 -o errored.tfstate"),
    ],
)
def test_the_command_fetches_a_copy_from_where_it_is(place: str, command: str) -> None:
    assert fetching(place) == command


def test_the_command_that_frees_a_lock_has_all_of_its_id() -> None:
    lock_id = f"{'o' * 40}/{'w' * 90}"

    assert Subject("prod", "tfguard -p prod").unlock(lock_id) == f"tfguard -p prod unlock --id {lock_id}"
