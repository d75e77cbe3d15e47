"""
Where AWS is asked: region, endpoints and their kind, from the backend, the environment and the profile.

| what | order |
|---|---|
| region | the backend's `region`, `AWS_REGION`, `AWS_DEFAULT_REGION`; a store's URL: then the profile's |
| endpoint of a service | the backend's, `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_<SERVICE>_ENDPOINT`, then as configured: |
| as configured | `AWS_ENDPOINT_URL`, the profile's `services`, its `endpoint_url`; nothing where these are ignored |
| STS inside the order of credentials | as above, without what is meant for all services (aws-sdk-go-base has it so) |
| STS for the backend's own roles | as above, in `sts_region` if that is set |
| IAM Identity Center | the backend's `endpoints.sso`, `AWS_ENDPOINT_URL_SSO`, the profile's `services` |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from tfguard.backends.aws.answers import lines_of
from tfguard.backends.aws.order import profile_name
from tfguard.backends.aws.profiles import Profiles, Section
from tfguard.errors import StoreMisconfigured

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import AwsAccess

#: Terraform's older names for AWS_ENDPOINT_URL_<SERVICE>.
_LEGACY = {"dynamodb": "AWS_DYNAMODB_ENDPOINT", "s3": "AWS_S3_ENDPOINT", "sts": "AWS_STS_ENDPOINT"}


class Where(msgspec.Struct, frozen=True):
    """How one access reaches AWS, with all that environment and profile add to it; `access` holds that too."""

    access: AwsAccess
    environ: Mapping[str, str]
    profiles: Profiles
    profile: Section

    @property
    def region(self) -> str:
        """
        Return the region of the lock.

        Raises:
            StoreMisconfigured: None is set.
        """
        found = (
            self.access.region
            or self.environ.get("AWS_REGION")
            or self.environ.get("AWS_DEFAULT_REGION")
            or self.profile.get("region")
        )
        if not found:
            raise StoreMisconfigured(lines_of("No AWS region is set.", "Set `region` in the backend, or AWS_REGION."))
        return found

    def configured(self, service: str, backends: str = "") -> str:
        """Return the endpoint that is set for a service, `backends` before all; empty: AWS's own (`endpoints`)."""
        return self._of_service(service, backends) or self._of_all(service)

    def chain_sts(self) -> tuple[str, str]:
        """Return region and endpoint of STS while credentials are looked for."""
        named = self._named("sts", self.access.sts_endpoint)
        return (named and self.access.sts_region) or self.region, named or self._of_services("sts")

    def backend_sts(self) -> tuple[str, str]:
        """Return region and endpoint of STS for the backend's own roles."""
        return self.access.sts_region or self.region, self.configured("sts", self.access.sts_endpoint)

    def sso(self, service: str) -> str:
        """Return the endpoint of `sso` or `sso-oidc`; empty: AWS's own, in the region of the session."""
        configured = self.access.sso_endpoint if service == "sso" else ""
        return self._of_service(service, configured)

    def _of_service(self, service: str, configured: str) -> str:
        named = self._named(service, configured)
        # AWS_ENDPOINT_URL goes before a profile's services.
        return named or ("" if self.environ.get("AWS_ENDPOINT_URL") else self._of_services(service))

    def _named(self, service: str, configured: str) -> str:
        """What names this service outside the profile. Terraform reads these variables itself, whatever is ignored."""
        variable = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
        return configured or self.environ.get(variable) or self.environ.get(_LEGACY.get(service, ""), "")

    def _of_services(self, service: str) -> str:
        if self._is_ignored():
            return ""
        return self.profiles.service(self.profile, service.replace("-", "_"), "endpoint_url")

    def _of_all(self, service: str) -> str:
        if self._is_ignored():
            return ""
        return self.environ.get("AWS_ENDPOINT_URL") or self.profile.get("endpoint_url")

    def _is_ignored(self) -> bool:
        said = self.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        return is_true(said or self.profile.get("ignore_configured_endpoint_urls"))


def where_of(access: AwsAccess, environ: Mapping[str, str], profiles: Profiles) -> Where:
    """Add to an access what environment and profile say about the network, so that nobody else reads them."""
    profile = profiles.profile(profile_name(access, environ) or "default") or Section()
    endpoint = access.metadata_endpoint or profile.get("ec2_metadata_service_endpoint")
    whole = msgspec.structs.replace(
        access,
        use_fips=access.use_fips or _switch(environ, "AWS_USE_FIPS_ENDPOINT", profile, "use_fips_endpoint"),
        use_dualstack=access.use_dualstack
        or _switch(environ, "AWS_USE_DUALSTACK_ENDPOINT", profile, "use_dualstack_endpoint"),
        ca_bundle=access.ca_bundle or environ.get("AWS_CA_BUNDLE") or profile.get("ca_bundle"),
        metadata_endpoint=endpoint
        or environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        or environ.get("AWS_METADATA_URL", ""),
        metadata_endpoint_mode=access.metadata_endpoint_mode
        or environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
        or profile.get("ec2_metadata_service_endpoint_mode"),
    )
    return Where(whole, environ, profiles, profile)


def is_true(text: str) -> bool:
    """Terraform up to 1.14 takes any value of a switch for true; nobody who writes `false` means it."""
    return text.lower() not in {"", "false", "0"}


def _switch(environ: Mapping[str, str], variable: str, profile: Section, key: str) -> bool:
    said = environ.get(variable)
    return is_true(said) if said else profile.get(key).lower() == "true"
