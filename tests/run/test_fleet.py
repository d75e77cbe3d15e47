"""What is shown of many locks at once: a guard and what it guards are one."""

from __future__ import annotations

from tests.contract.kinds import lease, record
from tfguard.lock.opened_lock import Seen
from tfguard.report.messages.phrases import Subject
from tfguard.run.fleet import Look, _joined


def test_a_guard_and_what_it_guards_are_shown_once_by_the_name_of_this() -> None:
    held, plain, alone = record(lease=lease()), record(), record(lease=lease())
    looks = [
        Look(Subject("locks/host/acme/app.tfstate"), seen=[Seen(held, "gs://locks/host/acme/app", True, 0)]),
        Look(Subject("locks/other"), seen=[Seen(alone, "gs://locks/other", True, 0)]),
        Look(Subject("acme/app"), seen=[Seen(record(text=held.text), "host/acme/app", True, 0, is_guarded=True)]),
        Look(Subject("acme/plain"), seen=[Seen(plain, "host/acme/plain", True, 0, is_guarded=True)]),
        Look(Subject("acme/broken"), problem="nobody knows"),
    ]

    joined = _joined(looks)

    assert [look.label for look in joined] == ["locks/other", "acme/app", "acme/plain", "acme/broken"]
    assert joined[1].seen[0].record.lease is not None
