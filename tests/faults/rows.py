"""
The failures that a lock has to survive, and what must hold of each: one row, one `test_<row>_…` at least, here.

`elsewhere` names the tests that look at the same failure from another side: decisions on a scripted store, the
contract of every store, real Terraforms. That all of it exists is checked.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What is done to the lock, and what must hold."""

    injection: str
    must_hold: str
    elsewhere: tuple[str, ...] = ()


ROWS = {
    "a1": Row(
        "the write that takes the lock lands, its answer is lost",
        "the run starts at once, one lock, the same ID; it never waits for itself",
        (
            "tests/lock/test_acquire.py::test_a_write_whose_answer_was_lost_is_recognised_at_once",
            "tests/lock/test_acquire.py::test_our_own_conflict_is_no_rival",
            "tests/contract/test_store.py::test_a_create_whose_answer_is_lost_has_landed",
        ),
    ),
    "a2": Row(
        "that write never arrives",
        "sent again, and the program is started once",
        ("tests/lock/test_acquire.py::test_a_write_that_never_arrived_is_sent_again",),
    ),
    "a3": Row(
        "refused, and the lock vanishes before anybody looks",
        "tried again; never an error",
        ("tests/lock/test_acquire.py::test_a_lock_that_vanishes_between_write_and_look_is_tried_again_at_once",),
    ),
    "a4": Row(
        "that write lands after the run has given up",
        "the orphan ends with its lease",
        ("tests/lock/test_acquire.py::test_a_write_that_lands_after_we_gave_up_expires_like_any_other",),
    ),
    "a5": Row(
        "what stands there cannot be read",
        "a clear message, no crash, no theft",
        (
            "tests/lock/test_acquire.py::test_garbage_is_a_busy_lock_that_never_expires",
            "tests/contract/test_store.py::test_garbage_is_a_record_that_nobody_can_read",
            "tests/e2e/test_bad_input.py::test_a_lock_record_that_is_no_json_is_a_lock_all_the_same",
        ),
    ),
    "a6": Row(
        "throttled, 500, denied, expired, no such table",
        "waited out or said at once; never taken for a lock",
        (
            "tests/lock/test_acquire.py::test_an_error_is_never_a_lock",
            "tests/backends/aws/test_answers.py::test_each_answer_becomes_one_of_ours",
        ),
    ),
    "a7": Row(
        "a signal while waiting, or while the write is in flight",
        "ends within a second, leaves no lock",
        (
            "tests/e2e/test_signals.py::test_a_signal_while_waiting_ends_the_wait_and_touches_nothing",
            "tests/e2e/test_signals_and_store.py::test_a_signal_while_acquiring_ends_at_once_and_leaves_nothing",
        ),
    ),
    "a8": Row(
        "a crowd starts at once",
        "one holder at any time, and each gets in",
        (
            "tests/e2e/test_contention.py::test_twenty_applies_at_once_run_one_after_the_other",
            "tests/contract/test_store.py::test_of_fifty_creators_one_wins",
        ),
    ),
    "r1": Row(
        "heartbeats land, their answers are lost: once, always",
        "not lost; what nobody confirmed does not count",
        (
            "tests/lock/test_renew.py::test_a_beat_whose_answer_was_lost_counts_once_it_is_read",
            "tests/lock/test_renew.py::test_a_beat_that_cannot_be_confirmed_does_not_count",
        ),
    ),
    "r2": Row(
        "heartbeats never arrive: a few, many",
        "a warning and no more; one SIGINT at a third of the lease",
        ("tests/guard/test_watchdog.py::test_a_third_of_the_lease_in_silence_interrupts_exactly_once",),
    ),
    "r3": Row(
        "heartbeats hang",
        "deadlines fire all the same",
        (
            "tests/e2e/test_frozen_store.py::test_a_store_that_hangs_past_safe_until_freezes_terraform_and_loses_nothing",
        ),
    ),
    "r4": Row(
        "a copy of an old heartbeat lands after newer ones",
        "the number never goes back",
        ("tests/lock/test_renew.py::test_a_late_copy_of_an_old_beat_changes_nothing",),
    ),
    "r5": Row(
        "a partition: short, past the interrupt, longer than the lease",
        "goes on; stops and releases; frozen before a rival begins",
        ("tests/e2e/test_frozen_store.py::test_a_short_hang_is_a_warning_and_nothing_more",),
    ),
    "r6": Row(
        "credentials expire in mid-run",
        "an outage, not a theft",
        ("tests/lock/test_renew.py::test_denied_is_not_lost",),
    ),
    "r7": Row("heartbeats are answered 5xx though they landed", "as r1"),
    "l1": Row(
        "a person deletes the record",
        "noticed within a heartbeat, one SIGINT, not re-created, exit 76",
        (
            "tests/e2e/test_interop.py::test_a_force_unlock_ends_the_run_with_76_and_says_so",
            "tests/lock/test_renew.py::test_a_lock_that_somebody_unlocked_is_lost_and_not_written_again",
        ),
    ),
    "l2": Row(
        "a person unlocks, another locks, then we finish",
        "the other's lock stays; exit 76",
        ("tests/e2e/test_interop.py::test_whoever_comes_after_a_force_unlock_keeps_his_lock",),
    ),
    "l3": Row(
        "a rival writes between our heartbeat and its landing",
        "one of both believes that it holds the lock",
        ("tests/lock/test_renew.py::test_between_two_who_believe_the_store_decides",),
    ),
    "c1": Row(
        "the connection that carries the lock ends",
        "frozen until it is taken again; the run goes on",
        ("tests/e2e/test_pg.py::test_a_connection_that_ends_is_taken_again_and_the_run_goes_on",),
    ),
    "c2": Row(
        "the same, and a rival waits",
        "the lock's row keeps it out; a plain Terraform that has got in meanwhile is never written over",
        ("tests/e2e/test_pg.py::test_a_lock_that_somebody_else_has_taken_meanwhile_is_lost",),
    ),
    "c3": Row(
        "the same, and the server is out of our reach for longer than the lease",
        "nothing is written from then on; killed, and the rival's lock is left alone",
        (
            "tests/e2e/test_outage.py::test_a_server_that_stays_away_ends_the_run_before_another_may_begin",
            "tests/guard/test_watchdog.py::test_a_doubt_that_nobody_ever_settled_kills",
        ),
    ),
    "t1": Row(
        "front; front and keeper; the whole machine is killed",
        "the work ends by `safe_until`; taken over between T and T and two looks; a local lock is free after the work",
        (
            "tests/e2e/test_signals.py::test_sigkill_of_the_front_leaves_a_keeper_that_ends_the_run",
            "tests/e2e/test_signals.py::test_sigkill_of_everything_is_healed_by_the_next_run",
        ),
    ),
    "t2": Row(
        "a takeover races a renewal, in both orders",
        "one lands",
        (
            "tests/lock/test_takeover.py::test_a_renewal_that_comes_first_keeps_the_lock",
            "tests/lock/test_takeover.py::test_a_renewal_that_comes_second_is_told_whose_the_lock_is",
        ),
    ),
    "t3": Row(
        "two, or ten, take over at once",
        "one wins, the others count anew",
        (
            "tests/lock/test_takeover.py::test_of_many_thieves_one_wins_and_the_others_start_anew",
            "tests/contract/test_store.py::test_of_fifty_thieves_one_wins",
        ),
    ),
    "t4": Row(
        "the holder's lease is longer than the waiter's",
        "the record's counts",
        ("tests/lock/test_takeover.py::test_the_records_lease_counts_not_the_waiters",),
    ),
    "t5": Row(
        "a plain Terraform's lock, hours old",
        "never taken",
        ("tests/lock/test_takeover.py::test_a_plain_terraform_lock_is_never_taken",),
    ),
    "t6": Row(
        "a lock long dead, seen for the first time",
        "one lease of watching; never on one look",
        ("tests/lock/test_takeover.py::test_a_lock_long_dead_is_not_taken_on_first_sight",),
    ),
    "t7": Row(
        "wall clocks an hour off, rates 0.75 and 1.25",
        "nothing is taken before its holder has stopped",
        (
            "tests/lock/test_takeover.py::test_no_wall_clock_is_ever_compared",
            "tests/lock/test_deadlines.py::test_clocks_wrong_by_a_quarter_still_keep_two_apart",
        ),
    ),
    "p1": Row(
        "SIGSTOP of the keeper for longer than the lease",
        "the front freezes the work; the rival's lock is left alone",
        ("tests/e2e/test_signals.py::test_a_stopped_keeper_is_noticed_by_the_front_which_freezes_terraform",),
    ),
    "p2": Row("SIGSTOP of all of a run", "frozen before it does harm, then killed; the window is measured"),
    "p3": Row(
        "the machine sleeps: boottime alone goes on",
        "frozen first; a heartbeat that lands lets it go on",
        (
            "tests/guard/test_watchdog.py::test_waking_past_safe_until_freezes_and_does_nothing_else",
            "tests/test_clock.py::test_boottime_counts_suspension",
        ),
    ),
    "p4": Row("a hypervisor's pause: no clock goes on, and a rival is in", "lost within a heartbeat, as documented"),
    "p5": Row(
        "kill -9 of the keeper; a keeper that cannot act",
        "a successor goes on with the lease",
        ("tests/e2e/test_signals.py::test_sigkill_of_the_keeper_is_survived_by_a_successor",),
    ),
    "d1": Row(
        "the release lands, its answer is lost, a rival locks",
        "the rival's lock survives",
        ("tests/lock/test_release.py::test_a_release_retried_after_a_lost_answer_spares_the_rival",),
    ),
    "d2": Row(
        "releases fail: some, all",
        "tried again for a lease, then the command that frees the lock",
        (
            "tests/process/test_lease_thread.py::test_a_release_that_never_succeeds_ends_with_the_lease",
            "tests/e2e/test_rescue.py::test_a_release_that_is_refused_says_until_when_and_what_to_do",
        ),
    ),
    "d3": Row(
        "a heartbeat is in flight while we release, in both orders",
        "deleted, and not re-created",
        ("tests/lock/test_release.py::test_a_beat_in_flight_does_not_bring_back_what_was_released",),
    ),
    "d4": Row(
        "a release after a loss",
        "nothing is touched",
        ("tests/lock/test_release.py::test_a_release_after_a_loss_touches_nothing",),
    ),
    "d5": Row("an exception at every call of the keeper's", "the work ends, a successor releases"),
    "x1": Row(
        "exit 0, 1, 2, 255, a signal; not there, not executable",
        "passed on, 128+n; 127, 126",
        (
            "tests/process/test_shim.py::test_a_program_that_is_not_there_is_127",
            "tests/process/test_shim.py::test_a_program_that_cannot_be_run_is_126",
        ),
    ),
    "x2": Row(
        "grandchildren outlive the program",
        "the lock is kept until all of its family has gone; a loss ends them all",
        ("tests/process/test_family.py::test_killing_ends_the_child_and_all_that_descends_from_it",),
    ),
    "f1": Row(
        "the head dies; a record over 4 KB; a hundred waiters; a plain lock barges in",
        "passed over within a turn; no deadlock; the others keep their order",
        (
            "tests/lock/test_waiting.py::test_a_dead_head_stalls_nobody_for_more_than_his_turn",
            "tests/lock/test_waiting.py::test_a_plain_terraform_barges_in_and_the_line_goes_on",
            "tests/lock/test_queue_record.py::test_a_hundred_waiters_and_the_history_fit_into_a_quarter_of_an_item",
        ),
    ),
    "m1": Row(
        "plain Terraforms and tfguards on one state, under random faults",
        "mutual exclusion, and no update is lost",
        ("tests/e2e/test_mixed.py::test_plain_terraforms_barge_in_and_nobody_is_hurt",),
    ),
}
