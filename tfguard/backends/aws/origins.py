"""The kinds of places that AWS credentials come from: what `order` decides between, and `sources` asks."""

from __future__ import annotations

import msgspec

from tfguard.backends.aws.keys import AssumeRole, Keys


class Given(msgspec.Struct, frozen=True):
    """Keys that stand there."""

    keys: Keys


class WebIdentity(msgspec.Struct, frozen=True):
    """
    A token that STS exchanges for a role; `is_backends`: of the backend, whose STS region then counts. Where a profile
    names the token, `file` is that of the profile.
    """

    role: AssumeRole
    is_backends: bool = False
    file: str = ""


class Sso(msgspec.Struct, frozen=True):
    """A role given by IAM Identity Center; `session` is empty for the older form, without a session's name."""

    account: str
    role: str
    region: str
    start_url: str
    session: str = ""


class Process(msgspec.Struct, frozen=True):
    """A program that prints keys, run by the shell; `profile` in `file` names it."""

    command: str
    profile: str
    file: str


class Container(msgspec.Struct, frozen=True):
    """The container's own service: a path at ECS's address, or a whole URL."""

    path: str = ""
    url: str = ""
    token: str = ""
    token_file: str = ""


class Instance(msgspec.Struct, frozen=True):
    """The metadata service of the EC2 instance."""

    endpoint: str = ""
    mode: str = ""


class Assumed(msgspec.Struct, frozen=True):
    """A profile's role, assumed with other credentials."""

    role: AssumeRole
    source: Source


Source = Given | WebIdentity | Sso | Process | Container | Instance | Assumed


def told(source: Source) -> str:
    """Say for people what a source is, without a secret."""
    match source:
        case Given():
            return "keys"
        case WebIdentity(role):
            return f"web identity for {role.role_arn}"
        case Sso(account, role):
            return f"SSO: {role} in {account}"
        case Process():
            return "credential_process"
        case Container():
            return "the container's role"
        case Instance():
            return "the instance's role"
        case Assumed(role, inner):
            return f"{told(inner)}, then {role.role_arn}"
