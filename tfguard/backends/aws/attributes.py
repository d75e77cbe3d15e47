"""
How Terraform's S3 backend would reach AWS: attributes of the backend, then the environment, in Terraform's order.

Only what botocore would read otherwise is resolved here. The rest of the environment (keys, `AWS_PROFILE`, web
identity, `AWS_CA_BUNDLE`, proxies, `AWS_ENDPOINT_URL`) is left to it, since both read that alike.

| attribute          | before                   | before               | why not botocore                      |
|--------------------|--------------------------|----------------------|---------------------------------------|
| `region`           | `AWS_REGION`             | `AWS_DEFAULT_REGION` | it does not read `AWS_REGION`         |
| `endpoints.X`      | deprecated attribute     | `AWS_ENDPOINT_URL_X` | then Terraform's own `AWS_X_ENDPOINT` |
| `shared_config_…`  | `AWS_SHARED_CONFIG_FILE` |                      | it knows `AWS_CONFIG_FILE` only       |
| `use_fips_…`       | `AWS_USE_FIPS_ENDPOINT`  |                      | Terraform takes any text for true     |
| `sse_customer_key` | `AWS_SSE_CUSTOMER_KEY`   |                      | Terraform's own                       |
"""

from __future__ import annotations

from collections.abc import Mapping

from tfguard.backends.attributes import Attributes
from tfguard.backends.aws.spec import AssumeRole, AwsAccess

_DEPRECATED = {"dynamodb": "dynamodb_endpoint", "s3": "endpoint", "sts": "sts_endpoint"}


def endpoint(settings: Attributes, service: str, environ: Mapping[str, str]) -> str:
    """Return the endpoint set for `dynamodb`, `s3` or `sts`; empty where botocore resolves it as Terraform does."""
    block = settings.block("endpoints")
    return (
        (block.text(service) if block else "")
        or settings.text(_DEPRECATED[service])
        or environ.get(f"AWS_ENDPOINT_URL_{service.upper()}", "")
        or environ.get(f"AWS_{service.upper()}_ENDPOINT", "")
    )


def aws_access(settings: Attributes, environ: Mapping[str, str]) -> AwsAccess:
    """
    Resolve everything but bucket, key and endpoints. Holds secrets: never logged.

    Raises:
        ConfigError: An attribute has a type that Terraform would not have written.
    """
    roles = (settings.block("assume_role"), _legacy_role(settings))
    web_identity = settings.block("assume_role_with_web_identity")
    return AwsAccess(
        region=settings.text("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", ""),
        access_key=settings.text("access_key"),
        secret_key=settings.text("secret_key"),
        token=settings.text("token"),
        profile=settings.text("profile"),
        shared_config_files=_config_files(settings, environ),
        shared_credentials_files=_credentials_files(settings, environ),
        assume_role=tuple(_role(role) for role in roles if role and role.text("role_arn")),
        assume_role_with_web_identity=_web_identity(web_identity, environ) if web_identity else None,
        sts_endpoint=endpoint(settings, "sts", environ),
        sts_region=settings.text("sts_region"),
        use_fips=_switch(settings, "use_fips_endpoint", environ.get("AWS_USE_FIPS_ENDPOINT", "")),
        use_dualstack=_switch(settings, "use_dualstack_endpoint", environ.get("AWS_USE_DUALSTACK_ENDPOINT", "")),
        ca_bundle=_home(settings.text("custom_ca_bundle"), environ),
        insecure=settings.flag("insecure") or False,
        http_proxy=settings.text("http_proxy"),
        https_proxy=settings.text("https_proxy"),
        no_proxy=settings.text("no_proxy"),
        metadata_endpoint=settings.text("ec2_metadata_service_endpoint")
        or environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", ""),
        metadata_endpoint_mode=settings.text("ec2_metadata_service_endpoint_mode")
        or environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", ""),
        skip_metadata_api_check=settings.flag("skip_metadata_api_check") or False,
    )


def _switch(settings: Attributes, name: str, variable: str) -> bool:
    value = settings.flag(name)
    if value is not None:
        return value
    # Up to 1.14 Terraform takes even "false" for true. Both endpoints serve the same data, so we take it as meant.
    return variable not in ("", "false", "False", "FALSE")


def _config_files(settings: Attributes, environ: Mapping[str, str]) -> tuple[str, ...]:
    one = environ.get("AWS_SHARED_CONFIG_FILE", "")
    files = settings.texts("shared_config_files") or ((one,) if one else ())
    return tuple(_home(file, environ) for file in files)


def _credentials_files(settings: Attributes, environ: Mapping[str, str]) -> tuple[str, ...]:
    one = settings.text("shared_credentials_file")
    files = settings.texts("shared_credentials_files") or ((one,) if one else ())
    return tuple(_home(file, environ) for file in files)


def _home(path: str, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    return home + path[1:] if home and (path == "~" or path.startswith("~/")) else path


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


def _web_identity(role: Attributes, environ: Mapping[str, str]) -> AssumeRole:
    return AssumeRole(
        role_arn=role.text("role_arn") or environ.get("AWS_ROLE_ARN", ""),
        session_name=role.text("session_name") or environ.get("AWS_ROLE_SESSION_NAME", ""),
        duration=role.seconds("duration"),
        policy=role.text("policy"),
        policy_arns=role.texts("policy_arns"),
        web_identity_token=role.text("web_identity_token"),
        web_identity_token_file=_home(
            role.text("web_identity_token_file") or environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", ""), environ
        ),
    )
