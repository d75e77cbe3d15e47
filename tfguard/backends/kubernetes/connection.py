"""
How the API server is reached: what kubeconfigs, the pod that we are in, and the backend say, put together.

    of a pod       its own token and certificates, and the address that Kubernetes sets in its environment
    else           the kubeconfigs that the backend or KUBE_CONFIG_PATH name
    on top         what the backend or KUBE_HOST, KUBE_TOKEN … say; `insecure` is theirs alone

Who we are, as Terraform 1.11 was seen to decide: a `tokenFile` goes before every token, and a token where that file
cannot be read; a name and a token are never taken together; a program is asked where there is neither. In whose name we
ask (`as`) is said without TLS too; the rest of a kubeconfig's user is not.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tfguard.backends.environ import is_in_checkout, own_environment
from tfguard.backends.kubernetes import credentials, kubeconfig
from tfguard.backends.kubernetes.kubeconfig import Cluster, Config, Extension, User
from tfguard.backends.net.addresses import is_address
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.trust import Trust
from tfguard.errors import StoreMisconfigured
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.kubernetes.spec import KubernetesAccess

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
#: What may stand in a header's name as it is, beside letters and digits.
_PLAIN = "!#$&'*+-.^_`|~"
_AUTHORITY = "`cluster_ca_certificate` in the backend, or the cluster's in the kubeconfig"
_ADVICE = "Correct the certificates in the kubeconfig, or those that the backend names."


@dataclass(frozen=True)
class Connection:
    """The server's address without a slash at its end, and all that speaking to it needs."""

    url: str
    server_name: str
    proxies: Proxies
    trust: Trust
    credentials: credentials.Credentials
    #: The headers that say in whose name we ask, where that is not ours.
    impersonation: tuple[tuple[str, str], ...] = ()


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
    impersonation = _impersonation(user)
    if url.startswith("http:"):
        user = User()  # Without TLS Terraform's client does not even look who a kubeconfig says that we are.
    proxy = access.proxy_url or cluster.proxy_url or ""
    who = _credentials(access, url, cluster, user, environ)
    trust = _trust(access, cluster, user, environ, who.certificate)
    if url.startswith("https:"):
        trust.context()  # What is wrong with it is said before anything is asked.
    who.resolve()
    return Connection(
        url=url,
        server_name=cluster.tls_server_name or "",
        proxies=Proxies({}, http=proxy, https=proxy) if proxy else Proxies(environ),
        trust=trust,
        credentials=who,
        impersonation=impersonation,
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
    if not is_address(server) or "@" in urlsplit(server).netloc:
        raise StoreMisconfigured(
            f"{printable(server, 60)} is no address of a cluster.", "Correct `host` in the backend, or the kubeconfig."
        )
    return server


def _trust(
    access: KubernetesAccess,
    cluster: Cluster,
    user: User,
    environ: Mapping[str, str],
    printed: Callable[[], tuple[str, str] | None],
) -> Trust:
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
        bundle_text=_believed(access, cluster),
        certificate_text=(certificate, key) if certificate and key else None,
        renewed_certificate=printed,
        authority=_AUTHORITY,
        advice=_ADVICE,
    )


def _believed(access: KubernetesAccess, cluster: Cluster) -> str:
    """The certificates that are given as a text and believed; empty where they are in a file, or none are named."""
    if access.ca_certificate or not cluster.certificate_authority_data:
        return access.ca_certificate
    return kubeconfig.decoded(cluster.certificate_authority_data, "certificate-authority-data")


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


def _credentials(
    access: KubernetesAccess, url: str, cluster: Cluster, user: User, environ: Mapping[str, str]
) -> credentials.Credentials:
    token = access.token or user.token or ""
    name, secret = access.username or user.username or "", access.password or user.password or ""
    if name and (token or user.token_file):
        raise StoreMisconfigured(
            "Both a token and a user's name are given for Kubernetes, and Terraform takes no two of them.",
            "Take one out of the backend, the kubeconfig, KUBE_TOKEN or KUBE_USER.",
        )
    provider = user.auth_provider.name if user.auth_provider else ""
    if user.auth_provider and (provider != "oidc" or not (token or user.token_file or name)):
        raise StoreMisconfigured(
            f"The kubeconfig has the auth-provider {printable(provider, 40)!r}, which tfguard cannot ask.",
            "Replace it by an `exec` program (gke-gcloud-auth-plugin, kubelogin), as Kubernetes' own clients ask for.",
        )
    if user.token_file:
        return credentials.from_file(user.file(user.token_file), token)
    if token:
        return credentials.fixed(token)
    if name:
        return credentials.password(name, secret)
    if user.exec is None:
        return credentials.fixed("")
    if is_in_checkout(user.origin) and not _is_named_by_us(user.origin):
        raise StoreMisconfigured(
            f"The kubeconfig {printable(user.origin, 60)} runs a program, and that file is part of this checkout.",
            "tfguard does not run it: move that file elsewhere, or set KUBE_CONFIG_PATH.",
        )
    told = _told(access, url, cluster) if user.exec.wants_cluster else None
    return credentials.from_program(user.exec, os.path.dirname(user.origin), environ, told)


def _told(access: KubernetesAccess, url: str, cluster: Cluster) -> dict[str, object]:
    """What a program is told of the cluster, if its kubeconfig wants that."""
    believed = _believed(access, cluster) or _text(cluster.file(cluster.certificate_authority))
    extensions = {each.name: each.extension for each in cluster.extensions or ()}
    told = {
        "server": url,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": access.insecure,
        "certificate-authority-data": base64.b64encode(believed.encode()).decode(),
        "proxy-url": access.proxy_url or cluster.proxy_url,
        "config": extensions.get(Extension.EXEC),
    }
    return {name: value for name, value in told.items() if value}


def _impersonation(user: User) -> tuple[tuple[str, str], ...]:
    """The headers that say in whose name we ask; several may have one name."""
    extra = user.act_as_extra or {}
    groups = user.act_as_groups or []
    if not user.act_as:
        if groups or extra or user.act_as_uid:
            raise StoreMisconfigured(
                "The kubeconfig has `as-groups`, `as-uid` or `as-user-extra`, and no `as`, which Terraform refuses.",
                "Name in `as` who is to be impersonated, or take them out.",
            )
        return ()
    found = [("User", user.act_as), ("Uid", user.act_as_uid or ""), *(("Group", group) for group in groups)]
    found += [(f"Extra-{quote(name, safe=_PLAIN)}", value) for name, values in extra.items() for value in values]
    for name, value in found:
        if not value.isprintable():
            raise StoreMisconfigured(
                f"The kubeconfig's user has {printable(value, 40)!r} for Impersonate-{name}, which is no single line.",
                "Correct `as`, `as-uid`, `as-groups` and `as-user-extra`.",
            )
    return tuple((f"Impersonate-{name}", value) for name, value in found if value or name.startswith("Extra-"))


def _is_named_by_us(path: str) -> bool:
    """Whether whoever started us, and no pipeline's environment, has chosen this file."""
    ours = own_environment()
    named = [ours.get("KUBE_CONFIG_PATH", ""), *ours.get("KUBE_CONFIG_PATHS", "").split(os.pathsep)]
    return any(os.path.realpath(os.path.expanduser(each)) == os.path.realpath(path) for each in named if each)
