"""Where a lock and its state lie in Azure, and as whom they are reached: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec

from tfguard.backends.azurerm.names import FOLDER, GUARD_SUFFIX
from tfguard.backends.spec import SharingSpec, StateSpec
from tfguard.lock.guarded import GuardedStore
from tfguard.lock.names import COPY_MARK, probe_suffix
from tfguard.lock.store import Store
from tfguard.wire import pack

if TYPE_CHECKING:
    from tfguard.backends import spec
    from tfguard.backends.azurerm.credentials import Credentials


class AzureAccess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    How Terraform would reach Azure for this backend. Holds secrets: never logged.

    `account` is the storage account. Of the ways to be somebody the first that is complete is taken, in the order of
    `credentials`. `suffix`, `login` and `management` are the cloud's: `core.windows.net` and two addresses.
    """

    account: str
    suffix: str = "core.windows.net"
    login: str = "https://login.microsoftonline.com"
    management: str = "https://management.azure.com"
    access_key: str = ""
    sas_token: str = ""
    use_azuread: bool = False
    lookup_endpoint: bool = False
    resource_group: str = ""
    subscription: str = ""
    tenant: str = ""
    client: str = ""
    client_file: str = ""
    client_secret: str = ""
    client_secret_file: str = ""
    certificate: str = ""
    certificate_file: str = ""
    certificate_password: str = ""
    use_oidc: bool = False
    oidc_token: str = ""
    oidc_token_file: str = ""
    oidc_request_url: str = ""
    oidc_request_token: str = ""
    ado_connection: str = ""
    use_workload_identity: bool = False
    use_msi: bool = False
    msi_endpoint: str = ""
    use_cli: bool = True

    def __repr__(self) -> str:
        return f"AzureAccess(account={self.account!r}, …)"

    def key(self, environ: Mapping[str, str]) -> str:
        """Return what decides which credentials are found: this, and what Azure's own programs are told."""
        names = ("AZURE_", "IDENTITY_", "MSI_", "HOME", "PATH")
        variables = sorted(f"{name}={value}" for name, value in environ.items() if name.startswith(names))
        return "\n".join((pack(self).decode(), *variables))

    def resolve(self) -> Credentials:
        """Return credentials that stores of this access may share; the first that needs them resolves them."""
        from tfguard.backends.azurerm.credentials import Credentials

        return Credentials(self)

    def secrets(self) -> list[str]:
        """Return the texts in here that must never be printed."""
        return [
            self.access_key,
            self.sas_token,
            self.client_secret,
            self.certificate,
            self.certificate_password,
            self.oidc_token,
            self.oidc_request_token,
        ]

    def bare(self) -> AzureAccess:
        """Return the access as it may stand in a file."""
        return msgspec.structs.replace(
            self,
            access_key="",
            sas_token="",
            client_secret="",
            certificate="",
            certificate_password="",
            oidc_token="",
            oidc_request_token="",
            oidc_request_url="",
        )


class AzureBlob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A blob in a container: a record of ours, or a state."""

    container: str
    key: str
    azure: AzureAccess

    @property
    def place(self) -> str:
        """Where the blob is, for people."""
        return self.place_of(self.key)

    def place_of(self, key: str) -> str:
        """Say where `key` is, in the same container, for people."""
        return f"azblob://{self.azure.account}/{self.container}/{key}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(container={self.container!r}, key={self.key!r}, …)"


class AzureSpec(AzureBlob, SharingSpec, frozen=True, kw_only=True, omit_defaults=True, tag="azurerm"):
    """
    Our record's blob, its suffix included.

    `state_key` is the state that it guards, whose own lock the child takes by itself; empty for a lock under a name of
    the user's own.
    """

    backend: ClassVar[str] = "azurerm"
    beats_are_objects: ClassVar[bool] = True
    state_key: str = ""

    @property
    def child_locks(self) -> bool:
        return bool(self.state_key)

    def open(self, credentials: spec.Credentials | None = None) -> Store:
        from tfguard.backends.azurerm.store import AzureStore

        store = AzureStore(self, cast("Credentials | None", credentials))
        return GuardedStore(store, store.inner()) if self.state_key else store

    @property
    def access(self) -> AzureAccess:
        return self.azure

    def bare(self) -> AzureSpec:
        return msgspec.structs.replace(self, azure=self.azure.bare())

    def copies(self) -> AzureState:
        key = self.key.removesuffix(GUARD_SUFFIX)
        return AzureState(container=self.container, key=key, azure=self.azure)

    def scratch(self) -> AzureSpec:
        return msgspec.structs.replace(self, key=self.key.removesuffix(GUARD_SUFFIX) + probe_suffix(), state_key="")


class AzureState(AzureBlob, StateSpec, frozen=True, kw_only=True, omit_defaults=True, tag="azurerm"):
    """A state's own blob. Copies stand in our folder: beside the state they would be workspaces."""

    def read(self, max_bytes: int) -> bytes | None:
        from tfguard.backends.azurerm.client import client_of

        with closing(client_of(self)) as client:
            found = client.read(self.key, max_bytes)
            return found[1] if found else None

    def keep_copy(self, path: str, lock_id: str) -> str:
        from tfguard.backends.azurerm.client import client_of

        with open(path, "rb") as file:
            body = file.read()
        key = f"{FOLDER}{self.key}{COPY_MARK}{lock_id}"
        with closing(client_of(self)) as client:
            client.write(key, body)
        return self.place_of(key)

    def find_copies(self) -> list[str]:
        from tfguard.backends.azurerm.client import client_of

        with closing(client_of(self)) as client:
            return [self.place_of(each.name) for each in client.listed(f"{FOLDER}{self.key}{COPY_MARK}")]

    def has_copy(self, place: str) -> bool:
        from tfguard.backends.azurerm.client import client_of

        prefix = self.place_of("")
        with closing(client_of(self)) as client:
            return not place.startswith(prefix) or client.about(place.removeprefix(prefix)) is not None

    def server_date(self) -> datetime | None:
        from tfguard.backends.azurerm.client import client_of

        with closing(client_of(self)) as client:
            client.about(self.key)
            return client.date
