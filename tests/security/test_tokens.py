"""A job's web identity token is its roles: no checkout may name both the file and the place that it goes to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_aws import FakeAws, fake_aws
from tfguard.backends.attributes import Attributes
from tfguard.backends.aws.attributes import aws_access
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.environ import extended_environment
from tfguard.errors import StoreMisconfigured, TfguardError

ROLE = "arn:aws:iam::123456789012:role/ci"
TOKEN = "a.jwt.of-the-job"
#: In every text: the fake AWS, the file with the token, a folder that is a checkout, and the user's own.
BLOCK = {"assume_role_with_web_identity": {"role_arn": ROLE, "web_identity_token_file": "{token}"}}
PROFILE = "[profile p]\nrole_arn = " + ROLE + "\nweb_identity_token_file = {token}\n"
SERVICES = PROFILE + "services = s\n[services s]\nsts =\n  endpoint_url = {aws}\n"
THEIR_FILE = {"profile": "p", "shared_config_files": ["{checkout}/config"]}
POD = {"AWS_WEB_IDENTITY_TOKEN_FILE": "{token}", "AWS_ROLE_ARN": ROLE}


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[FakeAws]:
    with fake_aws(tmp_path) as server:
        yield server


class Scene:
    """A backend's attributes, our own environment, that of tfguard.yml, and a file of shared configuration."""

    def __init__(self, aws: FakeAws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aws, self.folder, self._monkeypatch = aws, folder, monkeypatch
        (folder / "checkout" / ".git").mkdir(parents=True)
        (folder / "home" / ".aws").mkdir(parents=True)
        (folder / "token").write_text(TOKEN)
        monkeypatch.setenv("HOME", str(folder / "home"))
        for name, value in aws.environ().items():
            monkeypatch.setenv(name, value)

    def text(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self.text(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.text(each) for each in value]
        places = {"aws": self.aws.endpoint, "checkout": self.folder / "checkout", "token": self.folder / "token"}
        for name, place in places.items():
            value = value.replace(f"{{{name}}}", str(place)) if isinstance(value, str) else value
        return value

    def resolve(
        self, backend: Mapping[str, Any], own: Mapping[str, str], yml: Mapping[str, str], config: Mapping[str, str]
    ) -> None:
        for path, text in config.items():
            (self.folder / path).write_text(self.text(text))
        for name, value in self.text(own).items():
            self._monkeypatch.setenv(name, value)
        with extended_environment(self.text(yml)):
            attributes = Attributes({"region": "eu-west-1", **self.text(backend)}, "the backend")
            access = aws_access(attributes, os.environ, self.folder / "checkout")
            with closing(Credentials(access)) as credentials, closing(credentials.client("dynamodb")):
                pass


@pytest.fixture
def scene(aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(aws, tmp_path / "scene", monkeypatch)


OTHER = "https://sts.evil.example"
CASES: dict[str, tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, str], Mapping[str, str]]] = {
    "block and endpoints": ({**BLOCK, "endpoints": {"sts": "{aws}"}}, {}, {}, {}),
    "block and sts_endpoint": ({**BLOCK, "sts_endpoint": "{aws}"}, {}, {}, {}),
    "block, and a host that only ends like AWS's": ({**BLOCK, "sts_endpoint": "https://evilamazonaws.com"}, {}, {}, {}),
    "block, and AWS without TLS": ({**BLOCK, "sts_endpoint": "http://sts.eu-west-1.amazonaws.com"}, {}, {}, {}),
    "block, and another file of ours": (
        {**BLOCK, "sts_endpoint": "{aws}"}, {"AWS_WEB_IDENTITY_TOKEN_FILE": "/dev/null"}, {}, {}
    ),
    "block, and any certificate of a proxy": ({**BLOCK, "https_proxy": "{aws}", "insecure": True}, {}, {}, {}),
    "block, and a certificate of the checkout": (
        {**BLOCK, "http_proxy": "{aws}", "custom_ca_bundle": "{checkout}/ca.pem"}, {}, {}, {}
    ),
    "profile and services": (THEIR_FILE, {}, {}, {"checkout/config": SERVICES}),
    "profile and sts_endpoint": ({**THEIR_FILE, "sts_endpoint": OTHER}, {}, {}, {"checkout/config": PROFILE}),
    "tfguard.yml names both": ({}, {}, {**POD, "AWS_ENDPOINT_URL_STS": "{aws}"}, {}),
    "tfguard.yml and sts_endpoint": ({"sts_endpoint": "{aws}"}, {}, POD, {}),
    "tfguard.yml names the configuration": (
        {"profile": "p"}, {}, {"AWS_CONFIG_FILE": "{checkout}/config"}, {"checkout/config": SERVICES}
    ),
}  # fmt: skip
MEANT: dict[str, tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, str], Mapping[str, str]]] = {
    "AWS itself": (BLOCK, {}, {}, {}),
    "our file": ({**BLOCK, "sts_endpoint": "{aws}"}, {"AWS_WEB_IDENTITY_TOKEN_FILE": "{token}"}, {}, {}),
    "our endpoint": (BLOCK, {"AWS_ENDPOINT_URL_STS": "{aws}"}, {}, {}),
    "our pod": ({"sts_endpoint": "{aws}"}, POD, {}, {}),
    "our profile": ({"profile": "p", "sts_endpoint": "{aws}"}, {}, {}, {"home/.aws/config": PROFILE}),
    "our profile's endpoint": ({"profile": "p"}, {}, {}, {"home/.aws/config": SERVICES}),
    "a token that stands there": (
        {"assume_role_with_web_identity": {"role_arn": ROLE, "web_identity_token": "a.jwt"}, "sts_endpoint": "{aws}"},
        {}, {}, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_that_names_the_token_does_not_name_who_gets_it(scene: Scene, case: str) -> None:
    with pytest.raises(StoreMisconfigured) as caught:
        scene.resolve(*CASES[case])

    assert not [asked for asked in scene.aws.asked if asked.service == "sts"]
    first, second = str(caught.value).splitlines()
    assert "a token is to go to" in first and "AWS_WEB_IDENTITY_TOKEN_FILE" in second
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("case", MEANT)
def test_what_we_have_named_ourselves_is_done(scene: Scene, case: str) -> None:
    scene.resolve(*MEANT[case])

    assert [asked.what for asked in scene.aws.asked if asked.service == "sts"] == ["AssumeRoleWithWebIdentity ci"]


@pytest.mark.parametrize("place", ["/dev/zero", "{checkout}/fifo", "{checkout}", "{checkout}/large"])
@pytest.mark.parametrize("attribute", ["shared_config_files", "shared_credentials_files", "web_identity_token_file"])
def test_a_file_that_a_branch_names_is_a_file_and_small(scene: Scene, attribute: str, place: str) -> None:
    os.mkfifo(scene.folder / "checkout" / "fifo")
    with (scene.folder / "checkout" / "large").open("wb") as file:
        file.truncate((1 << 20) + 1)
    is_token = attribute == "web_identity_token_file"
    backend = (
        {"assume_role_with_web_identity": {"role_arn": ROLE, attribute: place}} if is_token else {attribute: [place]}
    )

    with pytest.raises(TfguardError) as caught:
        scene.resolve(backend, {}, {}, {})

    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and all(len(line) <= 120 for line in lines)
    assert "is not a file" in lines[0] or "longer than 1 MiB" in lines[0]
