"""
Whichever of our processes is stopped or killed: who may not write any more does not, and is asked to stop once.

The judge is the log to which two writers append: ours, which no heartbeat keeps any more, and the rival that has taken
its lock over.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pexpect
import psutil
import pytest

from tests.contract.kinds import DynamoDBKind
from tests.e2e.conftest import TFGUARD
from tests.e2e.running import Running
from tests.faults.proxy import HANGS, fault_proxy
from tests.faults.scene import SHORT_LEASE, UNREAD, WORK, LocalScene, Scene, family, is_gone, keeper_of, work_of
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

on_dynamodb = pytest.mark.parametrize("scene", [pytest.param("dynamodb", marks=pytest.mark.emulator)], indirect=True)


def sentinel_of(ours: Running) -> psutil.Process:
    """The sentinel beside a run's work."""
    return eventually(lambda: next((each for each in family(ours.pid) if _is_sentinel(each)), None), 20, "a sentinel")


def _is_sentinel(process: psutil.Process) -> bool:
    return any("sentinel" in word for word in process.cmdline())


def is_stopped(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_STOPPED


# --- nobody writes beside the next ----------------------------------------------------------------------------------


def thaw_as_a_stranger(scene: Scene, ours: Running, work: psutil.Process) -> None:
    """C1: one SIGCONT of somebody's while the store hangs."""
    scene.proxy.always("all", HANGS)
    eventually(lambda: is_stopped(work), 20, "the freeze")
    for process in family(work.pid):
        process.send_signal(signal.SIGCONT)
    eventually(lambda: is_stopped(work), 10, "the freeze again")


def stop_the_front_and_kill_the_keeper(scene: Scene, ours: Running, work: psutil.Process) -> None:
    """C3: the front, stopped, keeps the lifeline open."""
    keeper = keeper_of(ours)
    psutil.Process(ours.pid).suspend()
    keeper.kill()


def stop_front_and_keeper(scene: Scene, ours: Running, work: psutil.Process) -> None:
    """C5."""
    psutil.Process(ours.pid).suspend()
    keeper_of(ours).suspend()


def stop_keeper_and_sentinel(scene: Scene, ours: Running, work: psutil.Process) -> None:
    sentinel_of(ours).suspend()
    keeper_of(ours).suspend()


def let_nobody_read_its_words(scene: Scene, ours: Running, work: psutil.Process) -> None:
    """C2: it was started so; and the store hangs."""
    scene.proxy.always("all", HANGS)


HARMS: dict[Callable[[Scene, Running, psutil.Process], None], dict[str, object]] = {
    thaw_as_a_stranger: {},
    stop_the_front_and_kill_the_keeper: {},
    stop_front_and_keeper: {},
    stop_keeper_and_sentinel: {},
    let_nobody_read_its_words: {"launcher": UNREAD},
}


@pytest.fixture
def dynamodb_scenes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Scene]]:
    """Make scenes that share nothing but the emulator."""
    server = request.getfixturevalue("dynamodb")
    with contextlib.ExitStack() as opened:

        def make(name: str) -> Scene:
            (tmp_path / name).mkdir()
            kind = DynamoDBKind(server)
            opened.callback(kind.close)
            scene = Scene(kind, opened.enter_context(fault_proxy(server.endpoint)), tmp_path / name, SHORT_LEASE)
            opened.callback(scene.close)
            return scene

        yield make


def play(scene: Scene, harm: Callable[[Scene, Running, psutil.Process], None]) -> None:
    ours = scene.begun(manner="stubborn", **HARMS[harm])  # type: ignore[arg-type]
    work, rival = work_of(ours), scene.waiter()

    harm(scene, ours, work)
    began = scene.wait_for("b", "begin")
    eventually(lambda: scene.times("b", "tick") > 20, 10, "the rival at work")
    for process in reversed(family(ours.pid)):
        if process != work:
            with contextlib.suppress(psutil.Error):
                process.resume()
    scene.proxy.heal()
    result = ours.end()
    scene.let_end("b")

    assert scene.lines("a")[-1].at < began.at, harm.__name__
    assert scene.times("a", "asked") <= 1, harm.__name__
    assert result.code == 76, f"{harm.__name__}: {result}"
    assert rival.end().code == 0, harm.__name__


@pytest.mark.emulator
def test_whoever_is_stopped_or_killed_nobody_writes_beside_the_next(
    dynamodb_scenes: Callable[[str], Scene],
) -> None:
    """All at once: most of each is waiting."""
    scenes = {harm: dynamodb_scenes(harm.__name__) for harm in HARMS}

    with ThreadPoolExecutor(len(scenes)) as stage:
        played = [stage.submit(play, scene, harm) for harm, scene in scenes.items()]

    for each in played:
        each.result()


@on_dynamodb
def test_a_keeper_that_is_stopped_as_it_starts_the_work_leaves_it_to_others(scene: Scene) -> None:
    """C4: whether it has come to tell of the work or not."""
    scene.lease = SHORT_LEASE
    ours = scene.run(manner="stubborn")
    keeper = eventually(lambda: _parent_of_work(ours), 40, "a program of the keeper's")
    keeper.suspend()
    scene.wait_for("a", "begin")

    rival = scene.rival("b")
    began = scene.wait_for("b", "begin")
    scene.let_end("b")

    assert scene.lines("a")[-1].at < began.at
    assert rival.end().code == 0
    assert ours.end().code == 76


def _parent_of_work(ours: Running) -> psutil.Process | None:
    """The keeper, once it has a child that is no sentinel: the shim, or already the work."""
    for process in family(ours.pid):
        with contextlib.suppress(psutil.Error):
            if str(WORK) in process.cmdline() and process.pid != ours.pid:
                return process.parent()
    return None


@on_dynamodb
def test_ctrl_z_and_fg_thaw_nothing_that_the_deadline_has_frozen(scene: Scene) -> None:
    """C1, on a terminal."""
    scene.lease = SHORT_LEASE
    words = [*TFGUARD, "exec", "--name", scene._name, "--store", scene._url(beside=False), "--"]
    words += [sys.executable, "-S", "-I", str(WORK), "a", str(scene.log), str(scene.folder / "gate-a"), "stubborn"]
    environ = {**scene._environ(scene.lease), "PS1": "READY> ", "TERM": "dumb"}
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        cwd=str(scene.folder),
        env=environ,  # type: ignore[arg-type]
        encoding="utf-8",
        timeout=patience(20),
        dimensions=(40, 500),
    )
    try:
        shell.expect("READY> ")
        shell.sendline(" ".join(f"'{word}'" for word in words))
        scene.wait_for("a", "begin")
        rival = scene.waiter()

        scene.proxy.always("all", HANGS)
        shell.expect("frozen, since")
        shell.sendcontrol("z")
        shell.expect("Stopped")
        shell.sendline("fg")
        began = scene.wait_for("b", "begin")
        eventually(lambda: scene.times("b", "tick") > 20, 10, "the rival at work")
        last = scene.lines("a")[-1].at
        scene.let_end("b")

        assert last < began.at
        assert rival.end().code == 0
    finally:
        for process in family(shell.pid):
            with contextlib.suppress(psutil.Error):
                process.kill()
        shell.close(force=True)


@on_dynamodb
def test_the_death_of_all_who_could_thaw_it_thaws_nothing(scene: Scene) -> None:
    """The kernel lets a stopped process group go on that has lost its last parent in the same session."""
    scene.lease = SHORT_LEASE
    ours = scene.begun(manner="stubborn")
    work, sentinel = work_of(ours), sentinel_of(ours)
    scene.proxy.always("all", HANGS)
    eventually(lambda: is_stopped(work), 20, "the freeze")
    guards = psutil.Process(ours.pid), keeper_of(ours)
    for each in (sentinel, *guards):
        each.suspend()
    last = scene.lines("a")[-1].at

    front, keeper = guards
    keeper.kill()
    eventually(lambda: work.ppid() == front.pid, 10, "the front's inheritance")
    front.kill()
    ours.process.wait(patience(10))
    sentinel.resume()
    eventually(lambda: is_gone(work), 10, "an end of the work")

    assert scene.lines("a")[-1].at == last


# --- no cancel is lost ----------------------------------------------------------------------------------------------


@on_dynamodb
def test_a_cancel_is_heard_though_nobody_reads_what_we_say(scene: Scene) -> None:
    """C2."""
    ours = scene.begun(launcher=UNREAD)

    ours.process.terminate()

    scene.wait_for("a", "asked")
    assert ours.end().code == -signal.SIGTERM
    assert scene.times("a", "asked") == 1
    scene.wait_until_free()


@on_dynamodb
def test_a_cancel_is_heard_though_sentinel_and_front_have_been_stopped_for_a_while(scene: Scene) -> None:
    """C2, C7: the beats go on meanwhile, and what is said to have been done has been done."""
    scene.lease = SHORT_LEASE
    ours = scene.begun()
    sentinel_of(ours).suspend()
    front = psutil.Process(ours.pid)
    front.suspend()
    beats = len(scene.proxy.beats())
    eventually(lambda: len(scene.proxy.beats()) > beats + 6, 30, "beats")

    ours.process.terminate()
    front.resume()

    scene.wait_for("a", "asked")
    result = ours.end()
    assert "the program is asked once to stop" in result.err
    assert (result.code, scene.times("a", "asked")) == (-signal.SIGTERM, 1)
    scene.wait_until_free()


@on_dynamodb
def test_a_keeper_that_dies_with_words_of_its_sentinels_unread_leaves_the_work_its_signal(scene: Scene) -> None:
    """C6: its socket is reset."""
    ours = scene.begun()
    keeper, sentinel = keeper_of(ours), sentinel_of(ours)
    front = psutil.Process(ours.pid)
    front.suspend()
    keeper.suspend()
    sentinel.terminate()
    time.sleep(0.3)  # Until it has passed that on. If not, this is another test, and holds too.

    keeper.kill()

    scene.wait_for("a", "asked")
    front.resume()
    ours.end()
    assert scene.times("a", "asked") == 1
    scene.wait_until_free()


def test_a_local_lock_outlives_front_and_keeper_as_long_as_its_work_does(tmp_path: Path) -> None:
    """C10."""
    scene = LocalScene(tmp_path)
    try:
        ours = scene.begun(manner="stubborn")
        work, guards = work_of(ours), (psutil.Process(ours.pid), keeper_of(ours))
        for guard in guards:
            guard.suspend()
        for guard in guards:
            guard.kill()
        scene.wait_for("a", "asked")

        busy = scene.rival("b", timeout="2s").end()
        scene.let_end("a")
        eventually(lambda: is_gone(work), 20, "the end of the work")
        scene.let_end("c")
        free = scene.rival("c", timeout="30s").end()

        assert busy.code == 75, str(busy)
        assert scene.lines("b") == []
        assert free.code == 0, str(free)
        assert scene.times("a", "asked") == 1
    finally:
        scene.close()


# --- nothing waits for ever -----------------------------------------------------------------------------------------


@on_dynamodb
def test_a_keeper_that_is_stopped_in_line_does_not_keep_its_run_waiting(scene: Scene) -> None:
    """E2."""
    holder = scene.begun()
    waiter = scene.rival("b", timeout="5s")
    waiter.wait_for("is held by")

    keeper_of(waiter).suspend()

    assert waiter.end().code == 75
    scene.let_end("a")
    assert holder.end().code == 0


@on_dynamodb
def test_a_keeper_that_is_stopped_after_the_work_has_a_successor_that_releases(scene: Scene) -> None:
    """E2."""
    ours = scene.begun()
    scene.proxy.always("delete", HANGS)
    scene.let_end()
    eventually(lambda: scene.proxy.asked("delete"), 30, "a release")

    keeper_of(ours).suspend()
    scene.proxy.heal()

    assert ours.end().code == 0
    assert scene.record() is None


@on_dynamodb
def test_what_stays_frozen_for_too_long_is_killed_and_nothing_of_ours_is_left(scene: Scene) -> None:
    """E4."""
    scene.lease = SHORT_LEASE
    ours = scene.begun(manner="stubborn", TFGUARD_LOCK_FREEZE_TIMEOUT="2s")
    everybody = family(ours.pid)

    scene.proxy.always("all", HANGS)
    result = ours.end()

    assert result.code == 76, str(result)
    assert "lock.freeze_timeout" in result.err
    eventually(lambda: all(is_gone(each) for each in everybody), 30, "an end of all")
