"""
Where a state's lock lives and how to reach it: one folder a cloud, one row here.

None is imported before it is needed: botocore alone takes longer than a local lock.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from tfguard.backends.attributes import Attributes
from tfguard.backends.spec import Credentials
from tfguard.backends.target import PlannedBackend, StoreSpec, Target, Unlockable
from tfguard.errors import ConfigError
from tfguard.lock.store import Store
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.checks import Checks
    from tfguard.backends.urls import StoreUrl

#: Terraform's word for a backend, and the module that knows it. What it needs beyond tfguard's own requirements is
#: an extra of the same name: `pip install 'tfguard[gcs]'`.
BACKENDS: dict[str, str] = {
    "s3": "tfguard.backends.aws.backend",
    "local": "tfguard.backends.local.backend",
    "gcs": "tfguard.backends.gcs.backend",
    "consul": "tfguard.backends.consul.backend",
    "http": "tfguard.backends.http.backend",
    "cloud": "tfguard.backends.hcp.backend",
    "remote": "tfguard.backends.hcp.backend",
    "azurerm": "tfguard.backends.azurerm.backend",
    "kubernetes": "tfguard.backends.kubernetes.backend",
    "pg": "tfguard.backends.pg.backend",
}


@runtime_checkable
class Backend(Protocol):
    """
    What a module in `BACKENDS` has. It imports nothing heavy by itself; its functions do, where they need it.

    `requires` names the packages that its extra brings. `urls` are the URLs that name a place for a lock in
    `lock.store`, each by its scheme as it is written for people. `fetch` is the command that copies a file from there,
    to be followed by its place and a file's; where `{}` is in it, that is for the path, and the file's follows alone.
    So it does after `{place}`, and after `{host}`, `{first}` and `{rest}`, the parts of its URL.
    """

    requires: Sequence[str]
    urls: Mapping[str, str]
    fetch: str

    @property
    def locate(self) -> Callable[[Attributes, Path, str, Mapping[str, str]], Target | Unlockable]:
        """
        Find the lock that Terraform would take: by the backend's attributes, in a directory, for a workspace, in an
        environment.

        Raises:
            ConfigError: An attribute is not what Terraform would have written.
        """
        ...

    @property
    def from_url(self) -> Callable[[StoreUrl, str, Mapping[str, str]], StoreSpec]:
        """
        Say where the lock of a name lives in the place that a URL names, given the environment.

        Raises:
            ConfigError: The URL cannot be used; the message says what was expected.
        """
        ...

    @property
    def locks_beside(self) -> Callable[[StoreSpec, Credentials | None], Iterator[tuple[str, StoreSpec]]]:
        """
        Return the locks that are held now where a spec lives, each with its name.

        Raises:
            ConfigError: Nothing lives beside such a lock.

            StoreUnavailable, StoreDenied, StoreMisconfigured: As a store does.
        """
        ...

    @property
    def checks(self) -> Callable[[], Checks]:
        """Return what `tfguard doctor` looks at in this backend's places."""
        ...


def load(kind: str) -> Backend:
    """
    Import the backend that Terraform calls so. `kind` has to be in `BACKENDS`.

    Raises:
        ConfigError: A package that it needs is not installed.
    """
    name = BACKENDS[kind]
    try:
        backend = cast("Backend", importlib.import_module(name))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "tfguard":
            raise
        raise _extra_missing(kind) from error
    if any(importlib.util.find_spec(package) is None for package in backend.requires):
        raise _extra_missing(kind)
    return backend


def _extra_missing(kind: str) -> ConfigError:
    from tfguard.backends.extras import how_to_install

    return ConfigError(f"tfguard was installed without what the {kind} backend needs.\n{how_to_install(kind)}")


def backend_of(target: Target) -> Backend:
    """Return the backend that a target's stores belong to: also for a lock under a name of the user's own."""
    return load(target.stores[-1].backend)


def backends_beside(target: Target) -> Sequence[Backend]:
    """Return the other backends in which some of a target's stores are: of a guard in a store of the user's."""
    own = BACKENDS[target.stores[-1].backend]
    kinds = dict.fromkeys(spec.backend for spec in target.stores if BACKENDS[spec.backend] != own)
    return [load(kind) for kind in kinds]


def open_store(spec: StoreSpec, credentials: Credentials | None = None) -> Store:
    """Open one lock's store, as `spec.open` does."""
    return spec.open(credentials)


def locate(
    backend: PlannedBackend,
    directory: Path,
    workspace: str,
    environ: Mapping[str, str],
    *,
    source: str,
    advice: str = "Run: tfguard init -reconfigure",
) -> Target | Unlockable:
    """
    Find the lock that Terraform would take in `directory` with this backend. `source` names, for messages, what
    says so: a plan, or the directory's cache; `advice` says how to correct it.

    Raises:
        ConfigError: An attribute is not what Terraform would have written, or the backend's extra is not installed.

        MissingAttribute: It has not all that says which lock it is.
    """
    if backend.type in BACKENDS:
        return load(backend.type).locate(Attributes(backend.config, source, advice), directory, workspace, environ)
    kind = printable(backend.type, 20)
    return Unlockable(
        f"tfguard cannot hold the lock of the {kind} backend: it has no store for it.\n"
        "To guard this state, set in tfguard.yml: lock: {mode: named, name: …, store: …}",
        needs_lock=True,
    )
