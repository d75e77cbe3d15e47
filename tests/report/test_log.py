"""What is logged reaches stderr, whole, without secrets — and never harms the run."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from tests.support.eventually import patience
from tfguard import redaction
from tfguard.backends.aws.spec import AwsAccess
from tfguard.errors import Outcome, UsageError
from tfguard.report import log

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch) -> None:
    """Give each test the log as a new process has it."""
    monkeypatch.setattr(log, "_sink", log._sink)
    monkeypatch.setattr(redaction, "_secrets", frozenset())
    monkeypatch.setattr(redaction, "_forms", ())
    monkeypatch.delenv("NO_COLOR", raising=False)


def events(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def run_python(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, **options)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_event_is_one_line_of_json_with_time_level_and_name_first():
    stream = io.StringIO()
    log.configure("json", stream=stream)

    log.get_logger(lock="prod/network").info("lease.acquired", token=41, waited_s=1.5)

    [event] = events(stream.getvalue())
    assert list(event) == ["timestamp", "level", "event", "lock", "token", "waited_s"]
    assert event | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "lease.acquired",
        "lock": "prod/network",
        "token": 41,
        "waited_s": 1.5,
    }
    assert event["timestamp"].endswith("Z")


def test_for_people_an_event_is_one_line_that_can_be_read():
    stream = io.StringIO()
    log.configure("console", stream=stream)

    log.get_logger(lock="prod/network").warning("lease.taken_over", holder="ana lopez", reason="", outcome=None)

    line = stream.getvalue()
    assert line[8:] == " warning lease.taken_over lock=prod/network holder='ana lopez' reason=''\n"


def test_events_go_to_stderr_and_stdout_stays_terraforms(capfd):
    log.configure("console")

    log.get_logger().info("run.finished", outcome=Outcome.SUCCEEDED)

    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("run.finished outcome=succeeded\n")


@pytest.mark.parametrize(
    ("verbosity", "heard"),
    [(-1, ["warning", "error"]), (0, ["info", "warning", "error"]), (1, ["debug", "info", "warning", "error"])],
)
def test_verbosity_is_the_threshold(verbosity, heard):
    stream = io.StringIO()
    log.configure("json", verbosity, stream)
    logger = log.get_logger()

    for write in (logger.debug, logger.info, logger.warning, logger.error):
        write("thing.happened")

    assert [event["level"] for event in events(stream.getvalue())] == heard


def test_a_logger_made_before_the_configuration_obeys_it():
    stream = io.StringIO()
    logger = log.get_logger(lock="a", place=2)

    log.configure("json", stream=stream)
    logger.info("queue.joined", place=3)

    [event] = events(stream.getvalue())
    assert (event["lock"], event["place"]) == ("a", 3)


@pytest.mark.parametrize(
    ("stream", "variables", "is_coloured"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(monkeypatch, stream, variables, is_coloured):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    log.configure("console", stream=stream)

    log.get_logger().error("child.killed", pid=7)

    assert ("\x1b[" in stream.getvalue()) == is_coloured


@pytest.mark.parametrize(
    ("flag", "environ", "expected"),
    [
        (None, {}, "console"),
        (None, {"TFGUARD_LOG_FORMAT": ""}, "console"),
        (None, {"TFGUARD_LOG_FORMAT": "json"}, "json"),
        ("console", {"TFGUARD_LOG_FORMAT": "json"}, "console"),
        ("json", {"TFGUARD_LOG_FORMAT": "nonsense"}, "json"),
    ],
)
def test_the_flag_wins_over_the_environment(flag, environ, expected):
    assert log.choose_format(flag, environ) == expected


@pytest.mark.parametrize(("flag", "source"), [("xml", "--log-format"), (None, "TFGUARD_LOG_FORMAT")])
def test_an_unknown_format_is_named_with_where_it_came_from(flag, source):
    with pytest.raises(UsageError, match=f"{source} is 'x.?ml'.\nUse console or json."):
        log.choose_format(flag, {"TFGUARD_LOG_FORMAT": "x\x1bml"})


@pytest.mark.parametrize("kind", ["console", "json"])
def test_no_planted_secret_is_ever_written(kind):
    planted = "hunter2-planted"
    stream = io.StringIO()
    log.configure(kind, 1, stream)
    redaction.register_secrets([planted, planted + "-and-longer", "", "abc"])
    logger = log.get_logger(secret_key="s3cr3t-by-key", password=12345678)

    logger.info(f"run.started {planted}", command=["apply", f"-var=x={planted}"], env={"TF_VAR_db": "s3cr3t-by-key"})
    logger.info("a.b", **{f"key-{planted}": 1}, aws=AwsAccess(secret_key="s3cr3t-by-key", token="s3cr3t-by-key"))
    logger.info("a.b", token="s3cr3t-by-key", session_token=87654321, error=ValueError(planted), other={planted})
    logger.info("a.b", link=f"https://u:{planted}@host", longer=planted + "-and-longer", path=Path("/x") / planted)
    logger.info("a.b", text="-var db_password=s3cr3t-by-key https://ana:s3cr3t-by-key@host/ {'token' = s3cr3t-by-key}")
    try:
        raise RuntimeError(planted)
    except RuntimeError:
        logger.error("internal.failed", exc_info=True)

    written = stream.getvalue()
    assert "internal.failed" in written
    for secret in (planted, "and-longer", "s3cr3t-by-key", "12345678", "87654321"):
        assert secret not in written
    assert "abc" not in written


def test_the_fencing_token_is_no_secret():
    stream = io.StringIO()
    log.configure("json", stream=stream)

    log.get_logger().info("lease.acquired", token=41, fencing_token=41)

    [event] = events(stream.getvalue())
    assert (event["token"], event["fencing_token"]) == (41, 41)


@pytest.mark.parametrize("data", [b"p\xffassword", b"pass\xe2\x82word"])
def test_a_secret_that_is_no_utf_8_is_cut_out_however_it_was_read(data):
    redaction.register_secrets([os.fsdecode(data)])

    for shown in (os.fsdecode(data), data.decode("utf-8", "replace"), "".join(map(_sign, data))):
        assert redaction.redact(f"it is {shown}.") == "it is [redacted]."


def _sign(byte: int) -> str:
    return chr(byte) if byte < 0x80 else "\N{REPLACEMENT CHARACTER}"  # As Go has it: one for each byte.


def test_short_texts_are_no_secrets():
    redaction.register_secrets(["", "a", "apply"])

    assert redaction.redact("apply a plan") == "apply a plan"


@pytest.mark.parametrize("kind", ["console", "json"])
def test_strangers_texts_stay_on_their_line(kind):
    stream = io.StringIO()
    log.configure(kind, stream=stream)

    log.get_logger().info(
        "lock.busy", holder="eve\x1b[2J\n::error::gotcha", raw=b"\x1b\n", bad="\udc80", long="x" * 9000
    )

    [line] = stream.getvalue().splitlines()
    assert line.isprintable()
    assert len(line) < 3000


def test_a_traceback_is_kept_readable():
    stream = io.StringIO()
    log.configure("console", stream=stream)

    try:
        raise KeyError("a\x1bb")
    except KeyError:
        log.get_logger().error("internal.failed", exit_code=70, exc_info=True)

    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("internal.failed exit_code=70")
    assert rest[0] == "Traceback (most recent call last):"
    assert all(line.isprintable() for line in rest)


def test_values_become_plain_data():
    class Point(msgspec.Struct):
        x: int

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    stream = io.StringIO()
    log.configure("json", stream=stream)

    log.get_logger().info("a.b", outcome=Outcome.FAILED, point=Point(1), places=(1, 2), nothing=None, ok=True)
    log.get_logger().info("a.b", broken=Broken())

    [event] = events(stream.getvalue())
    assert event["outcome"] == "failed"
    assert event["point"] == {"x": 1}
    assert event["places"] == [1, 2]
    assert event["nothing"] is None
    assert event["ok"] is True


def test_a_closed_stream_harms_nobody():
    stream = io.StringIO()
    log.configure("json", stream=stream)
    stream.close()

    log.get_logger().error("store.unreachable")


def test_a_broken_pipe_changes_no_exit_status():
    """Python ends with 120 when its own buffer for stderr cannot be flushed: nothing may stay in there."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = "from tfguard.report import log; log.get_logger().error('store.unreachable'); raise SystemExit(3)"

    with open(write_end, "wb") as stderr:
        result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=stderr)

    assert result.returncode == 3


@pytest.mark.parametrize(
    "loss",
    ["import sys; sys.stderr = None", "import os; os.close(2)", "import sys; sys.stderr.close()"],
)
def test_without_a_stderr_we_are_mute(loss):
    result = run_python(f"{loss}\nfrom tfguard.report import log; log.get_logger().error('a.b'); print('alive')")

    assert (result.returncode, result.stdout) == (0, "alive\n")


def test_a_full_pipe_that_nobody_reads_holds_us_up_only_briefly():
    code = (
        "import os\nfrom tfguard.report import log\n"
        "for _ in range(40): log.get_logger().error('a.b', text='x' * 1900)\nos._exit(0)"
    )
    read_end, write_end = os.pipe()

    with open(read_end, "rb"), open(write_end, "wb") as stderr:
        stuck = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=stderr)

        assert stuck.wait(timeout=patience(20)) == 0


def test_lines_of_two_threads_never_mix():
    read_end, write_end = os.pipe()
    with open(read_end, encoding="utf-8") as reader:
        with open(write_end, "w", encoding="utf-8") as stream:
            log.configure("json", stream=stream)
            threads = [
                threading.Thread(target=lambda n=n: [log.get_logger().info("a.b", n=n) for _ in range(100)])
                for n in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert len(events(reader.read())) == 400


def test_what_the_stream_had_buffered_comes_first(tmp_path):
    path = tmp_path / "stderr"
    with path.open("w", encoding="utf-8") as stream:
        log.configure("console", stream=stream)
        stream.write("before\n")
        log.get_logger().info("a.b")
        stream.write("after\n")

    assert [line.split()[-1] for line in path.read_text(encoding="utf-8").splitlines()] == ["before", "a.b", "after"]


def test_on_a_real_terminal_the_console_is_coloured():
    main, terminal = pty.openpty()
    code = "from tfguard.report import log; log.get_logger().info('lease.acquired', token=41)"
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=terminal, env=environ, check=True)

    try:
        assert b"\x1b[1mlease.acquired\x1b[0m" in os.read(main, 4096)
    finally:
        os.close(terminal)
        os.close(main)


def test_an_event_imports_nothing_heavy():
    """A library for logs would take as long to import as all the rest of us together."""
    code = """
import sys
from tfguard.report import log
log.configure("json")
log.get_logger().info("a.b")
assert not {"structlog", "logging", "rich", "asyncio"} & set(sys.modules)
"""

    assert run_python(code).returncode == 0
