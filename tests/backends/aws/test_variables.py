"""Every variable that AWS's SDKs know, and what we do with it: none is left to botocore by accident."""

from __future__ import annotations

import re
from pathlib import Path

import botocore
import pytest
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

import tfguard.backends.aws
from tfguard.backends.aws.order import decide, profiles_of
from tfguard.backends.aws.sessions import new_session
from tfguard.backends.aws.spec import AwsAccess

#: Who: which credentials. Where: which host and region. How: the connection. Each is read by us, as Terraform reads it.
WHO = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_V1_DISABLED",
]
WHERE = [
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_DYNAMODB_ENDPOINT",
    "AWS_S3_ENDPOINT",
    "AWS_STS_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_METADATA_URL",
]
HOW = ["AWS_CA_BUNDLE", "AWS_SSE_CUSTOMER_KEY"]

#: Known to one of the SDKs, and without effect here: why.
IGNORED = {
    "AWS_SECURITY_TOKEN": "botocore's older name of the token; Terraform does not know it",
    "AWS_CREDENTIAL_EXPIRATION": "botocore's; Terraform takes the environment's keys for lasting",
    "AWS_CREDENTIAL_FILE": "of the oldest tools",
    "BOTO_CONFIG": "of the oldest tools",
    "AWS_ACCOUNT_ID": "goes into endpoints by account, which are off",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "without an account's number there are no endpoints by account",
    "AWS_LOGIN_CACHE_DIRECTORY": "`aws login`: the SDK of Terraform 1.11 does not know it",
    "AWS_IMDS_USE_IPV6": "botocore's older name of the endpoint's mode",
    "AWS_METADATA_SERVICE_TIMEOUT": "botocore's; we wait 1 s",
    "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "botocore's; we try three times",
    "AWS_STS_REGIONAL_ENDPOINTS": "botocore's; Terraform always asks the region's",
    "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "botocore's; we ask the region's",
    "AWS_S3_USE_ARN_REGION": "a bucket's name is no ARN here",
    "AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS": "no access points here",
    "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH": "no express buckets here",
    "AWS_SIGV4A_SIGNING_REGION_SET": "nothing here is signed for several regions",
    "AWS_AUTH_SCHEME_PREFERENCE": "we sign as Terraform does",
    "AWS_ENDPOINT_DISCOVERY_ENABLED": "botocore's; it would ask DynamoDB for other hosts",
    "AWS_ENABLE_ENDPOINT_DISCOVERY": "the Go SDK's; off for what Terraform asks",
    "AWS_DISABLE_HOST_PREFIX_INJECTION": "nothing here has such hosts",
    "AWS_DATA_PATH": "a folder of models: what a request looks like is no matter of the environment",
    "AWS_RETRY_MODE": "who asked decides whether to ask again",
    "AWS_MAX_ATTEMPTS": "who asked decides whether to ask again",
    "AWS_DEFAULTS_MODE": "our timeouts are fixed",
    "AWS_DISABLE_REQUEST_COMPRESSION": "nothing here is large",
    "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES": "nothing here is large",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "we send Terraform's own checksums",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "we send Terraform's own checksums",
    "AWS_SDK_UA_APP_ID": "a name for the user agent",
    "AWS_EXECUTION_ENV": "a name for the user agent",
    "AWS_LAMBDA_FUNCTION_NAME": "a name for the user agent",
    "AWS_CSM_ENABLED": "monitoring by UDP",
    "AWS_CSM_HOST": "monitoring by UDP",
    "AWS_CSM_PORT": "monitoring by UDP",
    "AWS_CSM_CLIENT_ID": "monitoring by UDP",
    "BOTOCORE_TCP_KEEPALIVE": "always on",
    "BOTOCORE_EXPERIMENTAL__PLUGINS": "would import a module that a variable names",
    "BOTO_DISABLE_CRT": "no such library here",
    "BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER": "of botocore's connection, nobody's identity",
    "BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE": "of botocore's connection, nobody's identity",
}  # fmt: skip

_NAME = re.compile(r"""["'`]((?:AWS|BOTO|BOTOCORE)_[A-Z0-9_]+)["'`]""")


def names_in(folder: Path) -> set[str]:
    return {name for path in folder.glob("*.py") for name in _NAME.findall(path.read_text(encoding="utf-8"))}


def test_every_variable_that_botocore_knows_is_dealt_with() -> None:
    known = names_in(Path(botocore.__file__).parent)

    assert known - {*WHO, *WHERE, *HOW, *IGNORED} == set()


def test_what_we_read_is_what_the_table_says() -> None:
    read = names_in(Path(tfguard.backends.aws.__file__).parent)

    assert {*WHO, *WHERE, *HOW} - read == set(), "said to be read, and is not"
    assert read & IGNORED.keys() == set(), "said to be ignored, and is read"


def test_no_variable_and_no_file_reaches_botocores_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    untouched = new_session(AwsAccess())
    names = list(BOTOCORE_DEFAUT_SESSION_VARIABLES)
    expected = {name: untouched.get_config_variable(name) for name in names}
    file = tmp_path / ".aws" / "config"
    file.parent.mkdir()
    lines = "".join(f"{row[0]} = strange\n" for row in BOTOCORE_DEFAUT_SESSION_VARIABLES.values() if row[0])
    file.write_text(f"[default]\n{lines}s3 =\n  use_accelerate_endpoint = true\n[plugins]\nx = os\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in (*WHO, *WHERE, *HOW, *IGNORED):
        monkeypatch.setenv(variable, "strange")

    session = new_session(AwsAccess())

    assert {name: session.get_config_variable(name) for name in names} == expected
    assert session.get_scoped_config() == {}
    assert session.get_config_variable("s3") == {}


def test_the_documentation_has_the_steps_in_their_order(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "reference" / "credentials.md").read_text(encoding="utf-8")
    environ = {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_PROFILE": "p"}
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[profile p]\n")

    steps = decide(AwsAccess(), environ, profiles_of(AwsAccess(), environ)).steps

    rows = re.findall(r"^\| \d \| ([^|]+?) \|", text, re.MULTILINE)
    assert [row.strip("`") for row in rows] == [step.name for step in steps]
