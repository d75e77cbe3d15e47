"""What a request can be sent to."""

from __future__ import annotations

import pytest

from tfguard.backends.consul.client import Client as Consul
from tfguard.backends.consul.spec import ConsulAccess
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec
from tfguard.backends.net.addresses import is_address
from tfguard.errors import StoreMisconfigured

NONE = ["http://[", "http://[::1", "http://[x]", "http://h:x", "http://h:0", "http://h:99999", "http://", "http://ü"]


@pytest.mark.parametrize("url", ["http://h", "https://h:8500/p", "http://[::1]:8500"])
def test_an_address_has_a_host_and_a_port_that_there_may_be(url: str) -> None:
    assert is_address(url)


@pytest.mark.parametrize("url", [*NONE, "h:1", "ftp://h", "http://a b", "http://h\n"])
def test_all_else_is_none(url: str) -> None:
    assert not is_address(url)


@pytest.mark.parametrize("url", NONE)
def test_who_is_given_none_says_so_before_anything_is_asked(url: str) -> None:
    with pytest.raises(StoreMisconfigured, match="is no address for Google"):
        GcsSpec(bucket="b", key="k", gcs=GcsAccess(endpoint=url, access_token="token")).open()
    with pytest.raises(StoreMisconfigured, match="is no address of Consul"):
        Consul(ConsulAccess(address=url.removeprefix("http://")), {})
