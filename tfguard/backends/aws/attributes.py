"""
How Terraform's S3 backend would reach AWS: its attributes, and the variables that Terraform itself reads for them.

| attribute                      | before                                 | before                             |
|--------------------------------|----------------------------------------|------------------------------------|
| `region`                       | `AWS_REGION`                           | `AWS_DEFAULT_REGION`               |
| `endpoints.X`                  | deprecated attribute                   | `AWS_ENDPOINT_URL_X`, `AWS_X_ENDPOINT` |
| `shared_config_files`          | `AWS_SHARED_CONFIG_FILE`               |                                    |
| `use_fips_endpoint`            | `AWS_USE_FIPS_ENDPOINT`                |                                    |
| `ec2_metadata_service_endpoint`| `AWS_EC2_METADATA_SERVICE_ENDPOINT`    | `AWS_METADATA_URL`                 |
| `sse_customer_key`             | `AWS_SSE_CUSTOMER_KEY`                 |                                    |

Whose credentials these give is decided in `order`, which host is asked in `where`; both know the rest of the
environment, and the profile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tfguard.backends.attributes import Attributes
from tfguard.backends.aws.keys import AssumeRole
from tfguard.backends.aws.profiles import expanded
from tfguard.backends.aws.spec import AwsAccess

_DEPRECATED = {"dynamodb": "dynamodb_endpoint", "s3": "endpoint", "sts": "sts_endpoint"}


def endpoint(settings: Attributes, service: str, environ: Mapping[str, str]) -> str:
    """Return the endpoint set for a service alone (`dynamodb`, `s3`, `sts`, `sso`); empty where there is none."""
    block = settings.block("endpoints")
    return (
        (block.text(service) if block else "")
        or (settings.text(_DEPRECATED[service]) if service in _DEPRECATED else "")
        or environ.get(f"AWS_ENDPOINT_URL_{service.upper()}", "")
        or environ.get(f"AWS_{service.upper()}_ENDPOINT", "")
    )


def aws_access(settings: Attributes, environ: Mapping[str, str], directory: Path) -> AwsAccess:
    """
    Resolve everything but bucket, key and endpoints; relative files are in `directory`. Holds secrets: never logged.

    Raises:
        ConfigError: An attribute has a type that Terraform would not have written.
    """

    def place(path: str) -> str:
        found = expanded(path, environ)
        return os.path.join(directory.absolute(), found) if found else ""

    roles = (settings.block("assume_role"), _legacy_role(settings))
    web_identity = settings.block("assume_role_with_web_identity")
    return AwsAccess(
        region=settings.text("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", ""),
        access_key=settings.text("access_key"),
        secret_key=settings.text("secret_key"),
        token=settings.text("token"),
        profile=settings.text("profile"),
        shared_config_files=_files(
            settings.texts("shared_config_files"), environ.get("AWS_SHARED_CONFIG_FILE", ""), place
        ),
        shared_credentials_files=_files(
            settings.texts("shared_credentials_files"), settings.text("shared_credentials_file"), place
        ),
        assume_role=tuple(_role(role) for role in roles if role and role.text("role_arn")),
        assume_role_with_web_identity=_web_identity(web_identity, environ, place) if web_identity else None,
        sts_endpoint=endpoint(settings, "sts", environ),
        sts_region=settings.text("sts_region"),
        sso_endpoint=endpoint(settings, "sso", environ),
        use_fips=_switch(settings, "use_fips_endpoint", environ.get("AWS_USE_FIPS_ENDPOINT", "")),
        use_dualstack=_switch(settings, "use_dualstack_endpoint", environ.get("AWS_USE_DUALSTACK_ENDPOINT", "")),
        ca_bundle=place(settings.text("custom_ca_bundle")),
        insecure=settings.flag("insecure") or False,
        http_proxy=settings.text("http_proxy"),
        https_proxy=settings.text("https_proxy"),
        no_proxy=settings.text("no_proxy"),
        metadata_endpoint=settings.text("ec2_metadata_service_endpoint")
        or environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        or environ.get("AWS_METADATA_URL", ""),
        metadata_endpoint_mode=settings.text("ec2_metadata_service_endpoint_mode")
        or environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", ""),
        skip_metadata_api_check=settings.flag("skip_metadata_api_check"),
    )


def _files(paths: tuple[str, ...], one: str, place: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(map(place, paths or ((one,) if one else ())))


def _switch(settings: Attributes, name: str, variable: str) -> bool:
    value = settings.flag(name)
    if value is not None:
        return value
    # Up to 1.14 Terraform takes even "false" for true. Both endpoints serve the same data, so we take it as meant.
    return variable not in ("", "false", "False", "FALSE")


def _legacy_role(settings: Attributes) -> Attributes | None:
    """The role as top-level attributes, as Terraform had it before 1.10 and OpenTofu still has it."""
    if not settings.text("role_arn") or settings.block("assume_role"):
        return None
    return Attributes(
        {
            "role_arn": settings.text("role_arn"),
            "session_name": settings.text("session_name"),
            "external_id": settings.text("external_id"),
            "duration": settings.seconds("assume_role_duration_seconds"),
            "policy": settings.text("assume_role_policy"),
            "policy_arns": list(settings.texts("assume_role_policy_arns")),
            "tags": settings.pairs("assume_role_tags"),
            "transitive_tag_keys": list(settings.texts("assume_role_transitive_tag_keys")),
        },
        "the backend",
    )


def _role(role: Attributes) -> AssumeRole:
    return AssumeRole(
        role_arn=role.text("role_arn"),
        session_name=role.text("session_name"),
        duration=role.seconds("duration"),
        external_id=role.text("external_id"),
        policy=role.text("policy"),
        policy_arns=role.texts("policy_arns"),
        source_identity=role.text("source_identity"),
        tags=role.pairs("tags"),
        transitive_tag_keys=role.texts("transitive_tag_keys"),
    )


def _web_identity(role: Attributes, environ: Mapping[str, str], place: Callable[[str], str]) -> AssumeRole:
    return AssumeRole(
        role_arn=role.text("role_arn") or environ.get("AWS_ROLE_ARN", ""),
        session_name=role.text("session_name") or environ.get("AWS_ROLE_SESSION_NAME", ""),
        duration=role.seconds("duration"),
        policy=role.text("policy"),
        policy_arns=role.texts("policy_arns"),
        web_identity_token=role.text("web_identity_token"),
        web_identity_token_file=place(
            role.text("web_identity_token_file") or environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", "")
        ),
    )
