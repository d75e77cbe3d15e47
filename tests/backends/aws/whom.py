"""
As whom and where: configurations of which Terraform and tfguard must make the same thing, and how each is asked.

Each row is put to the real Terraform (`terraform init`) and to tfguard's own client, both sent to the fake AWS. What
Terraform asked lies in `as_terraform.json`, so that no test pays for it. `python -m tests.backends.aws.whom` asks
Terraform again and says what has changed (`make soak` does too); with `--record` it writes the file anew, with `--tofu`
it asks OpenTofu.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support.emulators import tofu_binary
from tests.support.fake_aws import Asked, FakeAws, fake_aws
from tfguard.backends.attributes import Attributes
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.aws.locate import lock_object, s3_lock
from tfguard.backends.aws.spec import DynamoDBSpec
from tfguard.backends.target import Target
from tfguard.errors import TfguardError

RECORD = Path(__file__).with_name("as_terraform.json")
ROLE = "arn:aws:iam::123456789012:role/"
#: What OpenTofu 1.6 does otherwise.
TOFU_DIFFERS = frozenset(
    {
        "6 the profile's services",
        "6 services for S3",
        "escapes stay",
        "the backend's profile before the environment's keys",
        "the backend's keys, and its web identity",
        "credential_source Environment",
        "credential_source EcsContainer",
        "credential_source and source_profile",
        "an SSO session, endpoints.sso",
        "a container by its path",
        "a table by the profile's services",
    }
)
#: Terraform and tfguard find HOME, the working directory and the fake AWS by these words in a row's texts.
_WORDS = ("{home}", "{here}", "{aws}")


@dataclass(frozen=True)
class Row:
    """A configuration: the backend's attributes, the environment, and files (by path; a bare name is in ~/.aws)."""

    name: str
    backend: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What was asked on the way, each once; where nothing could be resolved, what was said."""

    asked: tuple[str, ...]
    error: str = ""


def keys(name: str) -> str:
    return f"aws_access_key_id = {name}\naws_secret_access_key = s{name}\n"


def _sso_cache(name: str, **more: str) -> dict[str, str]:
    token = {"accessToken": "tok", "expiresAt": "2095-01-01T00:00:00Z", "region": "us-east-1", "startUrl": "https://x"}
    digest = hashlib.sha1(name.encode()).hexdigest()
    return {f"sso/cache/{digest}.json": json.dumps({**token, **more})}


IN_ENVIRON = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": "s"}
POD = {"AWS_WEB_IDENTITY_TOKEN_FILE": "{home}/tok", "AWS_ROLE_ARN": ROLE + "pod"}
TOKEN = {"{home}/tok": "a.jwt"}
#: Profile `p` assumes role r1 with the keys of `q`, which lie in the other file.
CHAIN = {"config": f"[profile p]\nrole_arn = {ROLE}r1\nsource_profile = q\n", "credentials": "[q]\n" + keys("AKQ")}
METADATA = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "{aws}"}
SSO = "sso_start_url = https://x\nsso_region = us-east-1\nsso_account_id = 111111111111\nsso_role_name = r\n"
SESSION = (
    "[profile s]\nsso_session = me\nsso_account_id = 111111111111\nsso_role_name = r\n"
    "[sso-session me]\nsso_region = us-east-2\nsso_start_url = https://x\n"
)
WEB = {"assume_role_with_web_identity": {"role_arn": ROLE + "web", "web_identity_token": "a.jwt"}}
PRINTS_KEYS = '#!/bin/sh\necho "{\\"Version\\": 1, \\"AccessKeyId\\": \\"AKPROC\\", \\"SecretAccessKey\\": \\"s\\"}"\n'
#: With it the table is asked as well, which Terraform does when it plans.
TABLE = {"dynamodb_table": "t"}
DEFAULT = {"credentials": "[default]\n" + keys("AKDEF")}


def _credentials(text: str) -> dict[str, str]:
    return {"credentials": text}


def _config(text: str) -> dict[str, str]:
    return {"config": text}


EMPTY = dict.fromkeys(
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_ACCESS_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_SHARED_CONFIG_FILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL_STS",
        "AWS_ENDPOINT_URL_DYNAMODB",
        "AWS_STS_ENDPOINT",
        "AWS_S3_ENDPOINT",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_METADATA_URL",
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_USE_DUALSTACK_ENDPOINT",
    ],
    "",
)

#: The table of issue 14 first (its numbers in the names), then what lies around it.
ROWS = (
    Row("1 a pod, and AWS_PROFILE of another account", {}, {**POD, "AWS_PROFILE": "other"},
        {**TOKEN, **_credentials("[other]\n" + keys("AKOTHER"))}),
    Row("2 AWS_PROFILE before AWS_DEFAULT_PROFILE", {}, {"AWS_PROFILE": "prod", "AWS_DEFAULT_PROFILE": "dev"},
        _credentials("[prod]\n" + keys("AKPROD") + "[dev]\n" + keys("AKDEV"))),
    Row("3 shared files of the backend",
        {"profile": "p", "shared_config_files": ["{here}/c"], "shared_credentials_files": ["{here}/d"]}, {},
        {"{here}/c": "[profile p]\n", "{here}/d": "[p]\n" + keys("AKFILE"), **_credentials("[p]\n" + keys("AKHOME"))}),
    Row("3 shared_config_files alone", {"profile": "p", "shared_config_files": ["{here}/c"]}, {},
        {"{here}/c": "[profile p]\n" + keys("AKFILE"), **_config("[profile p]\n" + keys("AKHOME"))}),
    Row("3 shared_config_files, and the profile in ~/.aws/credentials too",
        {"profile": "p", "shared_config_files": ["{here}/c"]}, {},
        {"{here}/c": "[profile p]\n" + keys("AKFILE"), **_credentials("[p]\n" + keys("AKHOME"))}),
    Row("3 AWS_SHARED_CONFIG_FILE before AWS_CONFIG_FILE", {"profile": "p"},
        {"AWS_SHARED_CONFIG_FILE": "{here}/c", "AWS_CONFIG_FILE": "{here}/e"},
        {"{here}/c": "[profile p]\n" + keys("AKFILE"), "{here}/e": "[profile p]\n" + keys("AKE")}),
    Row("3 a relative file", {"shared_credentials_files": ["d"]}, {}, {"{here}/d": "[default]\n" + keys("AKD")}),
    Row("3 a file named by a variable", {"shared_credentials_files": ["$PLACE/d"]}, {"PLACE": "{home}"},
        {"{home}/d": "[default]\n" + keys("AKD")}),
    Row("3 a file by ~ in AWS_SHARED_CREDENTIALS_FILE", {}, {"AWS_SHARED_CREDENTIALS_FILE": "~/d"},
        {"{home}/d": "[default]\n" + keys("AKD")}),
    Row("3 a file by ~ in AWS_CONFIG_FILE", {"profile": "p"}, {"AWS_CONFIG_FILE": "~/d"},
        {"{home}/d": "[profile p]\n" + keys("AKD")}),
    Row("3 one of two files is missing", {"shared_credentials_files": ["{here}/no", "{here}/d"]}, {},
        {"{here}/d": "[default]\n" + keys("AKD")}),
    Row("4 static keys and SSO in one profile", {"profile": "p"}, {}, _config("[profile p]\n" + SSO + keys("AKP"))),
    Row("5 STS in the backend's region", {"profile": "p"}, {}, CHAIN),
    Row("5 STS in GovCloud", {"profile": "p", "region": "us-gov-west-1"}, {}, CHAIN),
    Row("5 STS in China", {"profile": "p", "region": "cn-north-1"}, {}, CHAIN),
    Row("5 STS in AWS_REGION", {"profile": "p", "region": None}, {"AWS_REGION": "us-west-1"}, CHAIN),
    Row("5 STS in AWS_DEFAULT_REGION", {"profile": "p", "region": None}, {"AWS_DEFAULT_REGION": "us-west-1"}, CHAIN),
    Row("5 not in the profile's region", {"profile": "p"}, {},
        {**CHAIN, "config": CHAIN["config"] + "region = ap-south-1\n"}),
    Row("5 AWS_ENDPOINT_URL_STS", {"profile": "p"}, {"AWS_ENDPOINT_URL_STS": "{aws}"}, CHAIN),
    Row("5 AWS_ENDPOINT_URL", {"profile": "p"}, {"AWS_ENDPOINT_URL": "{aws}"}, CHAIN),
    Row("6 endpoints.sts", {"profile": "p", "endpoints": {"sts": "{aws}"}}, {}, CHAIN),
    Row("6 sts_endpoint", {"profile": "p", "sts_endpoint": "{aws}"}, {}, CHAIN),
    Row("6 AWS_STS_ENDPOINT", {"profile": "p"}, {"AWS_STS_ENDPOINT": "{aws}"}, CHAIN),
    Row("6 sts_region and a profile's role", {"profile": "p", "sts_region": "us-west-2"}, {}, CHAIN),
    Row("6 sts_region and sts_endpoint and a profile's role",
        {"profile": "p", "sts_region": "us-west-2", "sts_endpoint": "{aws}"}, {}, CHAIN),
    Row("6 a pod and sts_region", {"sts_region": "us-west-2"}, POD, TOKEN),
    Row("6 a pod and sts_endpoint", {"sts_endpoint": "{aws}"}, POD, TOKEN),
    Row("6 sts_region and the backend's role", {"sts_region": "us-west-2", "assume_role": {"role_arn": ROLE + "r8"}},
        IN_ENVIRON),
    Row("6 sts_region and the backend's web identity", {"sts_region": "us-west-2", **WEB}),
    Row("6 AWS_ENDPOINT_URL and the backend's role", {"assume_role": {"role_arn": ROLE + "r8"}},
        {**IN_ENVIRON, "AWS_ENDPOINT_URL": "{aws}"}),
    Row("6 AWS_ENDPOINT_URL and the backend's web identity", WEB, {"AWS_ENDPOINT_URL": "{aws}"}),
    Row("6 the profile's endpoint_url", {"profile": "p"}, {},
        {**CHAIN, "config": CHAIN["config"] + "endpoint_url = {aws}\n"}),
    Row("6 the profile's services", {"profile": "p"}, {},
        {**CHAIN, "config": CHAIN["config"] + "services = x\n[services x]\nsts =\n  endpoint_url = {aws}\n"}),
    Row("6 the profile's services, and AWS_ENDPOINT_URL", {"profile": "p"}, {"AWS_ENDPOINT_URL": "{aws}"},
        {**CHAIN, "config": CHAIN["config"]
        + "services = x\n[services x]\ns3 =\n  endpoint_url = http://127.0.0.1:9\n"}),
    Row("6 services for S3", {}, IN_ENVIRON,
        _config("[default]\nservices=x\n[services x]\ns3=\n  endpoint_url = {aws}\n")),
    Row("6 services that the profile does not name", {}, IN_ENVIRON,
        _config("[default]\n[services x]\ns3 =\n  endpoint_url = {aws}\n")),
    Row("6 configured endpoints are ignored", {}, {**IN_ENVIRON, "AWS_ENDPOINT_URL": "{aws}",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
    Row("6 the profile ignores configured endpoints", {}, {**IN_ENVIRON, "AWS_ENDPOINT_URL": "{aws}"},
        _config("[default]\nignore_configured_endpoint_urls = true\n")),
    Row("6 AWS_ENDPOINT_URL_S3 where endpoints are ignored", {}, {**IN_ENVIRON, "AWS_ENDPOINT_URL_S3": "{aws}",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
    Row("6 FIPS", {"profile": "p", "use_fips_endpoint": True}, {}, CHAIN),
    Row("6 FIPS by the profile", {}, IN_ENVIRON, _config("[default]\nuse_fips_endpoint = true\n")),
    Row("6 dual stack", {"profile": "p", "use_dualstack_endpoint": True}, {}, CHAIN),
    Row("13 empty variables, a profile", {"profile": "p"}, EMPTY, CHAIN),
    Row("13 empty variables", {}, EMPTY, DEFAULT),
    Row("13 an empty AWS_PROFILE, and AWS_DEFAULT_PROFILE", {}, {"AWS_PROFILE": "", "AWS_DEFAULT_PROFILE": "q"}, CHAIN),
    Row("14 a section twice", {}, {}, _credentials("[default]\n" + keys("AK1") + "[default]\n" + keys("AK2"))),
    Row("14 a section twice, one with a token", {}, {},
        _credentials("[default]\n" + keys("AK1") + "aws_session_token = t\n[default]\n" + keys("AK2"))),
    Row("14 a key twice", {}, {}, _credentials("[default]\naws_access_key_id = AK0\n" + keys("AK1"))),
    Row("14 text before a section", {}, {}, _credentials("hello\nfoo = bar\n" + DEFAULT["credentials"])),
    Row("14 a key without value", {}, {}, _credentials(DEFAULT["credentials"] + "role_arn =\nfoo\n")),
    Row("14 rubbish, and keys in the environment", {}, IN_ENVIRON,
        _credentials("\x01[[[\n[x\n]=\n" + DEFAULT["credentials"])),
    Row("14 a byte order mark", {}, {"AWS_EC2_METADATA_DISABLED": "true"}, _credentials("\ufeff"
        + DEFAULT["credentials"])),
    Row("14 carriage returns", {}, {}, _credentials(DEFAULT["credentials"].replace("\n", "\r\n"))),
    Row("14 a folder for a file", {}, {**IN_ENVIRON, "AWS_CONFIG_FILE": "{home}"}),
    Row("15 the old names", {}, {"AWS_ACCESS_KEY": "AKOLD", "AWS_SECRET_KEY": "s", "AWS_SECURITY_TOKEN": "stale",
        "AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z"}),
    Row("15 one of each", {}, {"AWS_ACCESS_KEY_ID": "AKNEW", "AWS_SECRET_KEY": "s", "AWS_SESSION_TOKEN": "t"}),
    Row("15 half a pair", {}, {"AWS_ACCESS_KEY_ID": "AKNEW"}, DEFAULT),
    Row("15 a token", {}, {**IN_ENVIRON, "AWS_SESSION_TOKEN": "t"}),
    Row("16 a program by the shell", {"profile": "p"}, {},
        {"p.sh": PRINTS_KEYS, **_config("[profile p]\ncredential_process = sh $HOME/.aws/p.sh a | tr a-z a-z\n")}),
    Row("16 a program that there is not", {"profile": "p"}, {}, _config("[profile p]\ncredential_process = /no/x\n")),
    Row("17 a profile and its source in two shared files",
        {"profile": "p", "shared_config_files": ["{here}/c", "{here}/e"]}, {},
        {"{here}/c": f"[profile p]\nrole_arn = {ROLE}r1\nsource_profile = q\n", "{here}/e": "[profile q]\n"
        + keys("AKE")}),
    Row("17 the later file wins, a token of the earlier stays",
        {"profile": "p", "shared_credentials_files": ["{here}/c", "{here}/e"]}, {},
        {"{here}/c": "[p]\n" + keys("AK1") + "aws_session_token = t1\n", "{here}/e": "[p]\n" + keys("AK2")}),
    Row("18 mfa_serial", {"profile": "p"}, {},
        {**CHAIN, "config": CHAIN["config"] + "mfa_serial = arn:aws:iam::123456789012:mfa/x\n"}),
    Row("19 use_accelerate_endpoint", {}, IN_ENVIRON, _config("[default]\ns3 =\n  use_accelerate_endpoint = true\n")),
    Row("20 AWS_METADATA_URL", {}, {"AWS_METADATA_URL": "{aws}"}),
    Row("20 AWS_METADATA_URL, and the metadata service off", {}, {"AWS_METADATA_URL": "{aws}",
        "AWS_EC2_METADATA_DISABLED": "true"}),
    Row("20 the metadata service off, and on in the backend", {"skip_metadata_api_check": False},
        {**METADATA, "AWS_EC2_METADATA_DISABLED": "true"}),
    Row("20 the metadata service off in the backend", {"skip_metadata_api_check": True}, METADATA),
    Row("20 AWS_EC2_METADATA_DISABLED=yes", {}, {**METADATA, "AWS_EC2_METADATA_DISABLED": "yes"}),
    Row("20 ec2_metadata_service_endpoint", {"ec2_metadata_service_endpoint": "{aws}"}),
    Row("20 ec2_metadata_service_endpoint of the profile", {}, {},
        _config("[default]\nec2_metadata_service_endpoint={aws}")),
    Row("21 a comment after a key", {}, {},
        _credentials("[default] # mine\naws_access_key_id = AK1 # mine\naws_secret_access_key = s ; x\n")),
    Row("21 no comment without a space", {}, {},
        _credentials("[default]\naws_access_key_id = AK1\naws_secret_access_key = s\naws_session_token = a#b;c==\n")),
    Row("colons, quotes, capitals", {}, {},
        _credentials("[default]\nAWS_Access_Key_Id: \"AK1\"\naws_secret_access_key:'s'\n")),
    Row("escapes stay", {}, {}, _credentials(DEFAULT["credentials"] + "aws_session_token = a\\\"b\\'c\n")),
    Row("indented keys", {}, {}, _credentials("[default]\n  aws_access_key_id = AK1\n  aws_secret_access_key = s\n")),
    Row("keys below a key without value", {}, {},
        {**_config("[default]\ns3 =\n  aws_access_key_id = AKSUB\n  aws_secret_access_key = s\n"), **DEFAULT}),
    Row("keys below a key with a value", {}, {},
        _credentials("[default]\naws_access_key_id = AK1\n  aws_secret_access_key = s\n")),
    Row("[Default]", {}, {"AWS_EC2_METADATA_DISABLED": "true"}, _credentials("[Default]\n" + keys("AK1"))),
    Row("[profile default]", {}, {}, _config("[profile default]\n" + keys("AK1") + "[default]\n" + keys("AK0"))),
    Row("[x] in the configuration", {"profile": "x"}, {}, _config("[x]\n" + keys("AK1"))),
    Row("[profile x] in the credentials", {"profile": "x"}, {}, _credentials("[profile x]\n" + keys("AK1"))),
    Row("[  profile   x y ]", {"profile": "x y"}, {}, _config("[ profile   x y ]\n" + keys("AK1"))),
    Row("a profile in both files", {"profile": "x"}, {},
        {**_config("[profile x]\n" + keys("AKCF") + "aws_session_token = t\n"), **_credentials("[x]\n"
        + keys("AKCR"))}),
    Row("half of the keys in each file", {"profile": "x"}, {},
        {**_config("[profile x]\naws_access_key_id = A\n"), **_credentials("[x]\naws_secret_access_key = s\n")}),
    Row("half of the keys in one file, all in the other", {"profile": "x"}, {},
        {**_config("[profile x]\naws_access_key_id = A\n"), **_credentials("[x]\n" + keys("AKCR"))}),
    Row("keys in the environment", {}, IN_ENVIRON, DEFAULT),
    Row("keys in the environment, and a known AWS_PROFILE", {}, {**IN_ENVIRON, "AWS_PROFILE": "q"}, CHAIN),
    Row("keys in the environment, and an unknown AWS_PROFILE", {}, {**IN_ENVIRON, "AWS_PROFILE": "nobody"}),
    Row("the backend's profile before the environment's keys", {"profile": "q"}, IN_ENVIRON, CHAIN),
    Row("an unknown profile", {"profile": "nobody"}, {}, CHAIN),
    Row("the backend's keys", {"access_key": "AKA", "secret_key": "s", "token": "t", "profile": "p"},
        IN_ENVIRON, CHAIN),
    Row("the backend's keys, and its role", {"access_key": "AKA", "secret_key": "s",
        "assume_role": {"role_arn": ROLE + "r8"}}, IN_ENVIRON),
    Row("the backend's keys, and its web identity", {"access_key": "AKA", "secret_key": "s", **WEB}),
    Row("the backend's keys, and an unknown profile", {"access_key": "AKA", "secret_key": "s", "profile": "nobody"}),
    Row("the backend's access key alone", {"access_key": "AKA"}, IN_ENVIRON),
    Row("the backend's token alone", {"token": "t"}, IN_ENVIRON),
    Row("the backend's web identity, a profile, and keys", {**WEB, "profile": "q"}, IN_ENVIRON, CHAIN),
    Row("the backend's web identity, then its role", {**WEB, "assume_role": {"role_arn": ROLE + "r8"}}),
    Row("a pod and the backend's role", {"assume_role": {"role_arn": ROLE + "r8"}}, POD, TOKEN),
    Row("a pod without role", {}, {"AWS_WEB_IDENTITY_TOKEN_FILE": "{home}/tok"}, {**TOKEN, **DEFAULT}),
    Row("a pod whose token is missing", {}, POD, DEFAULT),
    Row("a role of the environment alone", {}, {**IN_ENVIRON, "AWS_ROLE_ARN": ROLE + "pod"}),
    Row("a profile is its own source", {"profile": "p"}, {},
        _config(f"[profile p]\nrole_arn = {ROLE}r1\nsource_profile = p\n" + keys("AKP"))),
    Row("three profiles in a row", {"profile": "a"}, {}, _config(
        f"[profile a]\nrole_arn = {ROLE}ra\nsource_profile = b\n[profile b]\nrole_arn = {ROLE}rb\nsource_profile = c\n"
        "[profile c]\n" + keys("AKC"))),
    Row("a source with keys and a role", {"profile": "a"}, {}, _config(
        f"[profile a]\nrole_arn = {ROLE}ra\nsource_profile = b\n[profile b]\nrole_arn = {ROLE}rb\nsource_profile = c\n"
        + keys("AKB") + "[profile c]\n" + keys("AKC"))),
    Row("profiles in a circle", {"profile": "a"}, {}, _config(
        f"[profile a]\nrole_arn = {ROLE}ra\nsource_profile = b\n"
        f"[profile b]\nrole_arn = {ROLE}rb\nsource_profile = a\n")),
    Row("a role without source", {"profile": "a"}, METADATA, _config(f"[profile a]\nrole_arn = {ROLE}ra\n")),
    Row("a role with the profile's own keys", {"profile": "a"}, {},
        _config(f"[profile a]\nrole_arn = {ROLE}ra\n" + keys("AKA"))),
    Row("a source and keys", {"profile": "a"}, {},
        _config(f"[profile a]\nrole_arn = {ROLE}ra\nsource_profile = b\n" + keys("AKA") + "[profile b]\n"
        + keys("AKB"))),
    Row("a source without role", {"profile": "a"}, {}, _config("[profile a]\nsource_profile = b\n[profile b]\n"
        + keys("AKB"))),
    Row("a source that there is not", {"profile": "a"}, {},
        _config(f"[profile a]\nrole_arn = {ROLE}ra\nsource_profile = z\n")),
    Row("a source without credentials", {"profile": "a"}, METADATA,
        _config(f"[profile a]\nrole_arn = {ROLE}ra\nsource_profile = b\n[profile b]\nregion = x\n")),
    Row("credential_source Environment", {"profile": "a"}, IN_ENVIRON,
        _config(f"[profile a]\nrole_arn = {ROLE}ra\ncredential_source = Environment\n")),
    Row("credential_source Environment, which has none", {"profile": "a"}, {},
        _config(f"[profile a]\nrole_arn = {ROLE}ra\ncredential_source = Environment\n")),
    Row("credential_source Ec2InstanceMetadata", {"profile": "a"}, METADATA,
        _config(f"[profile a]\nrole_arn = {ROLE}ra\ncredential_source = Ec2InstanceMetadata\n")),
    Row("credential_source EcsContainer", {"profile": "a"}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{aws}/ecs/x"},
        _config(f"[profile a]\nrole_arn = {ROLE}ra\ncredential_source = EcsContainer\n")),
    Row("credential_source that there is not", {"profile": "a"}, {},
        _config(f"[profile a]\nrole_arn = {ROLE}ra\ncredential_source = Bogus\n")),
    Row("credential_source and source_profile", {"profile": "a"}, IN_ENVIRON,
        _config(f"[profile a]\nrole_arn = {ROLE}ra\ncredential_source = Environment\nsource_profile = a\n")),
    Row("keys and a program", {"profile": "a"}, {},
        {"p.sh": PRINTS_KEYS, **_config("[profile a]\ncredential_process = sh ~/.aws/p.sh\n" + keys("AKA"))}),
    Row("a program, then a role", {"profile": "a"}, {},
        {"p.sh": PRINTS_KEYS, **_config(f"[profile a]\nrole_arn = {ROLE}ra\ncredential_process = sh ~/.aws/p.sh\n")}),
    Row("a profile's web identity", {"profile": "a"}, {},
        {**TOKEN, **_config(f"[profile a]\nrole_arn = {ROLE}ra\nweb_identity_token_file = {{home}}/tok\n" + SSO)}),
    Row("a profile's web identity by ~", {"profile": "a"}, {},
        {**TOKEN, **_config(f"[profile a]\nrole_arn = {ROLE}ra\nweb_identity_token_file = ~/tok\n")}),
    Row("SSO", {"profile": "s"}, {}, {**_config("[profile s]\n" + SSO), **_sso_cache("https://x")}),
    Row("SSO, then a role", {"profile": "s"}, {},
        {**_config(f"[profile s]\nrole_arn = {ROLE}ra\n" + SSO), **_sso_cache("https://x")}),
    Row("SSO as a source", {"profile": "t"}, {},
        {**_config(f"[profile t]\nrole_arn = {ROLE}ra\nsource_profile = s\n[profile s]\n" + SSO),
        **_sso_cache("https://x")}),
    Row("an SSO session", {"profile": "s"}, {}, {**_config(SESSION), **_sso_cache("me")}),
    Row("an SSO session, endpoints.sso", {"profile": "s", "endpoints": {"sso": "{aws}"}}, {},
        {**_config(SESSION), **_sso_cache("me")}),
    Row("an SSO session, AWS_ENDPOINT_URL_SSO", {"profile": "s"}, {"AWS_ENDPOINT_URL_SSO": "{aws}"},
        {**_config(SESSION), **_sso_cache("me")}),
    Row("an SSO session, AWS_ENDPOINT_URL", {"profile": "s"}, {"AWS_ENDPOINT_URL": "{aws}"},
        {**_config(SESSION), **_sso_cache("me")}),
    Row("an SSO session whose token is renewed", {"profile": "s"}, {}, {**_config(SESSION), **_sso_cache(
        "me", expiresAt="2020-01-01T00:00:00Z", refreshToken="rt", clientId="c", clientSecret="cs",
        registrationExpiresAt="2095-01-01T00:00:00Z")}),
    Row("an SSO session that has expired", {"profile": "s"}, {},
        {**_config(SESSION), **_sso_cache("me", expiresAt="2020-01-01T00:00:00Z")}),
    Row("an SSO session that there is not", {"profile": "s"}, {}, _config(SESSION.partition("[sso")[0])),
    Row("half of SSO", {"profile": "s"}, {}, _config("[profile s]\nsso_region = us-east-1\n")),
    Row("nobody has signed in by SSO", {"profile": "s"}, {}, _config("[profile s]\n" + SSO)),
    Row("a container", {}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{aws}/ecs/x",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "tk"}),
    Row("a container with a token's file", {}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{aws}/ecs/x",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "tk", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "{home}/tok"}, TOKEN),
    Row("a container by its path", {}, {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/ecs/rel", "HTTP_PROXY": "{aws}",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "{aws}/ecs/x"}),
    Row("a container by its path, no_proxy in the backend", {"no_proxy": "169.254.170.2", "https_proxy": "{aws}"},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/ecs/rel", "HTTP_PROXY": "{aws}"}),
    Row("a container, and a profile without credentials", {"profile": "p"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{aws}/ecs/x"}, _config("[profile p]\nregion = x\n")),
    Row("a container before the instance", {}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{aws}/ecs/x", **METADATA}),
    Row("a container anywhere", {}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/ecs/x"}),
    Row("an instance", {}, METADATA),
    Row("an instance, http_proxy in the backend", {"http_proxy": "{aws}"}, {}),
    Row("an instance, HTTP_PROXY", {}, {"HTTP_PROXY": "{aws}"}),
    Row("an instance and the backend's role", {"assume_role": {"role_arn": ROLE + "r8"}}, METADATA),
    Row("a table", TABLE, IN_ENVIRON),
    Row("a table elsewhere by its endpoint", {**TABLE, "endpoints": {"dynamodb": "{aws}"}}, IN_ENVIRON),
    Row("a table by dynamodb_endpoint", {**TABLE, "dynamodb_endpoint": "{aws}"}, IN_ENVIRON),
    Row("a table by AWS_DYNAMODB_ENDPOINT", TABLE, {**IN_ENVIRON, "AWS_DYNAMODB_ENDPOINT": "{aws}"}),
    Row("a table by AWS_ENDPOINT_URL_DYNAMODB", TABLE, {**IN_ENVIRON, "AWS_ENDPOINT_URL_DYNAMODB": "{aws}",
        "AWS_DYNAMODB_ENDPOINT": "http://127.0.0.1:9"}),
    Row("a table by AWS_ENDPOINT_URL", TABLE, {**IN_ENVIRON, "AWS_ENDPOINT_URL": "{aws}"}),
    Row("a table by the profile's services", TABLE, IN_ENVIRON,
        _config("[default]\nservices = x\n[services x]\ndynamodb =\n  endpoint_url = {aws}\n")),
    Row("a table with FIPS", {**TABLE, "use_fips_endpoint": True}, IN_ENVIRON),
    Row("a table in GovCloud as a role", {**TABLE, "region": "us-gov-west-1", "assume_role": {"role_arn": ROLE + "r8"}},
        IN_ENVIRON),
    Row("nothing at all", {}, {"AWS_EC2_METADATA_DISABLED": "true"}),
)  # fmt: skip


class Stage:
    """A place for one row: HOME, a working directory, an environment without anybody else's AWS variables."""

    def __init__(self, folder: Path, aws: FakeAws, row: Row) -> None:
        self.aws, self.row = aws, row
        self.home, self.here = folder / "home", folder / "here"
        (self.home / ".aws").mkdir(parents=True)
        self.here.mkdir()
        for name, text in row.files.items():
            path = Path(self._in(name)) if "{" in name else self.home / ".aws" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._in(text).encode())
        config = {"bucket": "b", "key": "k", "region": "eu-west-1", "use_path_style": True, **self._in_all(row.backend)}
        self.config = {name: value for name, value in config.items() if value is not None}
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            **aws.environ(),
            **{name: self._in(value) for name, value in row.environ.items()},
        }

    def _in(self, text: str) -> str:
        for word, value in zip(_WORDS, (self.home, self.here, self.aws.endpoint), strict=True):
            text = text.replace(word, str(value))
        return text

    def _in_all(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._in(value)
        if isinstance(value, list):
            return [self._in_all(item) for item in value]
        return {name: self._in_all(item) for name, item in value.items()} if isinstance(value, Mapping) else value

    def found(self, error: str) -> Found:
        """Name what was asked: how credentials were had, and as whom and where the bucket was asked."""
        host = self.aws.endpoint.partition("//")[2]
        ours = [each for each in self.aws.asked if "GetCallerIdentity" not in each.what and "-md5" not in each.what]
        asked = [_line(each).replace(host, "aws") for each in ours]
        return Found(tuple(dict.fromkeys(asked)), error)

    def ask_terraform(self, binary: str = "terraform") -> Found:
        """Let the real Terraform, or OpenTofu, open the backend."""
        text = {"terraform": {"backend": {"s3": self.config}}}
        (self.here / "main.tf.json").write_text(json.dumps(text))
        once = {"AWS_MAX_ATTEMPTS": "1", "CHECKPOINT_DISABLE": "1"}
        for command in ("init", "plan") if "dynamodb_table" in self.config else ("init",):
            done = subprocess.run(
                [binary, command, "-no-color", "-input=false"],
                cwd=self.here,
                env={**self.environ, **once},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
            )
        error = "" if done.returncode == 0 else " ".join(done.stderr.replace(str(self.home), "~").split())[-160:]
        return self.found(error)

    def ask_tfguard(self) -> Found:
        error = ""
        with mock.patch.dict(os.environ, self.environ, clear=True):
            try:
                place = lock_object(Attributes(self.config, "the backend"), self.here, "k", os.environ)
                with (
                    contextlib.closing(Credentials(place.aws)) as credentials,
                    contextlib.closing(credentials.s3_client(place)) as client,
                ):
                    client.ask("list_objects_v2", "bucket b", {"Bucket": "b"})
                    self._ask_table(credentials)
            except TfguardError as refused:
                error = str(refused)
        return self.found(error)

    def _ask_table(self, credentials: Credentials) -> None:
        found = s3_lock(Attributes(self.config, "the backend"), self.here, "default", os.environ)
        for spec in found.stores if isinstance(found, Target) else ():
            if isinstance(spec, DynamoDBSpec):
                with contextlib.closing(credentials.client("dynamodb", spec.endpoint)) as client:
                    client.ask("get_item", "table t", {"TableName": spec.table, "Key": {"LockID": {"S": spec.lock_id}}})


def _line(asked: Asked) -> str:
    # Which of the lock's item is asked for; what is done with it is the end-to-end tests' affair.
    what = {"s3": "", "dynamodb": f" {asked.what.partition(' ')[2]}"}.get(asked.service, f" {asked.what}")
    by = " ".join(filter(None, (asked.who, asked.token)))
    return f"{asked.service}{what} | {by} | {asked.where}"


@contextlib.contextmanager
def staged(aws: FakeAws, row: Row) -> Iterator[Stage]:
    aws.forget()
    with tempfile.TemporaryDirectory() as folder:
        yield Stage(Path(folder), aws, row)


def recorded() -> dict[str, Found]:
    """Return what Terraform did, by the rows' names."""
    rows = json.loads(RECORD.read_text(encoding="utf-8"))
    return {name: Found(tuple(row["asked"]), row["error"]) for name, row in rows.items()}


def ask_terraform(binary: str) -> dict[str, Found]:
    """Put every row to it."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, fake_aws(Path(folder)) as aws:
        for row in ROWS:
            with staged(aws, row) as stage:
                found[row.name] = stage.ask_terraform(binary)
    return found


def main() -> int:
    binary = tofu_binary() if "--tofu" in sys.argv else "terraform"
    found = ask_terraform(binary)
    if "--record" in sys.argv:
        rows = {name: {"asked": each.asked, "error": each.error} for name, each in found.items()}
        RECORD.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return 0
    known = recorded()
    differing = TOFU_DIFFERS if binary != "terraform" else frozenset()
    changed = [name for name, each in found.items() if alike(each, known[name]) == (name in differing)]
    for name in changed:
        print(f"{name}\n  was {known.get(name)}\n  is  {found[name]}")
    print(f"figures: {len(found)} rows, {len(changed)} changed")
    return bool(changed)


def alike(one: Found, other: Found) -> bool:
    """Whether both asked the same, or neither got anywhere."""
    return one.asked == other.asked and bool(one.error) == bool(other.error)


if __name__ == "__main__":
    sys.exit(main())
