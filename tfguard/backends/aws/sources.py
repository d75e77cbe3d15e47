"""
Get keys from a source that `order` has decided for: with botocore, which speaks STS, SSO and the metadata services.

A request for credentials is made up to three times, since a run should not fail for a hiccup of STS.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import msgspec
from botocore.credentials import JSONFileCache, SSOCredentialFetcher
from botocore.exceptions import BotoCoreError, SSOError, TokenRetrievalError
from botocore.tokens import SSOTokenProvider
from botocore.utils import (
    ContainerMetadataFetcher,
    InstanceMetadataFetcher,
    SSOTokenLoader,
)

from tfguard import programs
from tfguard.backends.aws.answers import answers, lines_of
from tfguard.backends.aws.keys import AssumeRole, Keys
from tfguard.backends.aws.origins import Assumed, Container, Given, Instance, Process, Source, Sso, WebIdentity
from tfguard.backends.aws.profiles import read_small
from tfguard.backends.aws.sessions import MetadataSession, create_client
from tfguard.backends.aws.tokens import refuse_to_hand_over
from tfguard.backends.aws.where import Where
from tfguard.errors import StoreDenied, StoreUnavailable
from tfguard.wire import parse

#: AssumeRoleWithWebIdentity is not signed, but a client wants some keys.
# Nothing is signed with it.
_UNSIGNED = Keys(access_key="none", secret_key="none")  # noqa: S106
#: The metadata service answers at once, or is not there.
_METADATA_SECONDS = 1.0
_METADATA_ATTEMPTS = 3
#: A program that gives credentials has this long, as in the AWS SDK for Go.
_PROCESS_SECONDS = 60.0


class Sources:
    """Asks for keys on behalf of one access. `name` is the step of the order, for messages."""

    def __init__(self, session: Any, where: Where, name: str) -> None:
        self._session, self._where, self._name = session, where, name

    def keys(self, source: Source) -> Keys:
        """
        Get the keys of a source. May take as long as STS does.

        Raises:
            StoreDenied, StoreUnavailable, StoreMisconfigured: There are none, or not now.
        """
        match source:
            case Given(keys):
                return keys
            case WebIdentity():
                return self._exchanged(source)
            case Sso():
                return self._of_sso(source)
            case Process(command, profile, _):
                return self._printed(command, profile)
            case Container():
                return self._of_container(source)
            case Instance(endpoint, mode):
                return self._of_instance(endpoint, mode)
            case Assumed(role, inner):
                return self.assumed(role, self.keys(inner), is_backends=False)

    def assumed(self, role: AssumeRole, keys: Keys, *, is_backends: bool) -> Keys:
        """Assume a role with other keys. Raises as `keys` does."""
        with answers("sts:AssumeRole", self._about(f"role {role.role_arn}", is_backends=is_backends)):
            return _keys_of(self._sts(keys, is_backends=is_backends).assume_role(**_role_parameters(role)))

    def caller(self, keys: Keys) -> str:
        """Return the ARN that AWS knows these keys by. Raises as `keys` does."""
        with answers("sts:GetCallerIdentity", "these credentials"):
            return str(self._sts(keys, is_backends=True).get_caller_identity()["Arn"])

    def _about(self, what: str, *, is_backends: bool = False) -> str:
        return what if is_backends else f"{what} ({self._name})"

    # --- STS ----------------------------------------------------------------------------------------------------

    def _exchanged(self, source: WebIdentity) -> Keys:
        role, is_backends = source.role, source.is_backends
        refuse_to_hand_over(source, self._where)
        parameters = _web_parameters(role)
        with answers("sts:AssumeRoleWithWebIdentity", self._about(f"role {role.role_arn}", is_backends=is_backends)):
            sts = self._sts(_UNSIGNED, is_backends=is_backends)
            return _keys_of(sts.assume_role_with_web_identity(**parameters))

    def _sts(self, keys: Keys, *, is_backends: bool) -> Any:
        region, endpoint = self._where.backend_sts() if is_backends else self._where.chain_sts()
        signing = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.token,
        }
        return create_client(self._session, "sts", self._where.access, region, endpoint, {}, **signing)

    # --- SSO ----------------------------------------------------------------------------------------------------

    def _of_sso(self, source: Sso) -> Keys:
        cache = JSONFileCache(os.path.join(self._where.environ.get("HOME", ""), ".aws", "sso", "cache"))
        login = _Login(source, self._sso_client)
        with answers("sso:GetRoleCredentials", self._about(f"{source.role} in {source.account}")):
            fetcher = SSOCredentialFetcher(
                start_url=source.start_url,
                sso_region=source.region,
                role_name=source.role,
                account_id=source.account,
                client_creator=login.create_client,
                token_loader=SSOTokenLoader(cache=cache),
                token_provider=SSOTokenProvider(login, cache=cache, profile_name="p") if source.session else None,
                sso_session_name=source.session or None,
            )
            try:
                found = fetcher.fetch_credentials()
            except (SSOError, TokenRetrievalError) as error:
                raise StoreDenied(
                    lines_of(
                        f"Nobody is signed in at {source.start_url} any more, or ever was ({self._name}).",
                        f"Sign in: aws sso login{f' --sso-session {source.session}' if source.session else ''}",
                    ),
                    action="sso:GetRoleCredentials",
                    resource=source.role,
                    is_expired=True,
                ) from error
        return Keys(
            access_key=found["access_key"],
            secret_key=found["secret_key"],
            token=found["token"],
            expires_at=_instant(found["expiry_time"]),
        )

    def _sso_client(self, service: str, region: str) -> Any:
        # Neither is signed: the token in the request is the proof.
        signing = {"aws_access_key_id": _UNSIGNED.access_key, "aws_secret_access_key": _UNSIGNED.secret_key}
        access = self._where.access
        return create_client(self._session, service, access, region, self._where.sso(service), {}, **signing)

    # --- programs -----------------------------------------------------------------------------------------------

    def _printed(self, command: str, profile: str) -> Keys:
        """Run a program by the shell, as the AWS SDK for Go does; what it prints is never shown."""
        environ = self._where.environ
        try:
            said = programs.ask([programs.find("sh", environ), "-c", command], environ, _PROCESS_SECONDS)
        except TimeoutError as error:
            says = f"The credential_process of profile {profile} took more than {_PROCESS_SECONDS:.0f} s."
            raise StoreUnavailable(lines_of(says, "Run it by hand: it may wait for somebody.")) from error
        except OSError as error:
            raise self._useless(profile, f"cannot be run ({error.strerror})") from error
        if said.status:
            raise self._useless(profile, said.ending(), said.last_words())
        return self._read_printed(said.output, profile)

    def _read_printed(self, output: bytes, profile: str) -> Keys:
        try:
            said = parse(output, _Printed)
        except msgspec.DecodeError:
            raise self._useless(profile, "printed no credentials in AWS's form") from None
        if said.Version != 1 or not (said.AccessKeyId and said.SecretAccessKey):
            raise self._useless(profile, "printed no credentials in AWS's form")
        expires_at = _instant(said.Expiration) if said.Expiration else None
        if expires_at is not None and expires_at <= datetime.now(timezone.utc):
            raise self._useless(profile, "printed credentials that have expired")
        return Keys(
            access_key=said.AccessKeyId,
            secret_key=said.SecretAccessKey,
            token=said.SessionToken or None,
            expires_at=expires_at,
        )

    def _useless(self, profile: str, why: str, said: str = "") -> StoreDenied:
        first = f"The credential_process of profile {profile} {why} ({self._name}){f': {said}' if said else '.'}"
        return _denied(first, "Run it by hand; it must print JSON with Version 1, AccessKeyId and SecretAccessKey.")

    # --- metadata services --------------------------------------------------------------------------------------

    def _of_container(self, source: Container) -> Keys:
        fetcher = ContainerMetadataFetcher(MetadataSession(None, ContainerMetadataFetcher.TIMEOUT_SECONDS))
        headers = self._container_headers(source)
        url = fetcher.full_url(source.path) if source.path else source.url
        try:
            found = fetcher.retrieve_full_uri(url, headers=headers)
            return Keys(
                access_key=found["AccessKeyId"],
                secret_key=found["SecretAccessKey"],
                token=found.get("Token"),
                expires_at=_instant(found["Expiration"]) if found.get("Expiration") else None,
            )
        except BotoCoreError as error:
            raise StoreUnavailable(lines_of(f"The container's service gives no credentials: {error}")) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _denied(
                f"The container's service at {urlsplit(url).netloc} gives no credentials ({self._name}).",
                "Correct AWS_CONTAINER_CREDENTIALS_FULL_URI: a loopback address, ECS's or EKS's, or https.",
            ) from error

    def _container_headers(self, source: Container) -> dict[str, str]:
        token = source.token
        if source.token_file:
            content = read_small(source.token_file)
            if content is None:
                raise _denied(
                    "The container's authorization token cannot be read.",
                    f"It should be in {source.token_file} (AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE).",
                )
            token = content.decode("utf-8", "replace")
        if "\r" in token or "\n" in token:
            raise _denied("The container's authorization token has several lines.", "It must be a single one.")
        return {"Authorization": token} if token else {}

    def _of_instance(self, endpoint: str, mode: str) -> Keys:
        config = {
            "ec2_metadata_service_endpoint": endpoint or None,
            "ec2_metadata_service_endpoint_mode": mode.lower() or None,
            "ec2_metadata_v1_disabled": self._where.environ.get("AWS_EC2_METADATA_V1_DISABLED", "").lower() == "true",
        }
        fetcher = InstanceMetadataFetcher(_METADATA_SECONDS, _METADATA_ATTEMPTS, env={}, config=config)
        fetcher._session = MetadataSession(self._where.access, _METADATA_SECONDS)
        with answers("ec2:InstanceMetadata", "the instance's role"):
            found = fetcher.retrieve_iam_role_credentials()
        if not found:
            raise NoInstanceRole
        return Keys(
            access_key=found["access_key"],
            secret_key=found["secret_key"],
            token=found["token"],
            expires_at=_instant(found["expiry_time"]),
        )


class NoInstanceRole(Exception):
    """This machine is no EC2 instance with a role: nothing is left to ask."""


class _Printed(msgspec.Struct):
    """What a credential_process prints; the names are AWS's."""

    Version: int = 0
    AccessKeyId: str = ""
    SecretAccessKey: str = ""
    SessionToken: str | None = ""
    Expiration: str | None = ""


class _Login:
    """What botocore's SSO asks of a session: the one profile that counts, and clients."""

    def __init__(self, source: Sso, connect: Any) -> None:
        profile = {"sso_session": source.session} if source.session else {}
        about = {"sso_start_url": source.start_url, "sso_region": source.region}
        self.full_config = {"profiles": {"p": profile}, "sso_sessions": {source.session: about}}
        self._region, self._connect = source.region, connect

    def create_client(self, service: str, **_: Any) -> Any:
        return self._connect(service, self._region)

    def get_config_variable(self, _: str) -> None:
        return None


def _denied(*lines: str) -> StoreDenied:
    return StoreDenied(lines_of(*lines), action="sign", resource="AWS credentials")


def _instant(value: Any) -> datetime:
    """Read an ISO time; an instant stays what it is."""
    if isinstance(value, datetime):
        return value
    try:
        found = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as error:
        raise _denied("AWS credentials came with a time that is none.", "Ask who made them.") from error
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _role_parameters(role: AssumeRole) -> dict[str, Any]:
    parameters = {
        "RoleArn": role.role_arn,
        "RoleSessionName": role.session_name or "tfguard",
        "DurationSeconds": role.duration,
        "ExternalId": role.external_id,
        "Policy": role.policy,
        "PolicyArns": [{"arn": arn} for arn in role.policy_arns],
        "SourceIdentity": role.source_identity,
        "Tags": [{"Key": key, "Value": value} for key, value in role.tags.items()],
        "TransitiveTagKeys": list(role.transitive_tag_keys),
    }
    return {name: value for name, value in parameters.items() if value}


def _web_parameters(role: AssumeRole) -> dict[str, Any]:
    names = ("RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "PolicyArns")
    parameters = {name: value for name, value in _role_parameters(role).items() if name in names}
    return {**parameters, "WebIdentityToken": _web_token(role)}


def _web_token(role: AssumeRole) -> str:
    if role.web_identity_token or not role.web_identity_token_file:
        return role.web_identity_token
    path = role.web_identity_token_file
    content = read_small(path)
    token = "" if content is None else content.decode("utf-8", "replace").strip()
    if not token:
        lines = (f"The web identity token cannot be read (for role {role.role_arn}).", f"It should be in {path}")
        raise StoreDenied(lines_of(*lines), action="sts:AssumeRoleWithWebIdentity", resource=path)
    return token


def _keys_of(answer: Mapping[str, Any]) -> Keys:
    found = answer["Credentials"]
    return Keys(
        access_key=found["AccessKeyId"],
        secret_key=found["SecretAccessKey"],
        token=found["SessionToken"],
        expires_at=found["Expiration"],
    )
