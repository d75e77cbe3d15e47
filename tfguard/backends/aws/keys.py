"""What a request to AWS is signed with, and the roles that give it."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """One set of credentials. `expires_at` is None where they do not end, or do not say so."""

    access_key: str
    secret_key: str
    token: str | None = None
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Keys(expires_at={self.expires_at})"


class AssumeRole(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Terraform's `assume_role` or `assume_role_with_web_identity`; durations in seconds."""

    role_arn: str
    session_name: str = ""
    duration: int = 0
    external_id: str = ""
    policy: str = ""
    policy_arns: tuple[str, ...] = ()
    source_identity: str = ""
    tags: dict[str, str] = {}
    transitive_tag_keys: tuple[str, ...] = ()
    web_identity_token: str = ""
    web_identity_token_file: str = ""

    def __repr__(self) -> str:
        return "AssumeRole(…)"
