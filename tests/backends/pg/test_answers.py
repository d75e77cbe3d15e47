"""What becomes of a connection that PostgreSQL, or libpq, refuses: by its words, which come without a code."""

from __future__ import annotations

import pytest

from tfguard.backends.pg.answers import cannot_connect
from tfguard.backends.pg.spec import PgAccess
from tfguard.errors import StoreMisconfigured, StoreUnavailable, TfguardError

AT = 'connection to server at "127.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("said", "kind", "advice"),
    [
        ("SSL error: certificate verify failed", StoreMisconfigured, "sslrootcert in `conn_str`"),
        ('server certificate for "db" does not match host name "127.0.0.1"', StoreMisconfigured, "sslrootcert"),
        ("server does not support SSL, but SSL was required", StoreMisconfigured, "sslmode is `require`"),
        ("SSL SYSCALL error: EOF detected", StoreUnavailable, ""),
    ],
    ids=["another authority", "another name", "no TLS there", "broken off"],
)
def test_tls_that_will_not_do_is_configuration_and_one_that_breaks_off_is_an_outage(
    said: str, kind: type[TfguardError], advice: str
) -> None:
    error = cannot_connect(AT + said, PgAccess(host="127.0.0.1"))

    assert type(error) is kind
    assert advice in " ".join(map(str, error.advice))
