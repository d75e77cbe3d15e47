"""From attributes and variables to the Lease and the cluster, as Terraform finds them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tfguard.backends import locate
from tfguard.backends.kubernetes.backend import lease_name
from tfguard.backends.kubernetes.connection import Connection, connection
from tfguard.backends.kubernetes.spec import KubernetesAccess, KubernetesSpec
from tfguard.backends.target import PlannedBackend, Target
from tfguard.backends.urls import parse_store_url
from tfguard.errors import ConfigError, StoreDenied, StoreMisconfigured


def found(config: Mapping[str, Any], environ: Mapping[str, str] | None = None, workspace: str = "default") -> Target:
    planned = PlannedBackend("kubernetes", {"secret_suffix": "prod", **config}, workspace)
    target = locate(planned, Path("/work"), workspace, environ or {}, source="the cache")
    assert isinstance(target, Target)
    return target


def spec_of(config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> KubernetesSpec:
    (spec,) = found(config, environ).stores
    assert isinstance(spec, KubernetesSpec)
    return spec


def test_lock_and_state_are_terraforms_lease_and_secret() -> None:
    target = found({"labels": {"team": "blue"}, "exec": None}, workspace="blue")

    (spec,) = target.stores
    assert isinstance(spec, KubernetesSpec)
    assert (spec.namespace, spec.name) == ("default", "lock-tfstate-blue-prod")
    assert spec.labels == {
        "tfstate": "true",
        "tfstateSecretSuffix": "prod",
        "tfstateWorkspace": "blue",
        "app.kubernetes.io/managed-by": "terraform",
        "team": "blue",
    }
    assert target.state is not None
    assert target.state.place == "Secret default/tfstate-blue-prod"


def test_the_backend_goes_before_terraforms_variables() -> None:
    environ = {
        "KUBE_NAMESPACE": "theirs",
        "KUBE_CONFIG_PATH": "/theirs",
        "KUBE_CTX": "theirs",
        "KUBE_TOKEN": "theirs",
        "KUBE_INSECURE": "true",
        "KUBECONFIG": "/never",
    }
    config = {"namespace": "ours", "config_path": "ours", "config_context": "ours", "token": "ours", "insecure": False}

    specs = [spec_of(config, environ), spec_of({}, environ)]

    assert [
        (spec.namespace, *spec.kubernetes.config_paths, spec.kubernetes.context, spec.kubernetes.token)
        for spec in specs
    ] == [("ours", "/work/ours", "ours", "ours"), ("theirs", "/theirs", "theirs", "theirs")]
    assert [spec.kubernetes.insecure for spec in specs] == [False, True]


def test_several_kubeconfigs_count_where_there_is_no_single_one() -> None:
    def paths(config: Mapping[str, Any], **environ: str) -> tuple[str, ...]:
        return spec_of(config, environ).kubernetes.config_paths

    assert paths({"config_paths": ["~/a", "b"]}) == (os.path.expanduser("~/a"), "/work/b")
    assert paths({}, KUBE_CONFIG_PATHS="/a:/b") == ("/a", "/b")
    assert paths({}, KUBE_CONFIG_PATHS="/a:/b", KUBE_CONFIG_PATH="/c") == ("/c",)
    assert paths({}, KUBECONFIG="/a") == ()


def test_a_suffix_that_terraform_refuses_is_refused() -> None:
    with pytest.raises(ConfigError, match="ends in a number"):
        found({"secret_suffix": "prod-7"})


def test_a_named_lock_has_a_lease_of_its_own() -> None:
    spec = parse_store_url("k8s://locks/team?context=prod", "prod/network", {"KUBE_CONFIG_PATH": "/k"})

    assert isinstance(spec, KubernetesSpec)
    assert (spec.namespace, spec.name) == ("locks", lease_name("team/prod/network"))
    assert (spec.kubernetes.context, spec.kubernetes.config_paths) == ("prod", ("/k",))
    assert lease_name("prod/network") != lease_name("prod-network")
    assert lease_name("prod/network").startswith("tfguard-prod-network-")
    with pytest.raises(ConfigError, match="k8s://NAMESPACE/PREFIX"):
        parse_store_url("k8s://UPPER/x", "prod", {})


# --- kubeconfigs ------------------------------------------------------------------------------------------------


def written(path: Path, name: str = "one", current: str | None = "one", **user: Any) -> Path:
    config = {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example:6443/base/"}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": current,
    }
    path.write_text(json.dumps(config))
    return path


def reached(*paths: Path, environ: Mapping[str, str] | None = None, **more: Any) -> Connection:
    asked = KubernetesAccess(config_paths=tuple(map(str, paths)), **more)
    return connection(asked, environ or {"PATH": os.environ["PATH"]})


def test_the_first_file_that_names_something_is_believed(tmp_path: Path) -> None:
    one = written(tmp_path / "1", "one", None, token="t1")
    two = written(tmp_path / "2", "two", "two", token="t2")

    merged = reached(one, tmp_path / "absent", two)
    named = reached(one, two, context="one")

    assert (merged.url, merged.credentials.header()) == ("https://two.example:6443/base", "Bearer t2")
    assert (named.url, named.credentials.header()) == ("https://one.example:6443/base", "Bearer t1")
    assert reached(one, two, context="one", context_user="two").credentials.header() == "Bearer t2"
    assert reached(one, two, context="one", token="ours").credentials.header() == "Bearer ours"


def test_a_token_file_counts_from_its_kubeconfig_and_is_read_each_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    credentials = reached(written(tmp_path / "1", tokenFile="token")).credentials
    first = credentials.header()
    (tmp_path / "token").write_text("second\n")

    assert (first, credentials.header()) == ("Bearer first", "Bearer second")


@pytest.mark.parametrize(
    ("user", "backend", "header"),
    [
        ({"tokenFile": "file", "token": "t"}, {}, "Bearer of the file"),
        ({"tokenFile": "none", "token": "t"}, {}, "Bearer t"),
        ({"tokenFile": "file"}, {"token": "backend's"}, "Bearer of the file"),
        ({"token": "t"}, {"token": "backend's"}, "Bearer backend's"),
        ({"password": "p"}, {}, ""),
        ({"auth-provider": {"name": "oidc"}, "token": "t"}, {}, "Bearer t"),
        ({"exec": {"command": "never run"}, "username": "u", "password": "p"}, {}, "Basic dTpw"),
    ],
)
def test_whose_word_counts_is_as_terraform_was_seen_to_decide(
    tmp_path: Path, user: dict[str, Any], backend: dict[str, Any], header: str
) -> None:
    (tmp_path / "file").write_text("of the file\n\n")

    assert reached(written(tmp_path / "1", **user), **backend).credentials.header() == header


@pytest.mark.parametrize(
    ("user", "backend", "says"),
    [
        ({"token": "t", "username": "u"}, {}, "Both a token and a user's name"),
        ({"tokenFile": "t"}, {"username": "u"}, "Both a token and a user's name"),
        ({"as-groups": ["g"], "token": "t"}, {}, "and no `as`"),
        ({"as": "a\nb", "token": "t"}, {}, "no single line"),
        ({"auth-provider": {"name": "gcp", "config": {}}, "token": "t"}, {}, "auth-provider 'gcp', which"),
        ({"auth-provider": {"name": "oidc", "config": {}}}, {}, "auth-provider 'oidc', which"),
    ],
)
def test_what_terraform_takes_no_two_of_or_we_do_not_speak_is_named(
    tmp_path: Path, user: dict[str, Any], backend: dict[str, Any], says: str
) -> None:
    with pytest.raises(StoreMisconfigured, match=says):
        reached(written(tmp_path / "1", **user), **backend)


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_in_whose_name_we_ask_is_said_as_terraform_says_it(tmp_path: Path, scheme: str) -> None:
    """Without TLS, too. Kubernetes undoes the percent signs, and takes the names of headers in any case."""
    extra = {"Reason/x é%": ["a", "b"], "empty": [""]}
    path = written(tmp_path / "1", **{"as": "ana", "as-uid": "u-1", "as-groups": ["g1", "g2"], "as-user-extra": extra})
    path.write_text(path.read_text().replace("https", scheme))

    assert reached(path).impersonation == (
        ("Impersonate-User", "ana"),
        ("Impersonate-Uid", "u-1"),
        ("Impersonate-Group", "g1"),
        ("Impersonate-Group", "g2"),
        ("Impersonate-Extra-Reason%2Fx%20%C3%A9%25", "a"),
        ("Impersonate-Extra-Reason%2Fx%20%C3%A9%25", "b"),
        ("Impersonate-Extra-empty", ""),
    )


def test_without_tls_a_kubeconfig_does_not_say_who_we_are(tmp_path: Path) -> None:
    """Terraform's client does not send it then, and does not run its programs."""
    path = written(tmp_path / "1", token="t")
    path.write_text(path.read_text().replace("https", "http"))

    assert reached(path).credentials.header() == ""
    assert reached(path, token="ours").credentials.header() == "Bearer ours"


VERSION = "client.authentication.k8s.io/v1"
PRINTED = {
    "kind": "ExecCredential",
    "apiVersion": VERSION,
    "status": {"token": "printed", "expirationTimestamp": "2099-01-01T00:00:00Z"},
}
PROGRAM = f"#!/bin/sh\necho run >> \"$LOG\"\ncat <<'END'\n{json.dumps(PRINTED)}\nEND\n"


def printing(status: dict[str, Any]) -> str:
    return PROGRAM.replace(json.dumps(PRINTED["status"]), json.dumps(status))


def with_program(folder: Path, text: str = PROGRAM, version: str = VERSION) -> Path:
    program = folder / "bin" / "plugin"
    program.parent.mkdir()
    program.write_text(text)
    program.chmod(0o755)
    env = [{"name": "LOG", "value": str(folder / "log")}]
    return written(folder / "1", exec={"apiVersion": version, "command": "bin/plugin", "args": ["a"], "env": env})


def test_a_program_is_run_once_for_its_token(tmp_path: Path) -> None:
    credentials = reached(with_program(tmp_path)).credentials

    assert [credentials.header() for _ in range(3)] == ["Bearer printed"] * 3
    assert (tmp_path / "log").read_text() == "run\n"
    ends = credentials.expires_at()
    assert ends is not None
    assert ends.year == 2099
    credentials.close()


def test_a_program_that_wants_it_is_told_which_cluster_it_is_for(tmp_path: Path) -> None:
    path = with_program(tmp_path, PROGRAM + 'printf %s "$KUBERNETES_EXEC_INFO" > "$LOG"\n')
    config = json.loads(path.read_text())
    config["users"][0]["user"]["exec"]["provideClusterInfo"] = True
    config["clusters"][0]["cluster"] |= {
        "tls-server-name": "inside.example",
        "proxy-url": "http://proxy.example:1",
        "extensions": [
            {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}},
            {"name": "other"},
        ],
    }
    path.write_text(json.dumps(config))

    reached(path, insecure=True).credentials.close()

    assert json.loads((tmp_path / "log").read_text())["spec"] == {
        "interactive": False,
        "cluster": {
            "server": "https://one.example:6443/base",
            "tls-server-name": "inside.example",
            "insecure-skip-tls-verify": True,
            "proxy-url": "http://proxy.example:1",
            "config": {"audience": "x"},
        },
    }


@pytest.mark.parametrize(
    ("text", "version", "says"),
    [
        ("#!/bin/sh\nexit 3", f"{VERSION}beta1", "ended with status 3"),
        ("#!/bin/sh\necho geheim", VERSION, "printed no ExecCredential"),
        (PROGRAM, f"{VERSION}beta1", "printed another version"),
        (printing({"token": None}), VERSION, "neither a token nor a certificate"),
        (printing({"clientCertificateData": "geheim"}), VERSION, "printed a certificate and a key that are none"),
        (printing({"token": "t", "expirationTimestamp": "2020-01-01T00:00:00Z"}), VERSION, "what has expired"),
        (PROGRAM, f"{VERSION}alpha1", "which tfguard does not"),
    ],
)
def test_a_program_that_gives_no_token_is_said(tmp_path: Path, text: str, version: str, says: str) -> None:
    with pytest.raises((StoreDenied, StoreMisconfigured), match=says) as raised:
        reached(with_program(tmp_path, text, version))

    assert "geheim" not in str(raised.value)


def test_a_checkouts_program_is_not_run(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    path = with_program(tmp_path)

    with pytest.raises(StoreMisconfigured, match="part of this checkout"):
        reached(path)
    with pytest.raises(StoreMisconfigured, match="block `exec`"):
        reached(path, has_exec=True)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no YAML"),
        ("- a", "is no kubeconfig"),
        ("clusters: []\nusers: 7", "users is no list"),
        ("current-context: gone", "There is no context 'gone'"),
        ("{}", "where the cluster is"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "1").write_text(text)

    with pytest.raises(StoreMisconfigured, match=says):
        reached(tmp_path / "1")


def test_a_pod_says_itself_how_its_cluster_is_reached() -> None:
    with pytest.raises(StoreMisconfigured, match="this is no pod"):
        reached(in_cluster=True)
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(StoreMisconfigured, match=r"serviceaccount/ca.crt"):
        reached(in_cluster=True, environ=environ)


@pytest.mark.parametrize("host", ["ftp://x", "https://", "https://u:p@x", "https://x:99999", "a b"])
def test_an_address_that_is_none_is_named(host: str) -> None:
    with pytest.raises(StoreMisconfigured, match="no address"):
        reached(host=host)
