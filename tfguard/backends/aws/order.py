"""
Where AWS credentials come from: one order, Terraform's (aws-sdk-go-base), decided here and nowhere else.

| | source | set by |
|---|---|---|
| 1 | the backend's own keys | `access_key`, `secret_key`, `token` |
| 2 | the backend's web identity | `assume_role_with_web_identity` |
| 3 | the backend's profile | `profile` |
| 4 | keys of the environment | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` |
| 5 | a web identity of the environment | `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN` |
| 6 | a profile of the environment | `AWS_PROFILE`, then `AWS_DEFAULT_PROFILE`, then `default` |
| 7 | the container's | `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, then `…_FULL_URI` |
| 8 | the EC2 instance's | unless it is off |

In a profile: `source_profile`, its own keys, `credential_source`, web identity, SSO, `credential_process`, then 7, 8;
then its `role_arn` is assumed. After all of this come the roles of the backend's `assume_role`. The first step that is
set decides: if it fails, the next is not tried, since that would be somebody else. An empty variable is unset. The
older `AWS_ACCESS_KEY` and `AWS_SECRET_KEY` count where the newer names are unset.

Nothing is asked and nothing run here; `sources` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from tfguard.backends.aws.answers import lines_of
from tfguard.backends.aws.keys import AssumeRole, Keys
from tfguard.backends.aws.origins import Assumed, Container, Given, Instance, Process, Source, Sso, WebIdentity, told
from tfguard.backends.aws.profiles import Profiles, Section, expanded, read_profiles
from tfguard.backends.environ import is_in_checkout, own_environment
from tfguard.errors import StoreDenied, StoreMisconfigured, TfguardError
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import AwsAccess

#: A role's session lasts this long at least; a profile's shorter wish is not sent.
_SHORTEST_SECONDS = 15 * 60
_SSO = ("sso_start_url", "sso_region", "sso_account_id", "sso_role_name")


class Step(msgspec.Struct, frozen=True):
    """One step of the order, and what it holds: never a secret."""

    name: str
    found: str = ""
    mark: Literal["not set", "used", "not used"] = "not set"


class Decision(msgspec.Struct, frozen=True):
    """Which source it is, and how we came to it."""

    source: Source
    steps: tuple[Step, ...]

    @property
    def used(self) -> Step:
        return next(step for step in self.steps if step.mark == "used")


def profile_name(access: AwsAccess, environ: Mapping[str, str]) -> str:
    """Return the profile that counts; empty where only `default` may."""
    return access.profile or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or ""


def profiles_of(access: AwsAccess, environ: Mapping[str, str]) -> Profiles:
    """
    Read the shared files: the backend's, or AWS's own variables', or those in ~/.aws.

    Raises:
        StoreMisconfigured: One of them cannot be read.
    """
    return read_profiles(*_files_of(access, environ))


def _files_of(access: AwsAccess, environ: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    home = environ.get("HOME", "")
    config = access.shared_config_files or (environ.get("AWS_CONFIG_FILE") or f"{home}/.aws/config",)
    # Terraform itself reads this one, and expands it; the other is the SDK's, which does not.
    named = expanded(environ.get("AWS_SHARED_CREDENTIALS_FILE", ""), environ)
    credentials = access.shared_credentials_files or (named or f"{home}/.aws/credentials",)
    return config, credentials


def decide(access: AwsAccess, environ: Mapping[str, str], profiles: Profiles) -> Decision:
    """
    Find the source of the credentials: the first step that is set.

    Raises:
        StoreDenied: No step is set, or the one that is cannot give any.

        StoreMisconfigured: A profile that does not exist, or contradicts itself, or wants somebody asked.
    """
    return _Order(access, environ, profiles).decide()


def examine(access: AwsAccess, environ: Mapping[str, str], profiles: Profiles) -> tuple[Step, ...]:
    """Look at every step of the order, where `decide` finds none that it could use: what is wrong with it, too."""
    return _Order(access, environ, profiles).examine()


class _Order:
    def __init__(self, access: AwsAccess, environ: Mapping[str, str], profiles: Profiles) -> None:
        self._access, self._environ, self._profiles = access, environ, profiles

    def decide(self) -> Decision:
        self._require_profile()
        steps: list[Step] = []
        source: Source | None = None
        for name, look in self._steps():
            if source is not None:
                steps.append(_passed_over(name, look))
                continue
            source = look()
            steps.append(Step(name) if source is None else Step(name, told(source), "used"))
        if source is None:
            raise nothing_found(self._access, self._environ)
        return Decision(source, tuple(steps))

    def examine(self) -> tuple[Step, ...]:
        return tuple(self._examined(name, look) for name, look in self._steps())

    def _examined(self, name: str, look: Callable[[], Source | None]) -> Step:
        try:
            found = look()
        except TfguardError as error:
            return Step(name, str(error).splitlines()[0].rstrip("."), "not used")
        if found is not None:
            return Step(name, told(found), "not used")
        profile = {"profile": self._access.profile}.get(name, self._environ.get(name, ""))
        is_missing = bool(profile) and name in ("profile", environs_profile(self._environ))
        return Step(name, f"there is no profile {printable(profile, 40)}", "not used") if is_missing else Step(name)

    def _steps(self) -> list[tuple[str, Callable[[], Source | None]]]:
        return [
            ("access_key", self._backends_keys),
            ("assume_role_with_web_identity", self._backends_web_identity),
            ("profile", self._backends_profile),
            ("AWS_ACCESS_KEY_ID", self._environs_keys),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", self._environs_web_identity),
            (environs_profile(self._environ), self._environs_profile),
            ("container", self._container),
            ("EC2 instance", self._instance),
        ]

    def _require_profile(self) -> None:
        """A profile that is named must make sense, though other keys may go before it; Terraform says so."""
        access = self._access
        if (access.access_key or access.secret_key or access.token) and not access.profile:
            return
        name = profile_name(access, self._environ)
        if not name:
            return
        where = "`profile`" if access.profile else environs_profile(self._environ)
        section = self._profiles.profile(name)
        if section is None:
            raise _misconfigured(
                f"There is no profile {name} ({where}) in AWS's shared files.",
                f"Correct {where}, or add it to ~/.aws/config ([profile {name}]) or ~/.aws/credentials ([{name}]).",
            )
        _require_sense(name, section)

    # --- the steps ----------------------------------------------------------------------------------------------

    def _backends_keys(self) -> Source | None:
        access = self._access
        if not (access.access_key or access.secret_key or access.token):
            return None
        if not (access.access_key and access.secret_key):
            raise StoreDenied(
                lines_of(
                    "The backend has only a part of `access_key` and `secret_key`.",
                    "Give both, or neither: then they come from the environment or a profile.",
                ),
                action="sign",
                resource="AWS credentials",
            )
        return Given(Keys(access_key=access.access_key, secret_key=access.secret_key, token=access.token or None))

    def _backends_web_identity(self) -> Source | None:
        role = self._access.assume_role_with_web_identity
        return WebIdentity(role, is_backends=True) if role else None

    def _backends_profile(self) -> Source | None:
        return self._profile(self._access.profile, is_named=True) if self._access.profile else None

    def _environs_keys(self) -> Source | None:
        keys = environs_keys(self._environ)
        return Given(keys) if keys else None

    def _environs_web_identity(self) -> Source | None:
        path = self._environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
        if not path:
            return None
        role = self._environ.get("AWS_ROLE_ARN")
        if not role:
            raise _misconfigured(
                "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not.",
                "Set AWS_ROLE_ARN to the role that the token is for, or unset both.",
            )
        name = self._environ.get("AWS_ROLE_SESSION_NAME", "")
        return WebIdentity(AssumeRole(role_arn=role, session_name=name, web_identity_token_file=path))

    def _environs_profile(self) -> Source | None:
        name = profile_name(self._access, self._environ)
        return self._profile(name or "default", is_named=bool(name))

    def _profile(self, name: str, *, is_named: bool) -> Source | None:
        section = self._profiles.profile(name)
        if section is None:
            return None
        found = self._of_profile(name, section, frozenset(), may_fall_back=is_named or bool(section.get("role_arn")))
        if found is not None:
            self._refuse_strangers_program(found)
        return found

    def _container(self) -> Source | None:
        path = self._environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
        url = "" if path else self._environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
        if not (path or url):
            return None
        token_file = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")
        token = "" if token_file else self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        return Container(path, url, token, token_file)

    def _instance(self) -> Source | None:
        is_skipped = self._access.skip_metadata_api_check
        if is_skipped is None:
            is_skipped = self._environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        return None if is_skipped else Instance(self._access.metadata_endpoint, self._access.metadata_endpoint_mode)

    # --- inside a profile ---------------------------------------------------------------------------------------

    def _of_profile(
        self, name: str, section: Section, seen: frozenset[str], *, may_fall_back: bool = False
    ) -> Source | None:
        """
        Find a profile's credentials; `seen` are the profiles whose source it is.

        One that has none of its own takes the container's or the instance's, if it may.
        """
        is_again = name in seen
        if not is_again:
            _require_sense(name, section)
        found: Source | None
        if seen and _own_keys(section):
            found = _own_keys(section)
        elif section.get("source_profile") and not is_again:
            found = self._source_profile(name, section.get("source_profile"), seen | {name})
        elif section.get("web_identity_token_file") and not _own_keys(section):
            role = _role_of(section, web_identity_token_file=section.get("web_identity_token_file"))
            return WebIdentity(role, file=section.files["web_identity_token_file"])
        else:
            found = self._own(name, section)
        if found is None and may_fall_back:
            found = self._container() or self._instance()
        assumed = None if is_again or found is None else _role(name, section)
        return Assumed(assumed, found) if assumed and found else found

    def _own(self, name: str, section: Section) -> Source | None:
        keys = _own_keys(section)
        if keys:
            return keys
        if section.get("credential_source"):
            return self._credential_source(name, section)
        if section.get("sso_session") or any(section.get(key) for key in _SSO):
            return self._sso(name, section)
        if section.get("credential_process"):
            return Process(section.get("credential_process"), name, section.files["credential_process"])
        return None

    def _source_profile(self, name: str, source: str, seen: frozenset[str]) -> Source:
        section = self._profiles.profile(source)
        if section is None:
            raise _profile_error(name, f"has source_profile {source}, which there is not")
        found = self._of_profile(source, section, seen)
        if found is None:
            raise _profile_error(name, f"has source_profile {source}, which has no credentials")
        return found

    def _credential_source(self, name: str, section: Section) -> Source:
        source = section.get("credential_source")
        found: Source | None
        match source:
            case "Environment":
                found = self._environs_keys()
            case "EcsContainer":
                found = self._container()
            case "Ec2InstanceMetadata":
                found = self._instance()
            case _:
                raise _profile_error(name, "has a credential_source that AWS does not know")
        if found is None:
            raise _profile_error(name, f"has credential_source {source}, which has no credentials")
        return found

    def _sso(self, name: str, section: Section) -> Source:
        session = section.get("sso_session")
        about = self._profiles.sso_session(session) if session else section
        if about is None:
            raise _profile_error(name, f"has sso_session {session}, which there is not")
        for key in _SSO[:2]:
            if section.get(key) and section.get(key) != about.get(key):
                raise _profile_error(name, f"has another {key} than its sso_session {session}")
        values = {**{key: about.get(key) for key in _SSO[:2]}, **{key: section.get(key) for key in _SSO[2:]}}
        missing = [key for key, value in values.items() if not value]
        if missing:
            raise _profile_error(name, f"uses SSO without {', '.join(missing)}")
        return Sso(
            values["sso_account_id"], values["sso_role_name"], values["sso_region"], values["sso_start_url"], session
        )

    def _refuse_strangers_program(self, source: Source) -> None:
        """
        Run no program that a checkout names: backend or tfguard.yml chose these files, so who wrote the branch did.

        The user's own files, and those of the user's AWS_CONFIG_FILE, are the user's choice wherever they are.
        """
        while isinstance(source, Assumed):
            source = source.source
        if isinstance(source, Process) and source.file in strangers_files(self._access, self._environ):
            raise _misconfigured(
                f"Profile {source.profile} of {printable(source.file, 50)} runs a program (credential_process);"
                " that file is part of this checkout.",
                "tfguard does not run it: move that profile to ~/.aws/config, or set AWS_CONFIG_FILE.",
            )


def nothing_found(access: AwsAccess, environ: Mapping[str, str]) -> StoreDenied:
    """What to raise where no step of the order gives credentials; names them all."""
    profile = f"profile {access.profile}" if access.profile else environs_profile(environ)
    tried = f"backend, AWS_ACCESS_KEY_ID, web identity, {printable(profile, 24)}, container, EC2"
    return StoreDenied(
        lines_of("There are no AWS credentials.", f"Tried, in this order: {tried}. Set one of them."),
        action="sign",
        resource="AWS credentials",
    )


def environs_profile(environ: Mapping[str, str]) -> str:
    """Say where the environment's profile comes from: `AWS_PROFILE`, `AWS_DEFAULT_PROFILE`, or `profile default`."""
    named = (variable for variable in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE") if environ.get(variable))
    return next(named, "profile default")


def _passed_over(name: str, look: Callable[[], Source | None]) -> Step:
    """A step after the one that counts: whether it is set is worth knowing, whether it is right is not."""
    try:
        found = look()
    except TfguardError:
        return Step(name, "unusable", "not used")
    return Step(name, told(found), "not used") if found else Step(name)


def environs_keys(environ: Mapping[str, str]) -> Keys | None:
    """Return the environment's keys. Half a pair is none, and nobody's word on when they end is believed."""
    access = environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_ACCESS_KEY")
    secret = environ.get("AWS_SECRET_ACCESS_KEY") or environ.get("AWS_SECRET_KEY")
    if not (access and secret):
        return None
    return Keys(access_key=access, secret_key=secret, token=environ.get("AWS_SESSION_TOKEN") or None)


def _own_keys(section: Section) -> Given | None:
    access, secret = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
    if not (access and secret):
        return None
    return Given(Keys(access_key=access, secret_key=secret, token=section.get("aws_session_token") or None))


def _require_sense(name: str, section: Section) -> None:
    if section.is_partial:
        raise _profile_error(name, "has one of aws_access_key_id and aws_secret_access_key without the other")
    kinds = ("source_profile", "credential_source", "web_identity_token_file", "credential_process")
    found = [kind for kind in kinds if section.get(kind)]
    if len(found) > 1:
        raise _profile_error(name, f"has both {found[0]} and {found[1]}")
    if found and found != ["credential_process"] and not section.get("role_arn"):
        raise _profile_error(name, f"has {found[0]} without role_arn")


def _role(name: str, section: Section) -> AssumeRole | None:
    if not section.get("role_arn"):
        return None
    if section.get("mfa_serial"):
        raise _misconfigured(
            f"AWS profile {name} has mfa_serial: its role wants a code, and nobody can be asked here.",
            "Name another profile, or get the role's keys first and set AWS_ACCESS_KEY_ID and its likes.",
        )
    return _role_of(section)


def _role_of(section: Section, web_identity_token_file: str = "") -> AssumeRole:
    seconds = section.get("duration_seconds")
    duration = int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 9 else 0
    return AssumeRole(
        role_arn=section.get("role_arn"),
        session_name=section.get("role_session_name"),
        external_id=section.get("external_id"),
        duration=duration if duration > _SHORTEST_SECONDS else 0,
        web_identity_token_file=web_identity_token_file,
    )


def strangers_files(access: AwsAccess, environ: Mapping[str, str]) -> frozenset[str]:
    """Return the shared files that a branch may have chosen, and written: in the checkout, and not named by us."""
    ours = _files_of(
        msgspec.structs.replace(access, shared_config_files=(), shared_credentials_files=()), own_environment()
    )
    used = {path for paths in _files_of(access, environ) for path in paths}
    return frozenset(path for path in used - {path for paths in ours for path in paths} if is_in_checkout(path))


def _misconfigured(what: str, advice: str) -> StoreMisconfigured:
    return StoreMisconfigured(lines_of(what, advice))


def _profile_error(name: str, what: str) -> StoreMisconfigured:
    return _misconfigured(f"AWS profile {name} {what}.", "Correct that profile in AWS's shared files, or name another.")
