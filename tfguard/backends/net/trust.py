"""
Which certificates are believed, as Go decides on Linux, because Terraform believes those.

A bundle that somebody names goes instead of all others. Else it is SSL_CERT_FILE, or the first of the files where
systems keep theirs; and, beside it, every certificate in the folders of SSL_CERT_DIR, or in the systems' folders.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tfguard.errors import StoreMisconfigured
from tfguard.text import printable

_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL 6
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/pki/tls/cacert.pem",  # OpenELEC
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL 7
    "/etc/ssl/cert.pem",  # Alpine, macOS
)
_FOLDERS = ("/etc/ssl/certs", "/etc/pki/tls/certs")
_MAX_BYTES = 4 * 1024 * 1024


class Trust:
    """
    The certificates that are believed. `context` verifies by the file alone, since the folders take long to read.

    Where that fails, `widen` adds the folders, once: whoever connects tries again if it says that there was something.

    `folder`: one whose certificates go instead of all others, where no bundle is named. `certificate`: the files of our
    own certificate and its key, for a server that wants one. `bundle_text` and `certificate_text` are the same as PEM;
    `renewed_certificate` gives such a pair that may be another later, and is asked before each connection.
    `besides`: a file whose certificates count, too. `authority`: where a person says whose signature is believed.
    `advice`: what to correct where a file cannot be read, if that is not the same.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        bundle: str = "",
        *,
        insecure: bool = False,
        folder: str = "",
        certificate: tuple[str, str] | None = None,
        bundle_text: str = "",
        certificate_text: tuple[str, str] | None = None,
        renewed_certificate: Callable[[], tuple[str, str] | None] = lambda: None,
        besides: str = "",
        authority: str = "SSL_CERT_FILE",
        advice: str = "",
    ) -> None:
        self._bundle, self._folder = bundle, folder
        self._certificate = certificate
        self._bundle_text, self._certificate_text = bundle_text, certificate_text
        self._renewed_certificate, self._renewed = renewed_certificate, renewed_certificate()
        self._besides = (besides,) if besides else ()
        self._authority = authority
        self._advice = advice or f"Correct {authority}."
        file = environ.get("SSL_CERT_FILE", "")
        self._files = (file,) if file else _FILES
        folders = environ.get("SSL_CERT_DIR", "")
        self._folders = tuple(folders.split(":")) if folders else _FOLDERS
        self._insecure = insecure
        self._is_wide = bool(bundle or folder or bundle_text) or insecure
        self._is_widened = False
        self._context: ssl.SSLContext | None = None
        #: Counts our own certificates: a connection that was made with an earlier one shows that for ever.
        self.generation = 0

    def renew(self) -> None:
        """Show our newest certificate from now on. Raises as `context` does."""
        newest = self._renewed_certificate()
        if newest != self._renewed:
            self._renewed = newest
            self._context = None
            self.generation += 1
            if self._is_widened:
                self._widen()

    def context(self) -> ssl.SSLContext:
        """
        Return what a connection is made with.

        Raises:
            StoreMisconfigured: The bundle that was named cannot be read, or has no certificate; or ours cannot be.
        """
        if self._context is None:
            self._context = self._make()
        return self._context

    def widen(self) -> bool:
        """Believe what is in the folders, too; whether that is new."""
        if self._is_wide:
            return False
        self._is_wide = self._is_widened = True
        self._widen()
        return True

    def _widen(self) -> None:
        _add(self.context(), (path for folder in self._folders for path in _in_folder(folder)))

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Whatever is in the bundle is believed, whether it signed itself or not: so does Go.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self._bundle_text:
            self._load_bundle_text(context)
        elif self._bundle:
            self._load_bundle(context)
        elif self._folder:
            _add(context, _in_folder(self._folder))
        elif not any(_add(context, [path]) for path in self._files) and self._files == _FILES:
            _add_certifi(context)  # No system keeps its certificates without a file, but a small image may have none.
        _add(context, self._besides)
        if self._certificate is not None:
            self._load_own(context, *self._certificate)
        if (pair := self._certificate_text or self._renewed) is not None:
            with _as_file("\n".join(pair)) as path:
                self._load_own(context, path, path)
        return context

    def distrust(self, error: ssl.SSLCertVerificationError, whose: str) -> StoreMisconfigured:
        """Return what becomes of a certificate that is not believed: waiting will not make it another."""
        return StoreMisconfigured(
            f"The certificate of {whose} is not trusted: {printable(error.verify_message, 60)}.",
            f"If the server is the right one, name who has signed it: {self._authority}.",
        )

    def _load_bundle(self, context: ssl.SSLContext) -> None:
        try:
            context.load_verify_locations(cafile=os.path.expanduser(self._bundle))
        except OSError as error:  # an SSLError is one
            raise self._unreadable(f"certificates of {printable(self._bundle, 60)}", error) from error

    def _load_bundle_text(self, context: ssl.SSLContext) -> None:
        try:
            context.load_verify_locations(cadata=self._bundle_text)
        except (ssl.SSLError, ValueError) as error:
            raise StoreMisconfigured("The server's certificates that are given are none.", self._advice) from error

    def _load_own(self, context: ssl.SSLContext, certificate: str, key: str) -> None:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except OSError as error:
            raise self._unreadable(f"certificate and key of {printable(certificate, 60)}", error) from error

    def _unreadable(self, what: str, error: OSError) -> StoreMisconfigured:
        why = error.strerror if error.strerror and not isinstance(error, ssl.SSLError) else "no certificates in it"
        return StoreMisconfigured(f"The {what} cannot be read: {printable(why, 30)}.\n{self._advice}")


def is_pair(certificate: str, key: str) -> bool:
    """Whether these PEM texts are a certificate and the key to it."""
    with _as_file(f"{certificate}\n{key}") as path:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, path, password=_no_password)
        except (OSError, ValueError):  # an SSLError is the former
            return False
        return True


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Give a text a path that no other user can open, since OpenSSL reads a key from nowhere else."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("certificate"), "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            yield f"/dev/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        yield file.name


def _no_password() -> str:
    """What OpenSSL would ask a terminal for."""
    return ""


def _in_folder(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return [entry.path for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if entry.is_file()]
    return []


def _add(context: ssl.SSLContext, paths: Iterable[str]) -> bool:
    """Believe the certificates in these files; whether there were any. A file without one is passed over."""
    found = False
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            file = Path(path)
            if file.is_file() and file.stat().st_size <= _MAX_BYTES:
                context.load_verify_locations(cafile=path)
                found = True
    return found


def _add_certifi(context: ssl.SSLContext) -> None:
    with contextlib.suppress(ImportError, OSError):
        import certifi

        context.load_verify_locations(cafile=certifi.where())
