"""
Tokens of Microsoft Entra, in the order in which Terraform asks for them, and the account's key by one of them.

| order | who we are |
|---|---|
| 1 | `client_certificate(_path)`: with what the extra `tfguard[azurerm]` brings |
| 2 | `client_secret`, or its file |
| 3 | `use_oidc`: a token of the job's own (given, in a file, or asked for at GitHub or Azure DevOps); AKS's in a file |
| 4 | `use_msi`: the machine's own identity |
| 5 | `use_cli`: whoever has signed in with `az` |

The first that is complete is taken; if it fails, none of the later ones is tried. All but the certificate are one
question over plain HTTP, or one call of `az`; and the certificate is only how its proof is signed.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode, urlsplit

from tfguard import programs
from tfguard.backends.azurerm.answers import WHERE_CREDENTIALS_COME_FROM, lines_of
from tfguard.backends.azurerm.certificate import assertion
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.times import SIGN_IN
from tfguard.backends.net.transport import Request, Response, Transport
from tfguard.backends.net.trust import Trust
from tfguard.errors import StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.azurerm.spec import AzureAccess

_CLI_SECONDS = 60.0
_MAX_BYTES = 1024 * 1024
_MAX_FILE_BYTES = 64 * 1024
_AUDIENCE = "api://AzureADTokenExchange"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MSI = "http://169.254.169.254/metadata/identity/oauth2/token"
Found = tuple[str, datetime | None]


class Entra:
    """One access's tokens. Every method raises StoreDenied, StoreMisconfigured, StoreUnavailable."""

    def __init__(self, access: AzureAccess, environ: Mapping[str, str]) -> None:
        self._access = access
        self._environ = environ
        self._manager = ""
        trust = Trust(environ)
        self._transport = Transport(Proxies(environ), trust, SIGN_IN, kept=0)

    def token(self, resource: str) -> Found:
        """Return a token for a resource (`https://storage.azure.com`), and when it ends."""
        access = self._access
        client = _only(access.client, access.client_file, "client_id")
        if access.tenant and client:
            if access.certificate or access.certificate_file:
                return self._by_proof(resource, client, self._certified(client))
            if secret := _only(access.client_secret, access.client_secret_file, "client_secret"):
                return self._by_proof(resource, client, {"client_secret": secret})
            if (access.use_oidc or access.use_workload_identity) and (proof := self._assertion()):
                return self._by_proof(resource, client, _asserted(proof))
        if access.use_msi:
            return self._by_machine(resource, client)
        if access.use_cli:
            return self._by_cli(resource)
        raise _nobody("There are no credentials for Azure.")

    def account_key(self) -> str:
        """Ask for the storage account's key, as Terraform does where it was given none."""
        keys = self._manage("POST", "/listKeys", "the account's key").get("keys")
        if isinstance(keys, list):
            for each in keys:
                if isinstance(each, dict) and isinstance(each.get("value"), str):
                    return cast("str", each["value"])
        raise StoreUnavailable("Azure gave no key for the storage account.")

    def endpoint(self) -> str:
        """Ask where the storage account's blobs are: an account with a DNS zone of its own has a name of its own."""
        properties = self._manage("GET", "", "the account's address").get("properties")
        endpoints = properties.get("primaryEndpoints") if isinstance(properties, dict) else None
        found = endpoints.get("blob") if isinstance(endpoints, dict) else None
        if not isinstance(found, str) or not found.startswith("https://") or not urlsplit(found).hostname:
            raise StoreUnavailable("Azure does not say where the storage account's blobs are.")
        return found.rstrip("/")

    def _manage(self, method: str, action: str, what: str) -> dict[str, Any]:
        """Ask Azure's management about the storage account."""
        access = self._access
        subscription = access.subscription or (self._cli_subscription() if access.use_cli else "")
        if not access.resource_group or not subscription:
            raise _nobody(f"There are no credentials for Azure: no `resource_group_name` to ask for {what}.")
        if not self._manager:
            self._manager, _ = self.token(access.management)
        group = ("subscriptions", subscription, "resourceGroups", access.resource_group)
        names = (*group, "providers", "Microsoft.Storage", "storageAccounts", access.account)
        path = "/".join(quote(name, safe="") for name in names)
        url = f"{access.management}/{path}{action}?api-version=2023-01-01"
        return _fields(self._send(Request(method, url, {"Authorization": f"Bearer {self._manager}"}), what), what)

    # --- the ways -----------------------------------------------------------------------------------------------

    def _by_proof(self, resource: str, client: str, proof: Mapping[str, str]) -> Found:
        form = {
            "grant_type": "client_credentials",
            "client_id": client,
            "scope": f"{resource.rstrip('/')}/.default",
            **proof,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._token_of(Request("POST", self._sign_in, headers, urlencode(form).encode()))

    @property
    def _sign_in(self) -> str:
        """Where an application of the tenant proves itself."""
        return f"{self._access.login}/{quote(self._access.tenant, safe='')}/oauth2/v2.0/token"

    def _certified(self, client: str) -> Mapping[str, str]:
        access = self._access
        bundle = _bytes_of(access.certificate) if access.certificate else _read_bytes(access.certificate_file)
        return _asserted(assertion(bundle, access.certificate_password, client, self._sign_in))

    def _assertion(self) -> str:
        """The job's own token, which Entra takes for a proof; empty where there is none."""
        access = self._access
        if given := _only(access.oidc_token, access.oidc_token_file, "oidc_token"):
            return given
        if not access.oidc_request_url or not access.oidc_request_token:
            return ""
        headers = {"Authorization": f"Bearer {access.oidc_request_token}", "Accept": "application/json"}
        mark = "&" if "?" in access.oidc_request_url else "?"
        if access.ado_connection:
            query = urlencode({"api-version": "7.1", "serviceConnectionId": access.ado_connection})
            request = Request("POST", f"{access.oidc_request_url}{mark}{query}", headers)
            name = "oidcToken"
        else:
            query = urlencode({"audience": _AUDIENCE})
            request = Request("GET", f"{access.oidc_request_url}{mark}{query}", headers)
            name = "value"
        found = _fields(self._send(request, "the job's own token"), "the job's own token").get(name)
        if not isinstance(found, str) or not found:
            raise StoreUnavailable("The job's own token cannot be had just now.")
        return found

    def _by_machine(self, resource: str, client: str) -> Found:
        environ = self._environ
        query = {"resource": resource, "api-version": "2018-02-01"}
        headers = {"Metadata": "true"}
        url = self._access.msi_endpoint or environ.get("IDENTITY_ENDPOINT") or _MSI
        if environ.get("IDENTITY_ENDPOINT") and environ.get("IDENTITY_HEADER"):
            headers, query["api-version"] = {"X-IDENTITY-HEADER": environ["IDENTITY_HEADER"]}, "2019-08-01"
        if client:
            query["client_id"] = client
        return self._token_of(Request("GET", f"{url}{'&' if '?' in url else '?'}{urlencode(query)}", headers))

    def _by_cli(self, resource: str) -> Found:
        words = ["account", "get-access-token", "--output", "json", "--resource", resource]
        words += ["--tenant", self._access.tenant] if self._access.tenant else []
        said = self._cli(words)
        text, ends = said.get("accessToken"), said.get("expires_on")
        if not isinstance(text, str) or not text:
            raise _nobody("The Azure CLI (az) gave no token.")
        return text, _instant(ends)

    # --- asking -------------------------------------------------------------------------------------------------

    def _token_of(self, request: Request) -> Found:
        fields = _fields(self._send(request, "a token"), "a token")
        text = fields.get("access_token")
        if not isinstance(text, str) or not text:
            raise StoreUnavailable("No answer from Azure (what came is no token): signing in")
        if (ends := _instant(fields.get("expires_on"))) is not None:
            return text, ends
        try:
            return text, datetime.now(timezone.utc) + timedelta(seconds=float(str(fields.get("expires_in"))))
        except (ValueError, OverflowError):
            return text, None

    def _send(self, request: Request, what: str) -> Response:
        try:
            response = self._transport.send(request, _MAX_BYTES)
        except (NoAnswer, ssl.SSLError) as error:
            raise StoreUnavailable(lines_of(f"No answer from Azure ({error}): asking for {what}")) from error
        if response.status == 429 or response.status >= 500:
            raise StoreUnavailable(lines_of(f"No answer from Azure ({response.status}): asking for {what}"))
        if response.status >= 300:
            raise _nobody(f"Azure refuses {what} ({response.status}): {_said(response)}")
        return response

    def _cli_subscription(self) -> str:
        found = self._cli(["account", "show", "--output", "json"]).get("id")
        return found if isinstance(found, str) else ""

    def _cli(self, words: list[str]) -> dict[str, Any]:
        try:
            said = programs.ask([programs.find("az", self._environ), *words], self._environ, _CLI_SECONDS)
        except FileNotFoundError:
            raise _nobody("There are no credentials for Azure, and no Azure CLI (az) to ask.") from None
        except OSError as error:
            why = f"it took more than {_CLI_SECONDS:.0f} s" if isinstance(error, TimeoutError) else error.strerror
            raise StoreUnavailable(f"The Azure CLI (az) did not answer: {why}.") from None
        if said.status:
            why = said.last_words("ERROR: ")
            raise _nobody(f"The Azure CLI (az) gave no token; it {said.ending()}{f': {why}' if why else '.'}")
        return _decoded(said.output)


def _asserted(proof: str) -> dict[str, str]:
    return {"client_assertion_type": _ASSERTION, "client_assertion": proof}


def _only(given: str, path: str, name: str) -> str:
    """Return what is given, or what its file says, empty where neither is. As Terraform, take no two for one."""
    read = _read(path)
    if given and read and given.strip() != read:
        raise StoreMisconfigured(f"`{name}` and what `{name}_file_path` names are not the same.", "Remove one of them.")
    return given.strip() or read


def _read(path: str) -> str:
    """What a file says, empty where none is named."""
    try:
        return _read_bytes(path).decode().strip() if path else ""
    except UnicodeError:
        raise _unreadable(path, "it is no text") from None


def _read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise _unreadable(path, error.strerror or "") from error


def _unreadable(path: str, why: str) -> StoreMisconfigured:
    text = f"The credentials in {printable(path, 60)} cannot be read: {why}."
    return StoreMisconfigured(lines_of(text, WHERE_CREDENTIALS_COME_FROM))


def _bytes_of(certificate: str) -> bytes:
    try:
        return base64.b64decode(certificate, validate=True)
    except ValueError:
        text = "`client_certificate` of the azurerm backend is no base64."
        raise StoreMisconfigured(lines_of(text, WHERE_CREDENTIALS_COME_FROM)) from None


def _decoded(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _fields(response: Response, what: str) -> dict[str, Any]:
    fields = _decoded(response.body)
    if not fields:
        raise StoreUnavailable(f"No answer from Azure (what came is something else): asking for {what}")
    return fields


def _said(response: Response) -> str:
    """Azure's own words, the first line; they name the application and its tenant, no secret."""
    fields = _decoded(response.body)
    error = fields.get("error")
    words = (
        fields.get("error_description") or (error.get("message") if isinstance(error, dict) else error) or "no reason"
    )
    return str(words).splitlines()[0]


def _instant(value: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(str(value)), timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def _nobody(why: str) -> StoreDenied:
    return StoreDenied(lines_of(why, WHERE_CREDENTIALS_COME_FROM), action="sign in", resource="Azure")
