"""
A proxy in front of a store that knows what is asked of it, and breaks the requests that a test names.

    store.on("create", UNHEARD)                 the next one lands, and its sender hears nothing
    store.always("replace", refused("500"))     every heartbeat is answered so, until `heal`
    store.always(lambda request: request.is_ours and chance.random() < 0.1, LOST)

A fault has two halves: when the request lands, and what its sender hears. Whatever landed is in `landed`, in order.
Requests are named as the store's own operations, alike for each kind of store (`meaning`): `read`, `create`, `replace`,
`delete` of the lock, `read_queue`, `write_queue`, and `other`.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.faults.meaning import error, understood
from tests.support.eventually import patience
from tfguard.clock import SystemClock

NOTHING, SILENCE, ANSWER = "nothing", "silence", "answer"


@dataclass(frozen=True)
class Fate:
    """
    What becomes of one request.

    `lands`: *late* is when the test says so (`land_late`), *twice* is now and then. `hears`: the server's answer;
    *nothing* (the connection is closed); *silence* (it stays open, and nothing ever comes); or an error: a word that
    `meaning` has, or AWS's own code. `status`: an error's, where it is not its own. `seconds`: how long it takes to get
    there.
    """

    lands: Literal["now", "never", "late", "twice"] = "now"
    hears: str = ANSWER
    status: int = 0
    seconds: float = 0.0


PASSES = Fate()
LOST = Fate("never", NOTHING)
UNHEARD = Fate("now", NOTHING)
LATE = Fate("late", NOTHING)
TWICE = Fate("twice")
HANGS = Fate("never", SILENCE)
HANGS_AFTER_LANDING = Fate("now", SILENCE)


def refused(code: str, status: int = 0) -> Fate:
    """Answered with this error, and nothing is done."""
    return Fate("never", code, status)


def failed(code: str) -> Fate:
    """Answered with this error, though it was done."""
    return Fate("now", code)


def slow(seconds: float) -> Fate:
    """Answered as ever, but it gets there only after so many seconds."""
    return Fate(seconds=seconds)


@dataclass
class Request:
    """
    One request as it came, at `at` (boottime). `key` is the item's or the object's; `status` is the server's, 0 until
    it has landed.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    action: str = ""
    operation: str = "other"
    key: str = ""
    beat: int | None = None
    status: int = 0
    at: float = field(default_factory=SystemClock().boottime)

    @property
    def is_ours(self) -> bool:
        """Whether tfguard sent it, rather than Terraform."""
        return "tfguard" in self.headers.get("User-Agent", "")

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300


Which = str | Callable[[Request], bool]


@dataclass
class _Plan:
    """What is to happen to requests that match; `fates` is consumed, `always` is not."""

    which: Which
    fates: deque[Fate] = field(default_factory=deque)
    always: Fate | None = None
    before: deque[Callable[[], object]] = field(default_factory=deque)
    after: deque[Callable[[], object]] = field(default_factory=deque)

    def matches(self, request: Request) -> bool:
        return self.which(request) if callable(self.which) else self.which in ("all", request.operation)

    def next_fate(self) -> Fate | None:
        return self.fates.popleft() if self.fates else self.always


class FaultProxy:
    """
    Passes requests to one server, and does to them what was planned.

    `which` is an operation's name, `all`, or a function of the Request. What was planned first goes first. Over TLS if
    it is given a context; the server is asked without.
    """

    def __init__(self, endpoint: str, tls: ssl.SSLContext | None = None) -> None:
        self._server_at = urlsplit(endpoint).netloc
        self._lock = threading.Lock()
        self._plans: list[_Plan] = []
        self._asked: list[Request] = []
        self._landed: list[Request] = []
        self._late: list[Request] = []
        self._let_go = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    # --- the plan -----------------------------------------------------------------------------------------------

    def on(self, which: Which, *fates: Fate) -> None:
        """Decide the fate of the next requests of this kind, one each."""
        self._plan(_Plan(which, fates=deque(fates)))

    def always(self, which: Which, fate: Fate) -> None:
        """Decide the fate of every request of this kind, until `heal`."""
        self._plan(_Plan(which, always=fate))

    def before_next(self, which: Which, act: Callable[[], object]) -> None:
        """Do this just before the next request of this kind lands, as another process would."""
        self._plan(_Plan(which, before=deque([act])))

    def after_next(self, which: Which, act: Callable[[], object]) -> None:
        """Do this when the next request of this kind has landed, before its sender hears of it."""
        self._plan(_Plan(which, after=deque([act])))

    def heal(self) -> None:
        """Forget every plan. Whatever hangs is closed; it never lands."""
        with self._lock:
            self._plans.clear()
            let_go, self._let_go = self._let_go, threading.Event()
        let_go.set()

    def land_late(self) -> list[int]:
        """Let everything land that was held back; gives the server's statuses, which nobody else hears."""
        with self._lock:
            late, self._late = self._late, []
        for request in late:
            self.land(request)
        return [request.status for request in late]

    def _plan(self, plan: _Plan) -> None:
        with self._lock:
            self._plans.append(plan)

    # --- what happened ------------------------------------------------------------------------------------------

    def asked(self, operation: str) -> list[Request]:
        """The requests of this kind, in the order in which they came."""
        with self._lock:
            return [request for request in self._asked if request.operation == operation]

    def landed(self, operation: str) -> list[Request]:
        """The requests of this kind that the server did, in their order."""
        with self._lock:
            return [request for request in self._landed if request.operation == operation and request.succeeded]

    def beats(self) -> list[int]:
        """The numbers of the heartbeats that the server took, in their order."""
        return [request.beat for request in self.landed("replace") if request.beat is not None]

    # --- one request, in its own thread -------------------------------------------------------------------------

    def unplanned(self, request: Request) -> Fate:
        """The fate of a request that no plan is about. Asked of every request, once."""
        return PASSES

    def take(self, request: Request) -> tuple[Fate, threading.Event, Callable[[], None], Callable[[], None]]:
        """Note a request; gives its fate, what ends a silence, and what to do just before and after it lands."""
        unplanned = self.unplanned(request)
        with self._lock:
            self._asked.append(request)
            plans = [plan for plan in self._plans if plan.matches(request)]
            fate = next((fate for plan in plans if (fate := plan.next_fate())), unplanned)
            before, after = (_next_of(plans, name) for name in ("before", "after"))
            return fate, self._let_go, before, after

    def hold_back(self, request: Request) -> None:
        with self._lock:
            self._late.append(request)

    def land(self, request: Request) -> tuple[Mapping[str, str], bytes]:
        """Let the server do it; gives the headers and the body of its answer."""
        headers = {name: value for name, value in request.headers.items() if name != "Expect"}
        with contextlib.closing(http.client.HTTPConnection(self._server_at, timeout=patience(20))) as connection:
            connection.request(request.method, request.path, request.body, headers)
            answer = connection.getresponse()
            body = answer.read()
        with self._lock:
            request.status = answer.status
            self._landed.append(request)
        return dict(answer.getheaders()), body

    def close(self) -> None:
        self.heal()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(patience(10))


def _next_of(plans: list[_Plan], name: Literal["before", "after"]) -> Callable[[], None]:
    acts = next((found for plan in plans if (found := getattr(plan, name))), None)
    act = acts.popleft() if acts else None
    return lambda: act() if act else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has given up is not worth a word; a mistake of a test's own is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # One packet an answer: of those in two, a Terraform now and then gave up, and asked again.
    owner: FaultProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = understood(Request(self.command, self.path, dict(self.headers.items()), body))
        fate, let_go, before, after = self.owner.take(request)
        let_go.wait(fate.seconds)
        headers, content = {}, b""
        if fate.lands in ("now", "twice"):
            before()
            headers, content = self.owner.land(request)
            after()
        if fate.lands in ("late", "twice"):
            self.owner.hold_back(request)
        if fate.hears == ANSWER:
            self._answer(request.status, headers, content)
        elif fate.hears in (NOTHING, SILENCE):
            if fate.hears == SILENCE:
                let_go.wait()
            self.close_connection = True
        else:
            self._answer(*error(fate, request))

    def handle_expect_100(self) -> bool:
        is_wanted = super().handle_expect_100()
        self.wfile.flush()
        return is_wanted

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - the names are http.server's

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def fault_proxy(endpoint: str) -> contextlib.AbstractContextManager[FaultProxy]:
    """Run a proxy in front of `endpoint`."""
    return contextlib.closing(FaultProxy(endpoint))
