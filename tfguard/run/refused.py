"""Why a lock was refused, or a program not started: from the keeper's answer to the error that a person hears of."""

from __future__ import annotations

from datetime import datetime

from tfguard import errors
from tfguard.errors import NAMED, LeaseLost, LockBusy, TfguardError, assert_never
from tfguard.lock import protocol, refusals
from tfguard.report.messages import phrases, starting, states, waiting


def as_error(  # noqa: C901 - one case a refusal, and nothing else
    subject: phrases.Subject, answer: protocol.Failed, now: datetime, *, is_plan: bool = False
) -> TfguardError:
    """Return what a person must hear of a refusal, as the error that it came from."""
    why, waited, label = answer.why, answer.waited_seconds, subject.label
    match why:
        case refusals.TakeoverRefused():
            text = waiting.takeover_refused(subject, why.record, now)
            return errors.TakeoverRefused(text, about=NAMED, record=why.record)
        case refusals.Busy():
            text = waiting.busy(subject, why.record, now, waited_seconds=waited)
            return LockBusy(text, about=NAMED, record=why.record)
        case refusals.NotOurTurn():
            return LockBusy(waiting.not_our_turn(subject, why, waited_seconds=waited), about=NAMED)
        case refusals.UnsavedState():
            return errors.ConfigError(states.is_pending(subject, why.place), about=NAMED)
        case refusals.Unlisted():
            text = starting.unlisted_workspaces(subject.label, why.message, action=why.action)
            return errors.StoreDenied(text, about=NAMED, action=why.action, resource=why.resource)
        case refusals.StoreUnavailable():
            text = waiting.unavailable(subject, why.message, waited_seconds=waited)
            return errors.StoreUnavailable(text, about=NAMED, is_throttled=why.is_throttled)
        case refusals.StoreDenied():
            return errors.StoreDenied(
                why.message, about=label, action=why.action, resource=why.resource, is_expired=why.is_expired
            )
        case refusals.ActionDenied():
            text = starting.denied_during_plan(why.message) if is_plan else why.message
            return errors.ActionDenied(text, about=label, action=why.action, resource=why.resource)
        case refusals.StoreMisconfigured():
            return errors.StoreMisconfigured(why.message, about=label)
        case refusals.LeaseLost():
            return LeaseLost(why.message, about=label, kind=why.kind, record=why.record)
        case refusals.NotExecutable():
            return errors.ProgramNotExecutable(why.message, about=label)
        case refusals.Unexpected():
            return TfguardError(why.message, about=label)
        case refusals.Interrupted() | refusals.NoWorkspace():
            return TfguardError("", about=label)
        case _:
            assert_never(why)
