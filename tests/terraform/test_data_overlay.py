"""A data directory of one run's own, beside the real one."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from tfguard.process.page import Page
from tfguard.terraform import data_overlay
from tfguard.terraform.workdir import WorkingDirectory

CACHE = {"version": 3, "backend": {"type": "http", "config": {"address": "a", "username": None}, "hash": 7}}


def initialised(path: Path) -> WorkingDirectory:
    data = path / "app" / ".terraform"
    (data / "providers").mkdir(parents=True)
    (data / "terraform.tfstate").write_text(json.dumps(CACHE))
    (data / "environment").write_text("blue")
    return WorkingDirectory.at(path / "app", None, {})


def test_it_has_a_cache_of_its_own_and_links_to_all_else(tmp_path: Path) -> None:
    workdir = initialised(tmp_path)

    place = Path(data_overlay.make(workdir, str(tmp_path), {"address": "a?ID=0-1"}))

    cache = json.loads((place / "terraform.tfstate").read_text())
    assert cache["backend"] == {"type": "http", "config": {"address": "a?ID=0-1", "username": None}, "hash": 7}
    assert (place / "providers").samefile(workdir.data_dir / "providers")
    assert (place / "environment").read_text() == "blue", "`workspace delete` must know which one is in use"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert json.loads(workdir.cache_path.read_text()) == CACHE


def test_the_link_to_it_goes_with_the_runs_folder_whoever_removes_that(tmp_path: Path) -> None:
    """Its keeper does, for one, after a kill of the front."""
    workdir, page = initialised(tmp_path), Page.create()
    links = []
    for name in ("ours", "theirs"):
        folder = tmp_path / name
        folder.mkdir()
        place = data_overlay.make(workdir, str(folder))
        links.append(workdir.directory / data_overlay.link(workdir, place, name))
    (tmp_path / "ours" / "stranger").mkdir()
    (tmp_path / "ours" / "stranger" / data_overlay.BACK).symlink_to(links[1])

    page.folder = str(tmp_path / "ours")
    page.remove_folder()
    os.close(page.descriptor)

    assert [os.path.lexists(link) for link in links] == [False, True]
    assert links[1].is_dir()


def test_it_is_found_from_its_own_directory_alone_and_leaves_no_link(tmp_path: Path) -> None:
    """A Terraform that a provisioner starts in another directory inherits the variable."""
    workdir = initialised(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    place = data_overlay.make(workdir, str(tmp_path))

    found = [data_overlay.link(workdir, place, "0-1") for _ in range(2)]  # Nested runs have the lock's ID as well.

    assert found[0] == found[1] == ".terraform/tfguard-0-1"
    assert (workdir.directory / found[0]).samefile(place)
    assert not os.path.lexists(other / found[0])
    data_overlay.unlink(workdir, "../providers")
    data_overlay.unlink(workdir, "0-1")
    data_overlay.unlink(workdir, "0-1")
    assert sorted(path.name for path in workdir.data_dir.iterdir()) == ["environment", "providers", "terraform.tfstate"]
