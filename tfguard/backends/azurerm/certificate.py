"""
How an application proves itself to Entra with a certificate, as Terraform does it: a PKCS#12 bundle, and a JWT signed
with its key (go-azure-sdk, `sdk/auth/client_credentials.go`; Microsoft's page "Application authentication with
certificates").

It needs `cryptography`, which the extra `tfguard[azurerm]` brings.
"""

from __future__ import annotations

import base64
import hashlib
import time
import uuid

from tfguard.backends.extras import how_to_install
from tfguard.errors import StoreMisconfigured
from tfguard.wire import publish

_LIFE_SECONDS = 600


def assertion(bundle: bytes, password: str, client: str, audience: str) -> str:
    """
    Return a signed proof that the application `client` sends to `audience`.

    Raises:
        StoreMisconfigured: What it needs is not installed, or the bundle is none, or the password is not its own.
    """
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
        from cryptography.hazmat.primitives.serialization import pkcs12
    except ImportError as error:
        raise StoreMisconfigured(
            "A client certificate for Azure needs more than tfguard was installed with.",
            f"{how_to_install('azurerm')}. Or use a client secret, OIDC or a managed identity.",
        ) from error
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(bundle, password.encode() or None)
    except Exception:  # noqa: BLE001 - the library's errors have no common root, and may repeat a secret
        key = certificate = None
    if not isinstance(key, rsa.RSAPrivateKey) or certificate is None:
        raise StoreMisconfigured(
            "The client certificate for Azure cannot be used: it is no PKCS#12 bundle with an RSA key.",
            "Or `client_certificate_password` is not its own. See: openssl pkcs12 -info -in FILE",
        )
    mark = hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER), usedforsecurity=False).digest()
    now = int(time.time())
    header = {"alg": "RS256", "typ": "JWT", "kid": base64.urlsafe_b64encode(mark).decode(), "x5t": _encoded(mark)}
    claims = {
        "aud": audience,
        "exp": now + _LIFE_SECONDS,
        "iss": client,
        "jti": str(uuid.uuid4()),
        "nbf": now,
        "sub": client,
    }
    signed = f"{_encoded(publish(header))}.{_encoded(publish(claims))}"
    return f"{signed}.{_encoded(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
