"""An authority of a test's own: it signs certificates for whatever names a test's servers go by."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Its own certificate lies in `file`, those that it signs beside it, each with its key."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "authority.pem"
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("tests' authority")
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        made = self._signed(self._name, self._key, [], is_authority=True)
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def chain(self, *names: str) -> Path:
        """Make a certificate for these hosts and addresses; return the file with it and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(_named(names[0][:64]), key, [_general(name) for name in names])
        path = self._folder / f"{names[0].replace('*', 'any')}.pem"
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
        return path

    def context(self, *names: str) -> ssl.SSLContext:
        """Return what a server of these names speaks TLS with; the same each time."""
        with self._lock:
            if names[0] not in self._contexts:
                made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                made.load_cert_chain(self.chain(*names))
                self._contexts[names[0]] = made
            return self._contexts[names[0]]

    def _signed(
        self, subject: x509.Name, key: Any, names: list[x509.GeneralName], *, is_authority: bool = False
    ) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
