"""AWS's own endpoints are those that botocore's rules give, in every region that it knows."""

from __future__ import annotations

from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.endpoint_provider import EndpointProvider

from tfguard.backends.aws.endpoints import address, bucket_url, is_aws
from tfguard.backends.aws.spec import AwsAccess
from tfguard.errors import StoreMisconfigured

SESSION = botocore.session.get_session()
#: botocore's rules are older or newer than the Go SDK's here.
PSEUDO = {"aws-global", "aws-cn-global", "aws-us-gov-global"}


def regions() -> list[str]:
    partitions = SESSION.get_available_partitions()
    return sorted({name for each in partitions for name in SESSION.get_available_regions("dynamodb", each)} - PSEUDO)


def ours(service: str, region: str, **settings: bool) -> str:
    return address(service, "", region, AwsAccess(**settings))


@pytest.mark.parametrize("service", ["dynamodb", "s3"])
@pytest.mark.parametrize(
    "settings", [{}, {"use_fips": True}, {"use_dualstack": True}, {"use_fips": True, "use_dualstack": True}], ids=str
)
def test_every_region_has_the_host_that_botocore_knows(service: str, settings: dict[str, bool]) -> None:
    model = SESSION.get_component("data_loader").load_service_model(service, "endpoint-rule-set-1")
    provider = EndpointProvider(model, SESSION.get_component("data_loader").load_data("partitions"))
    differ, known = [], 0
    for region in regions():
        asked = {"Region": region, "UseFIPS": settings.get("use_fips", False)}
        asked["UseDualStack"] = settings.get("use_dualstack", False)
        if service == "s3":
            asked["Bucket"] = "bucket"
        try:
            theirs = provider.resolve_endpoint(**asked).url
        except Exception:  # noqa: BLE001 - this region has no such endpoint, whoever asks
            continue
        known += 1
        mine = ours(service, region, **settings)
        mine = bucket_url(mine, "bucket", path_style=False) if service == "s3" else mine
        if mine != theirs:
            differ.append((mine, theirs))

    assert differ == []
    assert known > 15


@pytest.mark.parametrize("region", ["evil.example/", "a b", "", "x" * 70, "eu_west", "eu-west-1.evil.example"])
def test_a_region_that_is_none_is_part_of_no_address(region: str) -> None:
    with pytest.raises(StoreMisconfigured, match="no AWS region"):
        ours("dynamodb", region)


@pytest.mark.parametrize("region", ["my_zone", "1", ""])
def test_any_region_will_do_with_an_endpoint_of_ones_own(region: str) -> None:
    assert address("s3", "http://ceph", region, AwsAccess()) == "http://ceph"


@pytest.mark.parametrize("url", ["localhost:4566", "ftp://x", "http://", "http://x:port", "/path", "http://x:0"])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(StoreMisconfigured, match="no address of a server"):
        address("s3", url, "eu-west-1", AwsAccess())


@pytest.mark.parametrize("settings", [{"use_fips": True}, {"use_dualstack": True}], ids=str)
def test_an_endpoint_of_ones_own_has_no_variants(settings: dict[str, bool]) -> None:
    with pytest.raises(StoreMisconfigured, match="an endpoint of your own"):
        address("s3", "http://ceph", "eu-west-1", AwsAccess(**settings))


def test_every_host_of_awss_is_known_as_awss() -> None:
    hosts = [ours(service, region) for service in ("dynamodb", "s3") for region in regions()]

    assert all(map(is_aws, hosts))
    assert not any(is_aws(f"https://{urlsplit(host).hostname}.evil.example") for host in hosts)
