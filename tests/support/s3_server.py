"""
moto's S3 as a process of its own, with conditional writes that are atomic.

moto checks a condition and then writes, with nothing in between to stop another thread: two creators can win. One lock
around the writes makes it behave as S3 does (its page "Conditional writes": If-None-Match: * and If-Match, else 412).
Prints `LISTENING <port>`; ends when stdin does. STS is served too.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from moto.s3.responses import S3Response
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

_WRITES = threading.RLock()


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as S3 keeps them

    def log(self, *args: Any) -> None:
        pass


def _one_at_a_time(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def locked(*args: Any, **kwargs: Any) -> Any:
        with _WRITES:
            return method(*args, **kwargs)

    return locked


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    for name in ("put_object", "delete_object"):
        setattr(S3Response, name, _one_at_a_time(getattr(S3Response, name)))
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    gc.freeze()  # What moto imports is never garbage.
    gc.set_threshold(10_000)
    print("LISTENING", server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
