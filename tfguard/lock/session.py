"""
One lock from the first look to the release: wait for it (`waiting`), count it, beat, release it, write its history.

It owns the leases and nothing else: children, signals and deadlines belong to the keeper's main thread
(`guard.keeper_rules`), which hears from here only by messages. It blocks on its stores and its clock, so the simulation
serves a session with stores and a clock of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import tenacity

from tfguard import errors
from tfguard.clock import WaitingClock, created
from tfguard.lock import protocol, queue_record, refusals
from tfguard.lock.acquire import Busy
from tfguard.lock.deadlines import RETRY_SECONDS, Deadlines, jittered
from tfguard.lock.inner_watch import InnerWatch
from tfguard.lock.inside import Inside
from tfguard.lock.lease import HeldLease, HeldLock
from tfguard.lock.queue import Queue
from tfguard.lock.resting import Carriers, Rest
from tfguard.lock.store import Store, queue_store
from tfguard.lock.unsaved import Unsaved
from tfguard.lock.waiting import Failure, Waiter, check_workspace

_T = TypeVar("_T")


class LockSession:
    """
    Served by one thread (`run`), told what to do by another.

    `post` hands a message to the main thread, `tell` sends one to the front at once (the journal, which must be out
    before the write that it announces). `deadlines` is None where the kernel ends the lock together with its holder.
    `is_watched`: whether somebody enforces them; where nobody does, no heartbeat claims that all is well.

    Large on purpose: one lock's whole life stands here in its order, and nearly every step needs the stores, the clock
    and what has been asked meanwhile.
    """

    def __init__(
        self,
        request: protocol.LockRequest,
        clock: WaitingClock,
        surroundings: protocol.Surroundings,
        *,
        deadlines: Deadlines | None,
        post: Callable[[protocol.Word], None],
        tell: Callable[[protocol.Word], None],
        is_watched: Callable[[], bool] = lambda: True,
        adopt: protocol.Adoption | None = None,
        nest: protocol.Nest | None = None,
    ) -> None:
        self._request = request
        self._nest = nest
        self._surroundings = surroundings
        self._deadlines = deadlines
        self._adopt = adopt
        self._post = post
        self._tell = tell
        self._is_watched = is_watched
        self._clock = clock
        self._started_at = self._held_at = clock.boottime()
        if adopt is not None and adopt.held_at:
            self._started_at, self._held_at = adopt.held_at - adopt.waited_seconds, adopt.held_at
        self._stores: list[Store] = []
        self._lock: HeldLock | None = None
        self._heartbeats = 0
        self._gone: tuple[str, ...] = ()
        self._token = adopt.token if adopt else 0
        self._cancel = clock.event()
        self._wake = Rest(clock.event())
        self._release: protocol.Release | None = None
        self._is_abandoned = False
        self._errored = self._push_error = ""
        self._inner = InnerWatch()

    # --- what the main thread asks, from its own thread ---------------------------------------------------------

    def cancel(self) -> None:
        """Stop waiting at once; what a write may have left behind is cleared first."""
        self._cancel.set()

    @property
    def lock_id(self) -> str:
        """The ID of the lock held, empty if there is none."""
        return self._lock.id if self._lock else ""

    def release(self, message: protocol.Release, *, errored: str = "", error: str = "") -> None:
        """
        The child is gone: release, write history, end.

        `errored` is the path of a state that could not be pushed, for `error`: a copy is kept first.
        """
        self._errored, self._push_error = errored, error
        self._release = message
        self._wake.end()

    def free_inner(self) -> None:
        """The child is gone, and we go on: free the lock that it may have left, when it is next looked for."""
        self._inner.is_to_be_freed = True

    def abandon(self) -> None:
        """The lock is lost: touch nothing, end."""
        self._is_abandoned = True
        self._wake.end()

    # --- the thread ---------------------------------------------------------------------------------------------

    def run(self, openers: Iterable[Callable[[], Store]]) -> None:
        """
        Serve to the end; the main thread hears how it ended. Each of `openers` opens one of the lock's stores.

        What nobody foresaw is raised if we hold the lock by then: nobody beats it any more.
        """
        try:
            self._run(openers)
        except Failure as failure:
            self._fail(failure.why)
        except Busy as busy:
            self._fail(refusals.Busy(record=busy.record))
        except errors.TfguardError as error:
            if self._must_release:
                self._post(protocol.Released(result="failed", error=str(error)))
            else:
                self._fail(refusals.of(error))
        except Exception as error:
            if self._lock is not None:
                raise
            what = f"Unexpected {type(error).__name__} while taking the lock: {error}"
            self._fail(refusals.Unexpected(message=what))
        finally:
            if not self._is_abandoned:
                self._let_go()

    def _let_go(self) -> None:
        """Of an abandoned lock the kernel lets go, with the last of ours: somebody may still write under it."""
        if self._nest is not None:
            self._nest.leave()
        for store in self._stores:
            with contextlib.suppress(Exception):
                store.close()

    def _run(self, openers: Iterable[Callable[[], Store]]) -> None:
        for opener in openers:  # One by one: those already open are closed if the next fails.
            self._stores.append(self._open(opener))
        self._inner.begin(self._stores, may_be_left=self._adopt is not None)
        self._carriers = Carriers(self._stores, self._wake, self._clock, self._post)
        leaves_none = not self._request.is_changing
        self._queue = Queue(queue_store(self._stores), self._clock, self._clock.sleep, leaves_none=leaves_none)
        self._unsaved = Unsaved(self._surroundings, self._queue, self._post)
        if self._adopt is not None and self._adopt.is_nested:
            self._stay_inside()
        elif self._adopt is not None and self._adopt.stage != "trying":
            self._continue(self._adopt)
        elif not self._run_inside():
            check_workspace(self._surroundings)
            self._lock = self._wait()
            self._hold(self._lock)

    def _continue(self, adopt: protocol.Adoption) -> None:
        """Go on where a dead keeper stopped: with its lock ID, beyond any beat that it may have sent."""
        leases: list[HeldLease] = []
        self._carriers.listen()  # The connection that was left to us may have ended by now.
        for store in self._stores:
            record = self._insist(store.read, adopt.base, lambda: self._must_release)
            if adopt.stage == "held" and (lost := adopt.loss(record)):
                self._post(lost)
                return
            if record is None or record.id != adopt.lock_id:
                continue
            lease = HeldLease(store, record, adopt.base, self._clock)
            lease.skip_beats(adopt.beat + 2)
            leases.append(lease)
        if adopt.stage == "held":
            self._lock = HeldLock(leases)
            self._renew()
            self._beat()
        else:
            self._lock = HeldLock(leases) if leases else None
            self._release = protocol.Release(outcome="")
        self._finish()

    @property
    def _must_release(self) -> bool:
        return self._release is not None or (self._adopt is not None and self._adopt.stage == "releasing")

    def _open(self, opener: Callable[[], Store]) -> Store:
        """Open one store; that of a lock which is held again and again: it could be opened before, and may be again."""
        if self._adopt is None or self._adopt.stage == "trying":
            return opener()
        return self._insist(opener, self._adopt.base, lambda: True)

    def _insist(self, ask: Callable[[], _T], base: float, may_give_up: Callable[[], bool]) -> _T:
        """Ask until there is an answer. Give up (if allowed) once the lease has expired: others may take over then."""
        while True:
            try:
                return ask()
            except errors.TfguardError as error:
                is_over = self._clock.boottime() > base + self._request.terms.lease_seconds
                if self._is_abandoned or (is_over and may_give_up()):
                    raise
                # As after a beat that failed: to the front, a keeper that says nothing is frozen, and is killed.
                self._post(protocol.Troubled(during="holding", error=str(error)))
                # Not to be woken: a release that waits must not hammer the store.
                self._clock.sleep(jittered(RETRY_SECONDS))

    # --- inside another tfguard ---------------------------------------------------------------------------------

    def _run_inside(self) -> bool:
        """Serve a run under our parent's lock, once it is our turn; False if our parent does not hold this lock."""
        inside = Inside(self._request, self._stores, self._clock, self._nest, post=self._post, cancel=self._cancel)
        outer = inside.enter()
        if outer is None:
            return False
        self._held_at = self._clock.boottime()
        self._post(
            protocol.Held(
                lock_id=outer.id,
                force_unlock_id=outer.force_unlock_id,
                beat=0,
                base=0.0,
                token=outer.lease.token if outer.lease else 0,
                waited_seconds=self._held_at - self._started_at,
                is_nested=True,
            )
        )
        self._stay_inside()
        return True

    def _stay_inside(self) -> None:
        """Keep our place until the run is over. The lock is our parent's to beat and to release."""
        self._wake.wait(None)
        if not self._is_abandoned:
            if self._nest is not None:
                self._nest.leave()
            self._post(protocol.Released(result="nothing", held_seconds=self._clock.boottime() - self._held_at))

    def _wait(self) -> HeldLock:
        waiter = Waiter(
            self._request,
            self._stores,
            self._clock,
            self._queue,
            post=self._post,
            tell=self._tell,
            cancel=self._cancel,
            adopt=self._adopt,
        )
        lock, self._gone = waiter.wait(), waiter.gone
        return lock

    # --- holding ------------------------------------------------------------------------------------------------

    def _hold(self, lock: HeldLock) -> None:
        self._held_at = self._clock.boottime()
        if self._deadlines and self._held_at - lock.base > self._deadlines.warning:
            # The write's answer was long in coming: prove that it is still ours. If that cannot be had now, the lock is
            # kept all the same: the deadlines count from the old base, and a child that is unsafe starts frozen.
            with contextlib.suppress(errors.StoreUnavailable, errors.StoreDenied):
                lock.renew()
        if lock.dead is not None:
            self._insist(lambda: self._inner.clear_after_dead(lock), lock.base, lambda: True)
        self._assign_token(lock)
        if not self._request.ignores_errored and (place := self._unsaved.waiting_place()):
            lock.release()
            raise Failure(refusals.UnsavedState(place=place))
        if lock.dead is not None:
            self._unsaved.check_digest()
        self._carriers.is_another()  # It goes with what follows.
        self._post(
            protocol.Held(
                lock_id=lock.id,
                force_unlock_id=lock.force_unlock_id,
                beat=lock.beat,
                base=lock.base,
                token=self._token,
                waited_seconds=self._held_at - self._started_at,
                dead=lock.dead,
                credentials_expire_at=self._credentials_expire_at(),
                runs=self._queue.runs if self._request.wants_history else (),
            )
        )
        self._beat()
        self._finish()

    @property
    def local_fd(self) -> int:
        """The descriptor that carries a local lock, or our place in a nest; -1 if there is none."""
        if self._nest is not None and self._nest.fileno() >= 0:
            return self._nest.fileno()
        for store in self._stores:
            if (descriptor := store.fileno()) >= 0:
                return descriptor
        return -1

    def _credentials_expire_at(self) -> str:
        expiries = [store.credentials_expire_at() for store in self._stores]
        return min((created(at) for at in expiries if at is not None), default="")

    def _beat(self) -> None:
        """
        Send heartbeats until told to release or to abandon, or until the lock is lost.

        The first is due a heartbeat after the last write that landed, however long was asked in vain since: no other
        tells us of a force-unlock.
        """
        pause, due_at, deadlines = None, 0.0, self._deadlines
        if deadlines and self._lock:
            pause = max(0.0, self._lock.base + jittered(deadlines.heartbeat) - self._clock.boottime())
            due_at = self._clock.boottime() + pause
        self._carriers.listen()
        while not self._wake.wait(self._inner.pause(pause)):
            assert deadlines is not None and self._lock is not None
            inner = self._inner.learn(self._lock)
            if self._inner.is_on and inner is None and (pause := due_at - self._clock.boottime()) > 0:
                continue
            pause = jittered(deadlines.heartbeat if self._renew(inner) else RETRY_SECONDS)
            due_at = self._clock.boottime() + pause

    def _renew(self, inner: str | None = None) -> bool:
        assert self._lock is not None
        if not self._is_watched():
            return False
        try:
            landed = self._lock.renew(inner=inner)
        except errors.LeaseLost as lost:
            self.abandon()
            self._post(protocol.Lost(kind=lost.kind, record=lost.record))
            return False
        except errors.TfguardError as error:
            self._post(protocol.Troubled(during="holding", error=str(error)))
            return False
        if landed:
            if self._carriers.is_another():
                retaken = protocol.Retaken(is_state_changed=self._carriers.has_state_changed())
                self._post(retaken)  # Before anybody goes on.
            self._heartbeats += 1
            self._post(protocol.Beaten(beat=self._lock.beat, base=self._lock.base))
        return landed

    def _is_lost_while_clearing(self) -> bool:
        """Free what the child has forgotten; return whether our lock was lost while we looked for that."""
        if self._lock is not None:
            self._inner.clear_forgotten(self._lock, self._rest)
        return self._is_abandoned

    def _rest(self, seconds: float) -> None:
        """Rest within the holding: it still has its heartbeats."""
        self._clock.sleep(seconds)
        if not self._is_abandoned:
            self._renew()

    def _finish(self) -> None:
        if self._is_abandoned or self._release is None:
            return
        if self._errored:
            self._unsaved.keep(self._errored, self._push_error, self.lock_id)
            self._unsaved.check_digest()
        self._inner.may_be_left = self._release.may_have_left_lock
        if self._is_lost_while_clearing():
            return
        self._tell(protocol.Releasing())
        result, error = self._release_for_a_lease()
        if result in {"gone", "another's"}:
            self._write_history(
                protocol.Release(outcome=errors.Outcome.LOCK_LOST.value, exit_code=errors.LeaseLost.exit_code)
            )
        elif result == "released":
            self._write_history(self._release)
        self._post(
            protocol.Released(
                result=result,  # type: ignore[arg-type]  # narrowed by _release_for_a_lease
                held_seconds=self._clock.boottime() - self._held_at,
                heartbeats=self._heartbeats,
                error=error,
            )
        )

    def _release_for_a_lease(self) -> tuple[str, str]:
        """Release, trying again for as long as the lease lasts; afterwards others may take it over anyway."""
        if self._lock is None:
            return "released", ""
        until = self._lock.base + self._request.terms.lease_seconds
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(errors.TfguardError),
            stop=lambda _: self._clock.boottime() >= until,
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
            sleep=self._clock.sleep,
            before_sleep=lambda state: self._post(
                protocol.Troubled(during="releasing", error=str(state.outcome and state.outcome.exception()))
            ),
            reraise=True,
        )
        try:
            return retrying(self._lock.release), ""
        except errors.TfguardError as error:
            return "failed", str(error)

    # --- token and history --------------------------------------------------------------------------------------

    def _assign_token(self, lock: HeldLock) -> None:
        """
        Count this acquisition, while holding. Where the record cannot be written there is no token.

        Nor is there one if somebody may have taken over before we were counted: it would be above that holder's.
        """
        dead = lock.dead.lease if lock.dead else None
        self._token = self._queue.count_acquisition(dead.token if dead else 0, self._gone)
        deadlines = self._deadlines
        if not self._token or deadlines is None:
            return
        with contextlib.suppress(errors.StoreUnavailable, errors.StoreDenied):
            lock.renew(token=self._token)
        if self._clock.boottime() > lock.base + deadlines.freeze:
            self._token = 0

    def _write_history(self, release: protocol.Release) -> None:
        dead = self._lock.dead if self._lock else None
        run = queue_record.Run(
            holder=self._request.holder,
            ended_at=created(self._clock.now()),
            token=self._token,
            waited_s=round(self._held_at - self._started_at, 1),
            held_s=round(self._clock.boottime() - self._held_at, 1),
            outcome=release.outcome,
            exit_code=release.exit_code,
            took_over=dead.id if dead else "",
        )
        is_pushed = self._request.operation == "state-push" and release.outcome == errors.Outcome.SUCCEEDED.value
        self._queue.write_run(run, ticket=self._request.ticket, is_errored_resolved=is_pushed)

    def _fail(self, why: refusals.Refusal) -> None:
        # One try is no wait, however long its answer takes.
        waited = self._clock.boottime() - self._started_at if self._request.terms.timeout_seconds > 0 else 0.0
        self._post(protocol.Failed(why=why, waited_seconds=waited))
