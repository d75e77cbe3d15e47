"""
To whom a web identity token goes. Whoever has it takes on the job's roles, and it is sent as it is, unsigned.

A checkout may name a file with one, and the place where it is to be exchanged. Both together would hand the job's token
to whoever wrote the branch; so one of them has to be named by who started us.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from tfguard.backends.aws.answers import lines_of
from tfguard.backends.aws.endpoints import is_aws
from tfguard.backends.aws.order import strangers_files
from tfguard.backends.aws.origins import WebIdentity
from tfguard.backends.aws.where import Where
from tfguard.backends.environ import is_in_checkout, own_environment
from tfguard.errors import StoreMisconfigured

_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"
_ENDPOINTS = ("AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT", "AWS_ENDPOINT_URL")


def refuse_to_hand_over(source: WebIdentity, where: Where) -> None:
    """
    Let nothing happen with a token that a stranger may have named, if it would go to where a stranger may read it.

    Raises:
        StoreMisconfigured: It would, and what to set if it is meant.
    """
    path = source.role.web_identity_token_file
    if source.role.web_identity_token or not path or _is_named_by_us(source, where):
        return
    _, endpoint = where.backend_sts() if source.is_backends else where.chain_sts()
    place = _strangers_place(where, endpoint)
    if place:
        raise StoreMisconfigured(
            lines_of(
                f"Only the configuration says that a token is to go to {place}: {path}",
                f"If that is meant, set {_FILE} to that file in your own environment.",
            )
        )


def _is_named_by_us(source: WebIdentity, where: Where) -> bool:
    named = own_environment().get(_FILE)
    if named and os.path.realpath(named) == os.path.realpath(source.role.web_identity_token_file):
        return True
    return bool(source.file) and source.file not in strangers_files(where.access, where.environ)


def _strangers_place(where: Where, endpoint: str) -> str:
    """Who would read it and may be a stranger; empty where it can only be AWS, or whom our own environment names."""
    access = where.access
    ours = {own_environment().get(name) for name in _ENDPOINTS}
    theirs = {access.sts_endpoint, *(where.environ.get(name) for name in _ENDPOINTS)}
    is_a_profiles = endpoint not in theirs and not strangers_files(access, where.environ)
    if endpoint and (endpoint in ours or is_a_profiles):
        return ""
    parts = urlsplit(endpoint)
    if endpoint and not (is_aws(endpoint) and parts.scheme == "https"):
        return parts.netloc.rpartition("@")[2]
    proxy = access.https_proxy or access.http_proxy
    # Through a proxy of the backend's, AWS's own name proves nothing if any certificate, or the checkout's, will do.
    if proxy and (access.insecure or (access.ca_bundle and is_in_checkout(access.ca_bundle))):
        return f"the proxy {urlsplit(proxy).netloc.rpartition('@')[2] or 'of the backend'}"
    return ""
