"""
How the API server is reached: what kubeconfigs, the pod that we are in, and the backend say, put together.

    of a pod       its own token and certificates, and the address that Kubernetes sets in its environment
    else           the kubeconfigs that the backend or KUBE_CONFIG_PATH name
    on top         what the backend or KUBE_HOST, KUBE_TOKEN … say; `insecure` is theirs alone
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tfguard.backends.environ import is_in_checkout, own_environment
from tfguard.backends.kubernetes import credentials, kubeconfig
from tfguard.backends.kubernetes.kubeconfig import Cluster, Config, User
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.trust import Trust
from tfguard.errors import StoreMisconfigured
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.kubernetes.spec import KubernetesAccess

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_ADVICE = "Correct the certificates in the kubeconfig, or those that the backend names."


@dataclass(frozen=True)
class Connection:
    """The server's address without a slash at its end, and all that speaking to it needs."""

    url: str
    server_name: str
    proxies: Proxies
    trust: Trust
    credentials: credentials.Credentials
    #: In whose name we ask, where that is not ours.
    act_as: str = ""


def connection(access: KubernetesAccess, environ: Mapping[str, str]) -> Connection:
    """
    Put together how the server is reached, and find the credentials.

    Raises:
        StoreMisconfigured: A file that cannot be read, an address that is none.

        StoreDenied, StoreUnavailable: A program that should print a token does not.
    """
    if access.has_exec:
        raise StoreMisconfigured(
            "The kubernetes backend's block `exec` names a program, and a checkout's programs tfguard does not run.",
            "Put it into a kubeconfig that is no part of the checkout, and name that in KUBE_CONFIG_PATH.",
        )
    if access.in_cluster:
        found = _of_pod(environ)
    else:
        found = kubeconfig.read(access.config_paths, access.context, access.context_user, access.context_cluster)
    cluster, user = found.cluster, found.user
    url = _url(access, cluster, user)
    if url.startswith("http:"):
        user = User()  # Without TLS Terraform's client does not even look who a kubeconfig says that we are.
    proxy = access.proxy_url or cluster.proxy_url or ""
    trust = _trust(access, cluster, user, environ)
    if url.startswith("https:"):
        trust.context()  # What is wrong with it is said before anything is asked.
    return Connection(
        url=url,
        server_name=cluster.tls_server_name or "",
        proxies=Proxies({}, http=proxy, https=proxy) if proxy else Proxies(environ),
        trust=trust,
        credentials=_credentials(access, user, environ),
        act_as=user.act_as or "",
    )


def _of_pod(environ: Mapping[str, str]) -> Config:
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise StoreMisconfigured(
            "The kubernetes backend has in_cluster_config, and this is no pod: KUBERNETES_SERVICE_HOST is not set.",
            "Take it out of the backend or KUBE_IN_CLUSTER_CONFIG, or run in the cluster.",
        )
    name = f"[{host}]" if ":" in host else host
    return Config(
        Cluster(server=f"https://{name}:{port}", certificate_authority=f"{_SERVICE_ACCOUNT}/ca.crt"),
        User(token_file=f"{_SERVICE_ACCOUNT}/token"),
    )


def _url(access: KubernetesAccess, cluster: Cluster, user: User) -> str:
    server = access.host or cluster.server or ""
    if not server:
        raise StoreMisconfigured(
            "Neither the kubernetes backend nor a kubeconfig says where the cluster is.",
            "Set `config_path` in the backend or KUBE_CONFIG_PATH; KUBECONFIG is not read, as Terraform does not.",
        )
    if "://" not in server:
        has_tls = bool(
            access.insecure
            or access.ca_certificate
            or access.client_certificate
            or cluster.certificate_authority
            or cluster.certificate_authority_data
            or user.client_certificate
            or user.client_certificate_data
        )
        server = f"{'https' if has_tls else 'http'}://{server}"
    server = server.rstrip("/")
    try:
        parts = urlsplit(server)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good or "@" in parts.netloc or not server.isascii() or not server.isprintable() or " " in server:
        raise StoreMisconfigured(
            f"{printable(server, 60)} is no address of a cluster.", "Correct `host` in the backend, or the kubeconfig."
        )
    return server


def _trust(access: KubernetesAccess, cluster: Cluster, user: User, environ: Mapping[str, str]) -> Trust:
    believed = access.ca_certificate
    if not believed and cluster.certificate_authority_data:
        believed = kubeconfig.decoded(cluster.certificate_authority_data, "certificate-authority-data")
    certificate, key = access.client_certificate, access.client_key
    if not certificate and user.client_certificate_data:
        certificate = kubeconfig.decoded(user.client_certificate_data, "client-certificate-data")
    if not key and user.client_key_data:
        key = kubeconfig.decoded(user.client_key_data, "client-key-data")
    certificate = certificate or _text(user.file(user.client_certificate))
    key = key or _text(user.file(user.client_key))
    return Trust(
        environ,
        cluster.file(cluster.certificate_authority),
        insecure=access.insecure,
        bundle_text=believed,
        certificate_text=(certificate, key) if certificate and key else None,
        advice=_ADVICE,
    )


def _text(path: str) -> str:
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1 << 20)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StoreMisconfigured(
            f"The certificate or key {printable(path, 80)} cannot be read: {why}.", _ADVICE
        ) from error


def _credentials(access: KubernetesAccess, user: User, environ: Mapping[str, str]) -> credentials.Credentials:
    if access.token:
        return credentials.fixed(access.token)
    if user.token_file:
        return credentials.from_file(user.file(user.token_file))
    if user.token:
        return credentials.fixed(user.token)
    name, secret = access.username or user.username or "", access.password or user.password or ""
    if name or secret:
        return credentials.password(name, secret)
    if user.auth_provider:
        raise StoreMisconfigured(
            "The kubeconfig's user has an auth-provider, which tfguard does not speak.",
            "Replace it by an `exec` program, as newer versions of Kubernetes need it too.",
        )
    if user.exec is None:
        return credentials.fixed("")
    if is_in_checkout(user.origin) and not _is_named_by_us(user.origin):
        raise StoreMisconfigured(
            f"The kubeconfig {printable(user.origin, 60)} runs a program, and that file is part of this checkout.",
            "tfguard does not run it: move that file elsewhere, or set KUBE_CONFIG_PATH.",
        )
    return credentials.from_program(user.exec, os.path.dirname(user.origin), environ)


def _is_named_by_us(path: str) -> bool:
    """Whether whoever started us, and no pipeline's environment, has chosen this file."""
    ours = own_environment()
    named = [ours.get("KUBE_CONFIG_PATH", ""), *ours.get("KUBE_CONFIG_PATHS", "").split(os.pathsep)]
    return any(os.path.realpath(os.path.expanduser(each)) == os.path.realpath(path) for each in named if each)
