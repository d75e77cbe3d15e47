"""Says, at the end of a run of tests, how many of the deliberate faults were found."""

from __future__ import annotations

_NAME = "::test_a_deliberate_fault_is_found["


def pytest_terminal_summary(terminalreporter):
    passed, failed = (
        [report for report in terminalreporter.stats.get(outcome, []) if _NAME in getattr(report, "nodeid", "")]
        for outcome in ("passed", "failed")
    )
    if passed or failed:
        terminalreporter.write_line(f"mutants: {len(passed)}/{len(passed) + len(failed)} killed")
