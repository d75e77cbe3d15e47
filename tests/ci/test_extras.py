"""Which extras the action installs: those of the backends in the checkout, or those that it is told."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tests.ci.actions import ACTION, Job
from tests.ci.conftest import LOCK, install
from tests.e2e.conftest import ROOT

FILES = sorted((ROOT / "action/extras").glob("*.lock"))
GCS = 'terraform {\n  backend "gcs" {\n    bucket = "states"\n  }\n}\n'

# --- what a checkout says -------------------------------------------------------------------------------------------

SIGNS = {
    "a block": ("main.tf", GCS, {"gcs"}),
    "OpenTofu's": ("live/app/backend.tofu", 'terraform { backend "pg" {} }', {"pg"}),
    "JSON": ("main.tf.json", '{"terraform": {"backend": {"gcs": {"bucket": "b"}}}}', {"gcs"}),
    "JSON with a list": ("main.tf.json", '{"terraform": [{"backend": [{"pg": {}}]}]}', {"pg"}),
    "Terragrunt's": ("root.hcl", 'remote_state {\n  backend = "gcs"\n}', {"gcs"}),
    "a certificate": ("main.tf", 'backend "azurerm" {\n client_certificate_path = "c.pfx"\n}', {"azurerm"}),
    "a certificate beside": ("prod.azurerm.tfbackend", 'client_certificate = "MII"', {"azurerm"}),
    "a store in tfguard.yml": ("tfguard.yml", "lock:\n  store: gs://locks/prod\n", {"gcs"}),
    "a store in a named one": ("ci/tfguard.prod.yaml", 'lock: {store: "postgres://db/locks"}\n', {"pg"}),
    "Azure with a secret": ("main.tf", 'backend "azurerm" {\n use_oidc = true\n}', set()),
    "another backend": ("main.tf", 'terraform { backend "s3" {} }\nlocals { x = "gcs" }', set()),
    "an address elsewhere": ("main.tf", 'locals { source = "gs://modules/x.zip" }', set()),
    "another file": ("notes.md", GCS, set()),
    "what others have put there": (".terraform/modules/x/main.tf", GCS, set()),
    "no text": ("main.tf", "\udcff\udcfe" + GCS, {"gcs"}),
}


@pytest.mark.parametrize(("name", "text", "extras"), SIGNS.values(), ids=SIGNS)
def test_a_checkout_says_what_its_backends_need(
    entry: ModuleType, tmp_path: Path, name: str, text: str, extras: set[str]
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    assert entry.extras_for({"GITHUB_WORKSPACE": str(tmp_path), "TFGUARD_INPUT_WORKING_DIRECTORY": str(tmp_path)}) == (
        extras
    )


def test_the_environment_says_it_too(entry: ModuleType, tmp_path: Path) -> None:
    assert entry.needs.found([str(tmp_path)], {"ARM_CLIENT_CERTIFICATE_PATH": "/run/c.pfx"}) == {"azurerm"}


def test_a_checkout_neither_stops_nor_leads_elsewhere_who_looks_through_it(
    entry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    for folder in (checkout, elsewhere):
        folder.mkdir()
    (elsewhere / "main.tf").write_text(GCS)
    os.mkfifo(checkout / "pipe.tf")
    (checkout / "link.tf").symlink_to(elsewhere / "main.tf")
    (checkout / "linked").symlink_to(elsewhere)
    (checkout / "again").symlink_to(checkout)
    (checkout / "folder.tf").mkdir()

    followed = entry.needs.found([str(checkout), "/nowhere"], {})
    monkeypatch.setattr(entry.needs, "_MAX_ENTRIES", 3)
    for number in range(5):
        (elsewhere / "many" / f"{number}").mkdir(parents=True)
    (elsewhere / "many" / "0" / "0.tf").write_text('backend "pg"')
    bounded = entry.needs.found([str(elsewhere)], {})

    assert followed == frozenset()
    assert bounded == {"gcs"}  # What is nearest is read first.


# --- what is installed ----------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(small: Path) -> Path:
    """A checkout of the action that pins one package for all, and for gcs another."""
    other = next(re.finditer(r"^mdurl==(.*\\\n)+.*$", LOCK, re.MULTILINE))[0]
    (small / "action/extras/gcs.lock").write_text(other)
    return small


@pytest.mark.e2e
@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_a_job_gets_what_its_backend_needs_and_who_settles_finds_it(
    entry: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny: Path,
    index: Mapping[str, str],
    uv: Callable[..., str],
    installer: str,
) -> None:
    environ = {**index, "PATH": uv() if installer == "uv" else "/usr/bin:/bin"}

    with_gcs = install(tiny, tmp_path / "tools", sys.executable, "gcs", **environ)
    without = install(tiny, tmp_path / "tools", sys.executable, **{**environ, "PATH": "/nowhere", "PIP_NO_INDEX": "1"})

    assert with_gcs.returncode == 0, with_gcs.stderr
    place = Path(with_gcs.stdout.strip())
    assert {"mdurl", "click", "tfguard"} <= {path.name for path in place.iterdir()}
    assert without.stdout == with_gcs.stdout  # What has more serves as well: nothing is installed a second time.
    monkeypatch.setattr(entry, "ROOT", tiny)
    monkeypatch.setattr(entry, "LOCK_FILE", tiny / "requirements.lock")
    monkeypatch.setattr(entry, "EXTRAS", tiny / "action/extras")
    entry._sources.cache_clear()
    assert entry.program_there({"RUNNER_TOOL_CACHE": str(tmp_path / "tools")})[-1] == str(place)
    entry._sources.cache_clear()


def test_what_cannot_be_installed_for_a_backend_is_named_with_the_way_to_do_without(
    entry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "_installers", lambda environ, folder: iter([["false", "pip"]]))

    with pytest.raises(entry.Refused) as refused:
        entry.installed(tmp_path, {}, frozenset({"gcs"}))

    first, second = str(refused.value).splitlines()
    assert "(with those for gcs)" in first
    assert second.endswith("or leave those out by `extras: none`.")


@pytest.mark.parametrize(
    ("given", "extras"), [("none", set()), ("gcs", {"gcs"}), ("pg, gcs", {"gcs", "pg"}), ("gcs\nazurerm", None)]
)
def test_the_input_goes_before_what_the_checkout_says(
    entry: ModuleType, tmp_path: Path, given: str, extras: set[str] | None
) -> None:
    (tmp_path / "main.tf").write_text('backend "pg"')

    got = entry.extras_for({"TFGUARD_INPUT_EXTRAS": given, "GITHUB_WORKSPACE": str(tmp_path)})

    assert got == (extras if extras is not None else {"azurerm", "gcs"})


@pytest.mark.e2e
def test_an_extra_that_does_not_exist_is_one_annotation(job: Callable[..., Job]) -> None:
    made = job({"command": "plan", "extras": "gcs s4"})

    assert made.run() == 64
    assert len(made.annotations) == 1
    assert "there is none called 's4'" in made.annotations[0]
    assert "azurerm, gcs, pg" in made.annotations[0]


# --- the files that pin them ----------------------------------------------------------------------------------------


def pins(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_every_extra_of_a_backend_is_pinned_and_offered(entry: ModuleType) -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    offered = project["optional-dependencies"]

    assert set(entry.needs.EXTRAS) == {file.stem for file in FILES} == set(offered) - {"test"}
    assert set(entry.needs.EXTRAS) <= set(re.findall(r"\w+", ACTION["inputs"]["extras"]["description"]))
    for file in FILES:
        pinned = pins(file.read_text())
        for requirement in map(Requirement, offered[file.stem]):
            (version,) = pinned[requirement.name]
            assert requirement.specifier.contains(version), f"{requirement}: make pins"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_pins_of_all_fit_one_another_and_have_hashes(file: Path) -> None:
    text = file.read_text()
    everything = pins(LOCK + "".join(each.read_text() for each in FILES))
    blocks = re.findall(r"^[a-z0-9-]+==.*\\\n(?:    --hash=sha256:[0-9a-f]{64}.*\n?)+", text, re.MULTILINE)

    assert len(blocks) == len(re.findall(r"^[a-z0-9-]+==", text, re.MULTILINE)) > 0
    assert "://" not in text
    assert all(versions <= everything[name] for name, versions in pins(text).items())
    # One version each, but where Python's own decides.
    assert {name for name, versions in everything.items() if len(versions) > 1} <= {"pycparser"}
