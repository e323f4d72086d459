"""Deliver wishes to a receiver: what was decided in core is done here, call by call.

`deliver` returns when every wish is settled: accepted, refused and in quarantine, or parked with its rows. Only then
may the offsets of its messages be committed.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import count
from random import random

import orjson

from nurt.core.delivery_attempts import Attempt, Decision, decide, park_s
from nurt.core.delivery_breaker import Breaker, Circuit
from nurt.core.delivery_diff import Rules, by_rank, differences, is_old, newest, renew, with_refs
from nurt.core.delivery_mapping import FAILED
from nurt.core.delivery_notes import Mapped, Message, Notes, Parked
from nurt.core.delivery_rate import Concurrency, bucket_for
from nurt.core.delivery_record import Record
from nurt.errors import NurtError
from nurt.model.delivery import Answer, Call, Fate, Life, Op, Refusal, Trouble, Verdict, Wish, Write
from nurt.ports import DeliveryMemory, Destination, WishReader

AUTH_PAUSE_S = 30.0
LANE_WAIT_S = 0.02
LOOK_S = 0.1
LONG_WAIT_S = 5.0
CONFLICT_TIMES_MAX = 4
"""Times that a row is parked because another one stands in its way, before that is a refusal."""

NO_HEIR, NO_HEIR_TIMES_MAX = "heir_not_there_yet", 3
BUDGET_MAX, BUDGET_SHARE, BUDGET_WAIT_S = 20.0, 0.2, 5.0
"""Retries are paid from a budget to which every good answer adds a share; without one they wait longer."""

_logger = logging.getLogger(__name__)


class Stopping(NurtError):
    """The run was asked to end while it waited for a receiver; what was not settled comes again at the next start."""

    exit_code = 0


@dataclass(slots=True)
class Lanes:
    """What is under way, over all worker threads: no two write one external id, or one profile's record, at once."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    taken: set[tuple[str, str]] = field(default_factory=set)
    profiles: set[str] = field(default_factory=set)

    def enter(self, subjects: Iterable[str]) -> set[str]:
        """Take those profiles that are free; returns them."""
        with self.lock:
            free = {*subjects} - self.profiles
            self.profiles |= free
            return free

    def enter_all(self, subjects: Iterable[str], stopping: Callable[[], bool]) -> set[str]:
        """Take all of these profiles, waiting until they are free; the ones taken so far are given back meanwhile."""
        wanted = {*subjects}
        while (free := self.enter(wanted)) != wanted:
            self.leave(free)
            if stopping():
                raise Stopping("delivering: ended while it waited for another worker; start it again")
            time.sleep(LANE_WAIT_S)
        return free

    def leave(self, subjects: Iterable[str]) -> None:
        """Give profiles back."""
        with self.lock:
            self.profiles -= {*subjects}

    def claim(self, call: Call) -> bool:
        """Take the keys of a call, all or none."""
        keys = {(write.object, write.key) for write in call.writes}
        with self.lock:
            if keys & self.taken:
                return False
            self.taken |= keys
            return True

    def release(self, call: Call) -> None:
        """Give them back."""
        with self.lock:
            self.taken -= {(write.object, write.key) for write in call.writes}


class Deliverer:
    """Delivers for one worker thread.

    Args:
        stopping: says whether the run was asked to end.
        fault: called with the name of each step that a crash may come after; for tests.
    """

    def __init__(
        self,
        destination: Destination,
        rules: Rules,
        store: DeliveryMemory,
        wishes: WishReader,
        *,
        lanes: Lanes | None = None,
        stopping: Callable[[], bool] = lambda: False,
        fault: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._to = destination
        self._rules = rules
        self._plans = {plan.name: plan for plan in rules.objects}
        self._store = store
        self._wishes = wishes
        self._lanes = lanes or Lanes()
        self._stopping = stopping
        self._fault = fault
        limits = destination.limits
        self._buckets = [bucket_for(limit) for limit in limits.rates]
        self._concurrency = Concurrency(float(limits.concurrency), limits.concurrency)
        self._breaker = Breaker()
        self._pool = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="nurt-deliver")
        self._order = count()
        self._answered_well = 0
        self._budget = BUDGET_MAX
        self._bad_logins = 0
        self._refreshed_s = 0.0
        self._sent_s: dict[int, float] = {}  # by the attempt's identity, while it is under way
        self._records: dict[str, Record] = {}
        self._asked: dict[str, Wish] = {}
        self._times: dict[str, int] = {}
        self._has_refusals = True
        self._refused: set[str] = set()
        self._conflicts: list[tuple[Write, Verdict]] = []
        self._state = ""

    def deliver(self, messages: Sequence[Message], bulk: bool = False) -> None:
        """Deliver what messages ask for. Raises Stopping, Fenced, or what the store raises."""
        mapped = self._wishes.of(messages)
        self._note_unmapped(mapped)
        self.deliver_wishes(mapped.wishes, bulk)

    def retry_parked(self, rows_max: int = 500) -> int:
        """Try parked wishes whose time has come; returns how many there were."""
        self._store.check()
        due = {one.wish.subject for one in self._store.due(rows_max)}
        mine = self._lanes.enter(due)
        try:
            parked = self._store.parked(sorted(mine))  # another worker may have settled some meanwhile
            if parked:
                self._settle_all([one.wish for one in parked], False, {one.wish.subject: one for one in parked})
            return len(parked)
        finally:
            self._lanes.leave(mine)

    def deliver_wishes(self, wishes: Sequence[Wish], bulk: bool = False) -> None:
        """Deliver wishes, the newest of each profile."""
        mine = self._lanes.enter_all((wish.subject for wish in wishes), self._stopping)
        try:
            self._settle_all(wishes, bulk, {})
        finally:
            self._lanes.leave(mine)

    def _settle_all(self, wishes: Sequence[Wish], bulk: bool, again: dict[str, Parked]) -> None:
        self._asked = newest(wishes)
        heirs = {wish.heir for wish in self._asked.values() if wish.heir}
        self._records = self._store.load(list({*self._asked, *heirs}))
        self._times = {subject: one.times for subject, one in again.items()}
        was_parked = {*again} or self._store.parked_among(self._asked)
        self._has_refusals = bool(self._store.refusals(1))
        notes = Notes()
        for subject, wish in list(self._asked.items()):
            record = self._records[subject]
            if is_old(record, wish):
                notes.count("old_news")
                del self._asked[subject]
                if subject in again:
                    notes.unparked.add(subject)
                continue
            record = renew(record, wish, self._rules)
            if subject in again and again[subject].code == "retry":
                record = replace(record, held=tuple(replace(one, refused=None) for one in record.held))
            self._records[subject] = record
        self._refused, self._conflicts = set(), []
        left: set[str] = set()
        for writes in self._rounds():
            left |= self._round(self._owned(writes), bulk)
        left |= self._once_more(bulk)
        for subject in self._asked:
            self._finish(subject, subject in left, subject in was_parked, notes)
        self._store.write(notes)
        self._fault("batch noted")

    def close(self) -> None:
        """Let go of threads; never raises."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def plan(self, messages: Sequence[Message]) -> list[Write]:
        """Say what would be written, without writing anything: neither there nor here."""
        self._asked = newest(self._wishes.of(messages).wishes)
        self._records = self._store.load(list(self._asked))
        fresh = {one: wish for one, wish in self._asked.items() if not is_old(self._records[one], wish)}
        writes = {
            one: differences(renew(self._records[one], wish, self._rules), wish, self._rules)
            for one, wish in fresh.items()
        }
        return [write for some in by_rank(writes, self._rules.objects) for write in some]

    def _rounds(self) -> Iterable[list[Write]]:
        writes = {
            subject: differences(self._records[subject], wish, self._rules) for subject, wish in self._asked.items()
        }
        return by_rank(writes, self._rules.objects)

    def _finish(self, subject: str, is_left: bool, was_parked: bool, notes: Notes) -> None:
        record, wish = self._records[subject], self._asked[subject]
        if wish.life is Life.ERASED and not is_left and all(one.refused is None for one in record.held):
            record = replace(record, held=())
        notes.records[subject] = record
        if was_parked and not is_left:
            notes.unparked.add(subject)
        if self._has_refusals:
            wanted = {(row.object, row.key) for row in wish.rows}
            still = {one.object for one in record.held if one.refused and (one.object, one.key) in wanted}
            names = {f"{subject}:{name}" for name in self._plans if name not in still}
            notes.cured |= names - self._refused

    def _owned(self, writes: Sequence[Write]) -> Sequence[Write]:
        """Leave out what would take away a row that another profile has come to own; it is forgotten here."""
        mark = self._rules.marks.of_key
        takes = {
            mark(write.object, write.key): write
            for write in writes
            if write.op in (Op.DELETE, Op.MERGE, Op.ERASE) and self._plans[write.object].shared
        }
        if not takes:
            return writes
        owners = self._store.owners(list(takes))
        others = {id(write) for name, write in takes.items() if owners[name] not in (None, write.subject)}
        for write in writes:
            if id(write) in others:
                self._records[write.subject] = self._records[write.subject].without(write.object, write.key)
        return [write for write in writes if id(write) not in others]

    def _once_more(self, bulk: bool) -> set[str]:
        """Try again, now that the others are written, what another row stood in the way of; then park it."""
        conflicts, self._conflicts = self._conflicts, []
        if not conflicts:
            return set()
        left = self._round([write for write, _ in conflicts], bulk)
        notes = Notes()
        for write, verdict in self._conflicts:
            if self._times.get(write.subject, 0) < CONFLICT_TIMES_MAX:
                self._park(write.subject, verdict.code, notes)
            else:
                self._settle(write, replace(verdict, fate=Fate.REFUSED), notes)
        self._store.write(notes)
        return left | {*notes.parked}

    def _note_unmapped(self, mapped: Mapped) -> None:
        notes = Notes()
        for subject, revision, one in mapped.failed:
            code = f"{FAILED}: {', '.join(one.fields)}"
            refusal = self._refusal(subject, one.object, "map", "", revision, code, "", {})
            notes.refused.append(refusal)
            notes.count("refused")
            self._has_refusals = True
        self._store.write(notes)

    def _refusal(
        self,
        subject: str,
        object_: str,
        op: str,
        key: str,
        revision: int,
        code: str,
        words: str,
        fields: dict[str, object],
    ) -> Refusal:
        now_ms = int(time.time() * 1000)
        return Refusal(self._store.destination, subject, object_, op, key, revision, code, words, fields, now_ms)

    def _round(self, writes: Sequence[Write], bulk: bool) -> set[str]:
        """Make the calls of one round; returns the profiles of which something was parked."""
        notes = Notes()
        sharing: dict[tuple[str, str], list[Write]] = {}
        for write in writes:
            heir = self._asked[write.subject].heir
            ready = with_refs(
                write, self._plans[write.object], self._records[write.subject], self._records.get(heir or "")
            )
            if ready is None and write.op is Op.MERGE:
                if self._times.get(write.subject, 0) < NO_HEIR_TIMES_MAX:
                    self._park(write.subject, NO_HEIR, notes)
                    continue
                ready = replace(write, op=Op.DELETE)
            if ready is not None:
                sharing.setdefault((ready.object, ready.key), []).append(ready)
        ready_at: list[tuple[float, int, Attempt]] = []
        for call in self._calls([_joined(some) for some in sharing.values()], bulk):
            heapq.heappush(ready_at, (0.0, next(self._order), Attempt(call)))
        flying: dict[Future[Answer], Attempt] = {}
        try:
            self._fly(ready_at, flying, sharing, notes)
        finally:
            for attempt in flying.values():
                self._lanes.release(attempt.call)
        self._store.write(notes)
        return {*notes.parked}

    def _fly(
        self,
        ready_at: list[tuple[float, int, Attempt]],
        flying: dict[Future[Answer], Attempt],
        sharing: dict[tuple[str, str], list[Write]],
        notes: Notes,
    ) -> None:
        while ready_at or flying:
            pause_s = self._launch(ready_at, flying, sharing)
            done, _ = wait(flying, timeout=pause_s, return_when=FIRST_COMPLETED)
            if not flying:
                time.sleep(pause_s)
            for future in done:
                attempt = flying.pop(future)
                self._lanes.release(attempt.call)
                self._take(attempt, future.result(), ready_at, sharing, notes)
            if self._stopping() and ready_at:
                if flying:
                    wait(flying, timeout=5.0)
                for future in [one for one in flying if one.done()]:
                    attempt = flying.pop(future)
                    self._take(attempt, future.result(), ready_at, sharing, notes)
                self._store.write(notes)
                raise Stopping(
                    f"delivering to {self._store.destination}: ended before everything was told; start it again"
                )

    def _launch(
        self,
        ready_at: list[tuple[float, int, Attempt]],
        flying: dict[Future[Answer], Attempt],
        sharing: dict[tuple[str, str], list[Write]],
    ) -> float:
        """Send what may go now; returns how long to wait before looking again."""
        while ready_at and len(flying) < self._concurrency.calls:
            now_s = time.monotonic()
            due_s, _, attempt = ready_at[0]
            if due_s > now_s:
                return min(LOOK_S, due_s - now_s)
            circuit_s = self._breaker.wait_s(now_s)
            if circuit_s is None or circuit_s > 0:
                return LOOK_S if circuit_s is None else min(LOOK_S, circuit_s)
            if not self._lanes.claim(attempt.call):
                return LANE_WAIT_S
            bucket_s = self._store.take(self._to.bucket, self._buckets)
            if bucket_s > 0:
                self._lanes.release(attempt.call)
                if bucket_s > LONG_WAIT_S and self._state != "waiting":
                    self._tell("waiting: the calls that are allowed are used up", "")
                return min(LOOK_S, bucket_s)
            heapq.heappop(ready_at)
            self._begin(attempt.call, sharing)
            self._breaker = self._breaker.sent()
            self._sent_s[id(attempt)] = time.monotonic()
            flying[self._pool.submit(self._to.send, attempt.call)] = attempt
        return LOOK_S

    def _begin(self, call: Call, sharing: dict[tuple[str, str], list[Write]]) -> None:
        """Note, before anything goes out, that the fields of these rows are unknown."""
        notes = Notes()
        for write in call.writes:
            if self._plans[write.object].shared:
                name = self._rules.marks.of_key(write.object, write.key)
                notes.owners[name] = write.subject if write.op is Op.UPSERT else None
            for one in sharing[write.object, write.key]:
                record = self._records[one.subject].begin(one)
                self._records[one.subject] = notes.records[one.subject] = record
        notes.count("calls")
        self._store.write(notes)
        self._fault("intent noted")

    def _take(
        self,
        attempt: Attempt,
        answer: Answer,
        ready_at: list[tuple[float, int, Attempt]],
        sharing: dict[tuple[str, str], list[Write]],
        left: Notes,
    ) -> None:
        self._fault("answered")
        notes = Notes()
        self._judge(answer, self._sent_s.pop(id(attempt), 0.0), notes)
        decision = decide(attempt, answer, random(), self._answered_well)
        for write, verdict in decision.settled:
            for one in sharing[write.object, write.key]:
                self._settle(one, verdict, notes)
        for write, code in decision.parked:
            for one in sharing[write.object, write.key]:
                self._park(one.subject, code, notes)
        left.parked.update(notes.parked)
        self._schedule(decision, answer, ready_at, notes)
        self._store.write(notes)
        self._fault("answer noted")

    def _schedule(
        self, decision: Decision, answer: Answer, ready_at: list[tuple[float, int, Attempt]], notes: Notes
    ) -> None:
        for again in decision.again:
            wait_s = again.wait_s
            if answer.trouble is not Trouble.REFUSED:
                notes.count("retried", len(again.call.writes))
                self._budget -= 1.0
                if self._budget < 0:
                    self._budget, wait_s = 0.0, max(wait_s, min(BUDGET_WAIT_S, 2 * wait_s))
            heapq.heappush(ready_at, (time.monotonic() + wait_s, next(self._order), again))

    def _judge(self, answer: Answer, sent_s: float, notes: Notes) -> None:
        """Learn from an answer how the receiver is; a login that was renewed since the call says nothing."""
        trouble, now_s = answer.trouble, time.monotonic()
        if trouble is not Trouble.UNAUTHORISED:
            self._bad_logins = 0
        if trouble is Trouble.DOWN:
            self._breaker = self._breaker.failed(now_s, answer.wait_s)
            self._tell(
                "waiting: the receiver does not answer" if self._breaker.circuit is Circuit.OPEN else "", answer.code
            )
            return
        self._breaker = self._breaker.answered()
        if answer.wait_s:
            self._store.pause(self._to.bucket, answer.wait_s)
        if trouble is Trouble.THROTTLED:
            notes.count("throttled")
            self._concurrency = self._concurrency.throttled()
            self._tell("throttled", answer.code)
        elif trouble is Trouble.UNAUTHORISED and sent_s >= self._refreshed_s:
            self._bad_logins += 1
            self._refreshed_s = time.monotonic()
            if self._bad_logins > 1:
                self._store.pause(self._to.bucket, AUTH_PAUSE_S)
                if self._state != "paused":
                    _logger.error(
                        "delivering to %s: the receiver refuses the credentials (%s); renew them; next try in %d s",
                        self._store.destination,
                        answer.code,
                        AUTH_PAUSE_S,
                    )
                self._tell("paused: the receiver refuses the credentials", answer.code)
            self._to.refresh()
        elif trouble is None:
            self._answered_well += 1
            self._budget = min(BUDGET_MAX, self._budget + BUDGET_SHARE)
            self._concurrency = self._concurrency.accepted()
            if self._state:
                self._tell("running", "")

    def _tell(self, state: str, code: str) -> None:
        kind = state.partition(":")[0]
        changed = kind != self._state
        self._state = "" if kind == "running" else kind
        status: dict[str, str | int | float] = {}
        if changed and kind:
            status["state"] = state
        if code:
            status |= {"last_error": code, "last_error_at": int(time.time())}
        if status:
            self._store.tell(**status)

    def _settle(self, write: Write, verdict: Verdict, notes: Notes) -> None:
        if verdict.fate is Fate.CONFLICT:
            self._conflicts.append((write, verdict))
            return
        record = self._records[write.subject].settle(write, verdict, self._rules.marks)
        self._records[write.subject] = notes.records[write.subject] = record
        if verdict.fate is Fate.REFUSED:
            self._has_refusals = True
            self._refused.add(f"{write.subject}:{write.object}")
            notes.count("refused")
            notes.refused.append(
                self._refusal(
                    write.subject,
                    write.object,
                    write.op,
                    write.key,
                    write.revision,
                    verdict.code,
                    verdict.words,
                    dict(write.fields),
                )
            )
            self._store.tell(last_error=verdict.code, last_error_at=int(time.time()))
        else:
            notes.count("accepted")
            notes.count(f"accepted_{write.op}_{write.object}")

    def _park(self, subject: str, code: str, notes: Notes) -> None:
        times = self._times.get(subject, 0)
        notes.parked[subject] = (Parked(self._asked[subject], times + 1, code), park_s(times))
        notes.count("parked_times")

    def _calls(self, writes: Sequence[Write], bulk: bool) -> Iterable[Call]:
        limits = self._to.limits
        groups: dict[tuple[str, Op], list[Write]] = {}
        for write in writes:
            groups.setdefault((write.object, write.op), []).append(write)
        for (object_, op), some in groups.items():
            is_bulk = bulk and limits.bulk_rows_max is not None and op is Op.UPSERT and len(some) > limits.bulk_from
            rows_max = limits.bulk_rows_max if is_bulk and limits.bulk_rows_max else limits.rows_max
            yield from cut(object_, op, some, 1 if op in limits.one_row_ops else rows_max, limits.bytes_max, is_bulk)


def cut(object_: str, op: Op, writes: Sequence[Write], rows_max: int, bytes_max: int, bulk: bool) -> Iterable[Call]:
    """Cut writes into calls, by count and by bytes."""
    some: list[Write] = []
    size = 0
    for write in writes:
        bytes_ = len(orjson.dumps(write.fields, default=str)) + len(write.key) + 64
        if some and (len(some) == rows_max or size + bytes_ > bytes_max):
            yield Call(object_, op, tuple(some), bulk)
            some, size = [], 0
        some.append(write)
        size += bytes_
    if some:
        yield Call(object_, op, tuple(some), bulk)


def _joined(writes: Sequence[Write]) -> Write:
    """Make one write of those of several profiles to one row: the newest revision's values win."""
    if len(writes) == 1:
        return writes[0]
    ordered = sorted(writes, key=lambda write: write.revision)
    fields = {name: value for write in ordered for name, value in write.fields.items()}
    return replace(ordered[-1], fields=fields, whole=ordered[-1].whole and len(fields) == len(ordered[-1].fields))
