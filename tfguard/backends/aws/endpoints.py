"""
Which address a request to DynamoDB or S3 goes to, as the Go SDK decides, once `where` has settled what is configured.

It is the endpoint that was found, or AWS's own in the region; and in it a bucket stands in the host, or in the path.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tfguard.backends.aws.answers import lines_of
from tfguard.errors import StoreMisconfigured
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import AwsAccess

#: How the regions of a partition begin, its domain, and its domain for both IPv4 and IPv6.
_PARTITIONS = (
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
)
_AWS = ("amazonaws.com", "api.aws")
_DOMAINS = tuple(f".{domain}" for row in (("", *_AWS), *_PARTITIONS) for domain in row[1:])
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def is_aws(url: str) -> bool:
    """Whether the endpoint is AWS's own rather than something that speaks its protocol."""
    return (urlsplit(url).hostname or "").endswith(_DOMAINS)


def is_address(url: str) -> bool:
    """Whether the endpoint is named by its IP address: no bucket's name can stand before that."""
    return _is_address(urlsplit(url).hostname or "")


def is_for_botocore(bucket: str) -> bool:
    """Whether this is a bucket of a kind with rules of its own: an access point's ARN, or a directory bucket."""
    return bucket.startswith("arn:") or bucket.endswith("--x-s3")


def address(service: str, configured: str, region: str, access: AwsAccess) -> str:
    """
    Return the address of `dynamodb` or `s3`, no slash at its end; `configured` is what `where` has: empty, AWS's own.

    Raises:
        StoreMisconfigured: It is no URL, or no region.
    """
    if not configured:
        return _aws(service, region, fips=access.use_fips, dualstack=access.use_dualstack)
    if access.use_fips or access.use_dualstack:
        raise StoreMisconfigured(
            lines_of(
                f"{configured} is an endpoint of your own, so it cannot be asked for FIPS or for IPv6 as well.",
                "Leave out the endpoint, or use_fips_endpoint and use_dualstack_endpoint.",
            )
        )
    return _checked(configured)


def bucket_url(base: str, bucket: str, *, path_style: bool) -> str:
    """
    Return where a bucket's objects stand: no slash at its end.

    A bucket whose name could be a host's is one, before the endpoint's own. Not where the endpoint is an address, and,
    where there are dots in the name, not with TLS: its certificate would not fit.
    """
    parts = urlsplit(base)
    if not path_style and not _is_address(parts.hostname or "") and _can_be_host(bucket, dots=parts.scheme == "http"):
        return f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path.rstrip('/')}"
    return f"{base.rstrip('/')}/{quote(bucket, safe='~')}"


def _aws(service: str, region: str, *, fips: bool, dualstack: bool) -> str:
    if not _LABEL.fullmatch(region):
        raise StoreMisconfigured(
            lines_of(
                f"{printable(region, 60)!r} is no AWS region.",
                "Correct `region` in the backend, or set the endpoint, too.",
            )
        )
    domain, both = next((row[1:] for row in _PARTITIONS if region.startswith(row[0])), _AWS)
    if service == "s3":
        # S3's own host names for IPv6 are older than the domains for it.
        return f"https://s3{'-fips' if fips else ''}{'.dualstack' if dualstack else ''}.{region}.{domain}"
    # In GovCloud DynamoDB's ordinary endpoint is the FIPS one.
    fips = fips and not (region.startswith("us-gov-") and not dualstack)
    return f"https://{service}{'-fips' if fips else ''}.{region}.{both if dualstack else domain}"


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return url.rstrip("/")
    except ValueError:
        pass
    raise StoreMisconfigured(
        lines_of(
            f"{url.rpartition('@')[2]} is no address of a server.", "Give it as https://host, or http://host:port."
        )
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _can_be_host(bucket: str, *, dots: bool) -> bool:
    labels = bucket.split(".") if dots else [bucket]
    return (
        3 <= len(bucket) <= 63
        and not _is_address(bucket)
        and all(map(_LABEL.fullmatch, labels))
        and (bucket == bucket.lower())
    )
