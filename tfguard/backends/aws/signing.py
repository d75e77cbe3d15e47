"""
Signature Version 4, for requests of ours to DynamoDB and S3.

botocore signs alike (a test compares), but its import alone takes longer than all of a run's requests.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, urlsplit

from tfguard.backends.aws.keys import Keys
from tfguard.backends.net.transport import host_of
from tfguard.text import as_bytes

_ALGORITHM = "AWS4-HMAC-SHA256"


def signed(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *, keys: Keys, scope: tuple[str, str], now: datetime
) -> dict[str, str]:
    """
    Return the headers with host, date and signature: all of them are signed.

    `scope` is region and service; `now` is UTC. The URL has to be encoded as it will be sent.
    """
    parts = urlsplit(url)
    region, service = scope
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    sent = {**headers, "Host": host_of(url), "X-Amz-Date": stamp}
    if keys.token:
        sent["X-Amz-Security-Token"] = keys.token
    if service == "s3":
        sent["X-Amz-Content-SHA256"] = digest
    names = sorted((name.lower(), " ".join(value.split())) for name, value in sent.items())
    listed = ";".join(name for name, _ in names)
    path = parts.path or "/"
    canonical = "\n".join(
        [
            method,
            path if service == "s3" else quote(path, safe="/~"),
            "&".join(sorted(parts.query.split("&"))) if parts.query else "",
            *(f"{name}:{value}" for name, value in names),
            "",
            listed,
            digest,
        ]
    )
    place = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, stamp, place, hashlib.sha256(as_bytes(canonical)).hexdigest()])
    key = as_bytes(f"AWS4{keys.secret_key}")
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.digest(key, as_bytes(part), "sha256")
    signature = hmac.digest(key, as_bytes(text), "sha256").hex()
    sent["Authorization"] = (
        f"{_ALGORITHM} Credential={keys.access_key}/{place}, SignedHeaders={listed}, Signature={signature}"
    )
    return sent
