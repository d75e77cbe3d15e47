"""A secret is cut out of all that we write, however it is printed."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.eventually import patience
from tfguard import hcl, redaction
from tfguard.report import summary
from tfguard.report.summary import Page

LINES = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj", "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3S"]
PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", *LINES, "-----END PRIVATE KEY-----", ""])
ODD = 'pa"ss\tw\\o<rd>&${x} ÿ/+?'


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", frozenset())
    monkeypatch.setattr(redaction, "_forms", ())


def as_terraform_prints(secret: str) -> str:
    """A plan's heredoc, indented."""
    return "\n".join(["  + key = <<-EOT", *(f"        {line}" for line in secret.splitlines()), "    EOT"])


FORMS = {
    "as it is": lambda secret: secret,
    "without its last newline": lambda secret: secret.rstrip("\n"),
    "with Windows' line ends": lambda secret: secret.replace("\n", "\r\n"),
    "in a plan's heredoc": as_terraform_prints,
    "one line of it": lambda secret: secret.splitlines()[min(2, len(secret.splitlines()) - 1)],
    "in JSON": json.dumps,
    "in JSON, not in ASCII": lambda secret: json.dumps(secret, ensure_ascii=False),
    "in Go's JSON": lambda secret: redaction._as_go(json.dumps(secret, ensure_ascii=False)),
    "in JSON in JSON": lambda secret: json.dumps(json.dumps({"key": secret})),
    "in HCL": hcl.hcl,
    "with expanded tabs": lambda secret: secret.replace("\t", "    "),
    "in an address": lambda secret: f"https://h/?q={quote(secret, safe='')}",
    "in a path": lambda secret: f"https://h/{quote(secret)}",
    "in a form": lambda secret: f"q={quote_plus(secret)}",
    "in a form, in small letters": lambda secret: f"q={quote(secret, safe='').lower()}" if secret == ODD else "",
    "in base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "in an address's base64": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    "in a header": lambda secret: f"Basic {base64.b64encode(f'me:{secret}'.encode()).decode()}",
    "in another header": lambda secret: f"Basic {base64.b64encode(f'user:{secret}'.encode()).decode()}",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [PEM, ODD], ids=["pem", "odd"])
def test_a_secret_is_cut_out_in_every_form(secret: str, form: str) -> None:
    redaction.register_secrets([secret])
    printed = FORMS[form](secret)

    told = redaction.redact(f"before {printed} after")
    page = summary.render(Page(label="x", outcome="failed", text=f"Error: before\n{printed}\nafter"))

    for text in (told, page):
        assert "before" in text and "after" in text
        for part in (printed, *LINES, "ss\\tw", "ss\tw", "ss    w", "ss%09w"):
            assert part not in text or not part, text
    if "base64" in form or "header" in form:
        kept = told.replace("[redacted]", "").split()[1:-1]
        assert max(map(len, kept), default=0) < 16, told


def test_a_page_tells_no_line_of_a_secret_that_terraform_printed() -> None:
    redaction.register_secrets([PEM])

    page = summary.render(Page(label="x", outcome="failed", text=as_terraform_prints(PEM)))

    assert "&lt;&lt;-EOT" in page
    assert not [line for line in LINES if line in page]


def test_whatever_is_no_secret_stays() -> None:
    redaction.register_secrets([PEM, ODD, "short", "a\nb\nc"])
    ordinary = "Apply complete! Resources: 1 added, 0 changed, 0 destroyed.\n  + a = b # c"

    assert redaction.redact(ordinary) == ordinary


@given(secret=st.text(min_size=6, max_size=60))
def test_no_secret_survives(secret: str) -> None:
    redaction.register_secrets([secret])

    for form in redaction.forms_of(secret):
        if len(form) >= 6:
            assert form not in redaction.redact(f"<{form}>") or form in "[redacted]"


def test_many_and_huge_secrets_cost_a_bounded_time() -> None:
    redaction.register_secrets([f"{number:06}\n" * 3 for number in range(3000)])
    redaction.register_secrets(["x" * 1_000_000, "line of it\n" * 100_000, "\n" * 100_000 + "secret"])
    started = time.monotonic()

    redaction.redact("nothing of it " * 70_000)

    assert len(redaction._forms or ()) <= redaction._MAX_FORMS
    assert time.monotonic() - started < patience(10)
