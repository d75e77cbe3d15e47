"""What is said of an error: the one place that puts before it whom it is about, and our options into its commands."""

from __future__ import annotations

import signal

from tfguard.errors import NAMED, Interrupted, TfguardCommand, TfguardError
from tfguard.report.messages import running
from tfguard.report.messages.phrases import Subject, about


def failure(error: TfguardError, subject: Subject) -> str:
    """Say what went wrong and what to do. `subject` is what we were called for, should the error not know better."""
    label = subject.label if error.about is None else error.about
    if isinstance(error, Interrupted):
        name = signal.Signals(error.signal_number).name
        return running.interrupted(label or subject.label, name, was_waiting=error.was_waiting)
    advice = (line.addressed(subject.command) if isinstance(line, TfguardCommand) else line for line in error.advice)
    text = "\n".join((error.what, *advice))
    return text if label == NAMED else about(label, text)
