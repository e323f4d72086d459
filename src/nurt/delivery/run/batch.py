"""One batch of desired states: compared with last known states, written round by round, and put into the journal.

The batch ends when every desired state is settled: accepted, refused and in quarantine, or parked with its rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from nurt.delivery.calls import calls_of, merge_writes
from nurt.delivery.diff import by_rank, is_old, newest, plan_writes, renew, with_refs
from nurt.delivery.gone import GONE, GonePolicy, forget_links, question, stays_gone
from nurt.delivery.journal import JournalEntry, Message, Parked
from nurt.delivery.last_known import LastKnown, Presence, RemoteRow
from nurt.delivery.order_links import (
    NO_PROFILE,
    PARENT_MISSING,
    WAITS_MAX,
    affected_accounts,
    forget_parent,
    linked_kinds,
    parent_keys_of,
    resolve_parents,
    wait_s,
)
from nurt.delivery.retry import Decision, park_s
from nurt.delivery.run.context import DeliveryContext
from nurt.model.delivery import PROFILES, Call, DesiredState, Lifecycle, Op, RowOutcome, RowResult, Write

CONFLICT_TIMES_MAX = 4
"""Times that a row is parked because another row is in conflict with it, before the conflict is a refusal."""

SURVIVOR_MISSING, SURVIVOR_TIMES_MAX = "heir_not_there_yet", 3
RETRY, PROFILE_CHANGED, SWEEP = "retry", "kin", "sweep"
"""Why a desired state is parked without a call: an operator retries it, its profile changed, or a sweep removes it."""

ANEW_ROUNDS_MAX = 3
"""Rounds of a batch in which rows that others took away are completed: found gone, made anew, and what names them."""

CHILDREN_MAX = 2_000
"""Orders that are delivered again with their profile; orders beyond this number are parked and due at once."""


class DeliveryBatch:
    """Batch that settles desired states, the newest of each subject; implements sender.RowListener.

    Args:
        parked: the desired states that were parked.
        messages: the messages that the desired states were made of, as far as known.
        enter: locks more subjects for this worker, waiting until these are free.
    """

    def __init__(
        self,
        context: DeliveryContext,
        desired_states: Sequence[DesiredState],
        bulk: bool,
        parked: Mapping[str, Parked],
        messages: Mapping[str, Message],
        enter: Callable[[Iterable[str]], None],
    ) -> None:
        self._context = context
        self._store, self._rules = context.store, context.rules
        self._plans = {plan.name: plan for plan in context.rules.objects}
        self._linked_kinds = linked_kinds(context.rules.objects)
        self._bulk = bulk
        self._parked = parked
        self._messages = dict(messages)
        self._enter = enter
        self._desired = newest(desired_states)
        self._last_known: dict[str, LastKnown] = {}
        self._profile_of: dict[str, str | None] = {}  # of an order its profile; None: not known
        self._waits: set[str] = set()
        self._refused: set[str] = set()
        self._conflicts: list[tuple[Write, RowResult]] = []
        self._sharing: dict[tuple[str, str], list[Write]] = {}
        self._left: set[str] = set()
        self._anew: set[tuple[str, str]] = set()  # (subject, object) of rows that were made anew, or are to be
        self._has_refusals = False

    def settle(self) -> None:
        """Settle every desired state. Raises Stopping, Fenced, or what the store raises."""
        entry = JournalEntry()
        self._load(self._desired)
        self._drop_old(entry)
        if self._linked_kinds:
            self._announce()
        was_parked = {*self._parked} | self._store.parked_among(one for one in self._desired if one not in self._parked)
        self._has_refusals = bool(self._store.refusals(1))
        main = {subject: desired for subject, desired in self._desired.items() if desired.of not in self._linked_kinds}
        additions, removals = self._rounds(main)
        for writes in additions:
            self._round(writes)
        self._complete(main)
        if children := {subject: desired for subject, desired in self._desired.items() if subject not in main}:
            ready = self._resolve_parents(children)
            for rounds in self._rounds(ready):
                for writes in rounds:
                    self._round(self._keep_foreign(writes))
            self._complete(ready)
        for writes in removals:
            self._round(self._keep_foreign(writes))
        self._retry_conflicts()
        self._complete(self._desired)
        for subject in self._desired:
            self._finish(subject, subject in was_parked, entry)
        self._store.write(entry)
        self._context.fault("batch noted")

    def plan(self) -> list[Write]:
        """List what would be written, without writing anything, neither at the receiver nor here."""
        self._load(self._desired)
        self._drop_old(JournalEntry())
        if self._linked_kinds:
            profiles = {one: desired for one, desired in self._desired.items() if desired.of == PROFILES}
            children = {one: desired for one, desired in self._desired.items() if desired.of in self._linked_kinds}
            self._resolve_parents(children, {one: self._assume_accepted(desired) for one, desired in profiles.items()})
        additions, removals = self._rounds(self._desired)
        return [write for some in (*additions, *removals) for write in some]

    # -- desired and last known states

    def _load(self, desired_states: Mapping[str, DesiredState]) -> None:
        survivors = {desired.survivor for desired in desired_states.values() if desired.survivor}
        wanted = [subject for subject in {*desired_states, *survivors} if subject not in self._last_known]
        self._last_known |= self._store.load(wanted)

    def _drop_old(self, entry: JournalEntry) -> None:
        for subject, desired in list(self._desired.items()):
            known = self._last_known[subject]
            if is_old(known, desired, self._rules.generation):
                entry.count("old_news")
                del self._desired[subject]
                if subject in self._parked:
                    entry.unparked.add(subject)
                continue
            known = renew(known, desired, self._rules)
            if subject in self._parked and self._parked[subject].code == RETRY:
                known = replace(known, remote_rows=tuple(replace(one, refused=None) for one in known.remote_rows))
            self._last_known[subject] = known

    def _rounds(self, desired_states: Mapping[str, DesiredState]) -> tuple[list[list[Write]], list[list[Write]]]:
        writes = {
            subject: plan_writes(self._last_known[subject], desired, self._rules)
            for subject, desired in desired_states.items()
        }
        return by_rank(writes, self._rules.objects)

    # -- orders and their profiles: write first, read afterwards (delivery/order_links.py)

    def _announce(self) -> None:
        """List orders under accounts, claim accounts for profiles, and include the orders of affected accounts."""
        entry = JournalEntry()
        accounts: set[str] = set()
        for subject, desired in self._desired.items():
            known = self._last_known[subject]
            before, now = {*known.accounts}, {*desired.accounts} if desired.lifecycle is Lifecycle.LIVE else set()
            moved = {(one, subject): one in now for one in before ^ now}
            if desired.of in self._linked_kinds:
                entry.listed |= moved
                if subject in self._messages or desired.lifecycle is not Lifecycle.LIVE:
                    entry.kept[subject] = self._messages[subject] if desired.lifecycle is Lifecycle.LIVE else None
                known = replace(known, accounts=tuple(sorted(now)))
                if moved:
                    entry.last_known[subject] = known
            elif desired.of == PROFILES:
                parent_keys = parent_keys_of(desired, self._rules.objects)
                touched = affected_accounts(known, desired, parent_keys)
                if touched:
                    accounts |= touched
                    entry.claims |= moved
                    known = replace(
                        known, accounts=tuple(sorted(before | now)), parent_keys=parent_keys, orders_pending=True
                    )
                    entry.last_known[subject] = known
            self._last_known[subject] = known
        self._store.write(entry)
        self._context.fault("links written")
        if children := sorted(self._store.children(accounts) - {*self._desired}):
            self._include_orders(children)

    def _include_orders(self, children: Sequence[str]) -> None:
        """Include orders in which something may have changed: orders that were delivered before, or that wait."""
        if len(children) > CHILDREN_MAX:
            entry = JournalEntry()
            for one in children[CHILDREN_MAX:]:
                entry.parked[one] = (
                    Parked(DesiredState(one, None, (-1, -1), Lifecycle.LIVE, of=""), 0, PROFILE_CHANGED),
                    0.0,
                )
            self._store.write(entry)
            children = children[:CHILDREN_MAX]
        self._enter(children)
        kept = self._store.kept(children)
        for desired in self._context.state_reader.read(list(kept.values())).desired_states:
            self._desired[desired.subject] = desired
        more = {one: self._desired[one] for one in children if one in self._desired}
        self._load(more)
        for subject, desired in more.items():
            known = renew(self._last_known[subject], desired, self._rules)
            self._last_known[subject] = replace(known, accounts=desired.accounts)

    def _assume_accepted(self, desired: DesiredState) -> LastKnown:
        """Make the last known state of a profile as if its desired state were accepted; for a plan."""
        known = self._last_known[desired.subject]
        parent_keys = parent_keys_of(desired, self._rules.objects)
        for object_, key in parent_keys.items():
            known = known.with_remote(RemoteRow(object_, key, {"": ""}))
        return replace(known, parent_keys=parent_keys, accounts=desired.accounts)

    def _resolve_parents(
        self, children: Mapping[str, DesiredState], assumed: Mapping[str, LastKnown] | None = None
    ) -> dict[str, DesiredState]:
        """Put into orders the keys of their profiles' rows, as the receiver holds them now.

        Returns the orders that may be written: a new one waits for its profile's row a while, an old one does not wait.
        """
        accounts = sorted({account for desired in children.values() for account in desired.accounts})
        claims = self._store.claims(accounts)
        for subject, known in (assumed or {}).items():
            claims |= {account: {subject} for account in known.accounts}
        profiles = {one for claimed in claims.values() if len(claimed) == 1 for one in claimed}
        last_known = {**self._store.load(sorted(profiles - {*self._last_known})), **self._last_known, **(assumed or {})}
        ready: dict[str, DesiredState] = {}
        for subject, desired in children.items():
            claimed = [claims.get(account, set()) for account in desired.accounts]
            owner = next(iter(claimed[0])) if claimed and len(claimed[0]) == 1 else None
            if not desired.accounts:
                parent: LastKnown | None = NO_PROFILE
            else:
                parent = last_known[owner] if owner is not None else None
            if owner is not None:
                self._last_known.setdefault(owner, last_known[owner])
            self._profile_of[subject] = owner
            whole, waits = resolve_parents(desired, self._rules, self._last_known[subject], parent)
            is_new = not any(remote.fingerprints for remote in self._last_known[subject].remote_rows)
            needs = any(self._plans[row.object].needs_parent for row in desired.rows)
            if waits and assumed is None and (self._times(subject) < WAITS_MAX or needs):
                self._waits.add(subject)
            if subject not in self._waits or not is_new:
                self._desired[subject] = whole
                ready[subject] = whole
        return ready

    # -- writing

    def _keep_foreign(self, writes: Sequence[Write]) -> Sequence[Write]:
        """Leave out removals of rows that another profile owns now; such a row is forgotten here."""
        fingerprint = self._rules.fingerprinter.of_key
        removals = {
            fingerprint(write.object, write.key): write
            for write in writes
            if write.op in (Op.DELETE, Op.MERGE, Op.ERASE) and self._plans[write.object].shared
        }
        if not removals:
            return writes
        owners = self._store.owners(list(removals))
        others = {id(write) for name, write in removals.items() if owners[name] not in (None, write.subject)}
        for write in writes:
            if id(write) in others:
                self._last_known[write.subject] = self._last_known[write.subject].without(write.object, write.key)
        return [write for write in writes if id(write) not in others]

    def _round(self, writes: Sequence[Write]) -> None:
        """Make the calls of one round."""
        entry = JournalEntry()
        self._sharing = {}
        for write in writes:
            ready = with_refs(write, self._plans[write.object], self._last_known[write.subject], self._other(write))
            if ready is None and write.op is Op.MERGE:
                if self._times(write.subject) < SURVIVOR_TIMES_MAX:
                    self._park(write.subject, SURVIVOR_MISSING, entry)
                    continue
                ready = replace(write, op=Op.DELETE)
            if ready is not None:
                self._sharing.setdefault((ready.object, ready.key), []).append(ready)
        rows = [merge_writes(some) for some in self._sharing.values()]
        self._context.sender.send_all(calls_of(rows, self._context.limits, self._bulk), self)
        self._store.write(entry)

    def _other(self, write: Write) -> LastKnown | None:
        """Find the last known state of a merged profile's survivor, or of an order's profile."""
        other = self._desired[write.subject].survivor or self._profile_of.get(write.subject)
        return self._last_known.get(other) if other else None

    def begin(self, call: Call, entry: JournalEntry) -> None:
        """Write, before a call goes out, that the fields of its rows are unknown."""
        for write in call.writes:
            if self._plans[write.object].shared:
                name = self._rules.fingerprinter.of_key(write.object, write.key)
                entry.owners[name] = write.subject if write.op is Op.UPSERT else None
            for one in self._sharing[write.object, write.key]:
                known = self._last_known[one.subject].begin(one)
                self._last_known[one.subject] = entry.last_known[one.subject] = known

    def record_outcomes(self, decision: Decision, entry: JournalEntry) -> None:
        """Write the outcomes of rows."""
        for write, row_result in decision.settled:
            for one in self._sharing[write.object, write.key]:
                self._settle(one, row_result, entry)
        for write, code in decision.parked:
            for one in self._sharing[write.object, write.key]:
                self._park(one.subject, code, entry)

    def _settle(self, write: Write, row_result: RowResult, entry: JournalEntry) -> None:
        if row_result.outcome is RowOutcome.CONFLICT:
            self._conflicts.append((write, row_result))
            return
        if row_result.outcome is RowOutcome.GONE:
            self._lose(write, row_result, entry)
            return
        before = self._last_known[write.subject]
        known = before.settle(write, row_result, self._rules.fingerprinter)
        if row_result.outcome is RowOutcome.REFUSED:
            self._refuse(write, row_result, entry)
        else:
            remote = before.find(write.object, write.key)
            if write.op is Op.UPSERT and remote is not None and remote.is_another(write, row_result):
                known = self._begin_anew(known, write)
                entry.count("made_anew")
            entry.count("accepted")
            entry.count(f"accepted_{write.op}_{write.object}")
        self._last_known[write.subject] = entry.last_known[write.subject] = known

    def _refuse(self, write: Write, row_result: RowResult, entry: JournalEntry) -> None:
        self._has_refusals = True
        self._refused.add(f"{write.subject}:{write.object}")
        entry.count("refused")
        code, words, revision = row_result.code, row_result.words, write.revision
        refusal = self._context.refusal(write.subject, write.object, write.op, revision, code, write, words)
        entry.refused.append(refusal)
        self._store.set_status(last_error=row_result.code, last_error_at=int(time.time()))

    # -- rows that others took away at the receiver (delivery/gone.py)

    def _lose(self, write: Write, row_result: RowResult, entry: JournalEntry) -> None:
        """Note that a row is gone; ask, leave it so, or have it sent whole."""
        known, desired, plan = self._last_known[write.subject], self._desired[write.subject], self._plans[write.object]
        remote = known.find(write.object, write.key)
        entry.count("gone")
        row = next((one for one in desired.rows if (one.object, one.key) == (write.object, write.key)), None)
        if desired.lifecycle is not Lifecycle.LIVE or row is None:  # it was to be archived: there is nothing to do
            is_lost = remote is not None and remote.presence is not Presence.UNKNOWN
            known = known.lose(write, None) if is_lost else known.without(write.object, write.key)
        elif plan.gone_there is GonePolicy.ASK:
            known = known.lose(write, self._rules.fingerprinter.of_row(write.op, row.fields))
            words = question(write.object, self._store.destination, row_result)
            self._refuse(write, replace(row_result, code=GONE, words=words), entry)
        else:
            known = known.lose(write, None)
            if plan.gone_there is GonePolicy.RESTORE:
                known = self._begin_anew(known, write)
        self._last_known[write.subject] = entry.last_known[write.subject] = known

    def _begin_anew(self, known: LastKnown, write: Write) -> LastKnown:
        """Have what belongs to a row that is made anew sent again in this batch: the rest of it, links, orders."""
        self._anew.add((write.subject, write.object))
        links = [(plan.name, plan.link) for plan in self._rules.objects if plan.link]
        return forget_links(known, links, write.object, write.key)

    def _complete(self, desired_states: Mapping[str, DesiredState]) -> None:
        """Send what belongs to rows that are made anew: whole rows, then what names them."""
        for _ in range(ANEW_ROUNDS_MAX):
            anew, self._anew = self._anew, set()
            some = {subject: desired_states[subject] for subject, _ in anew if subject in desired_states}
            if not some:
                return
            self._forget_parents(anew)
            waiting = {(write.subject, write.object, write.key) for write, _ in self._conflicts}
            for writes in self._rounds(some)[0]:
                self._round([one for one in writes if (one.subject, one.object, one.key) not in waiting])

    def _forget_parents(self, anew: Iterable[tuple[str, str]]) -> None:
        """Have orders name rows again that are made anew; this is written before such a row is."""
        named = {object_ for plan in self._rules.objects for _, object_ in plan.parents}
        named |= {plan.far for plan in self._rules.objects if plan.far}
        entry = JournalEntry()
        for subject, object_ in anew:
            if object_ not in named:
                continue
            known = replace(self._last_known[subject], orders_pending=True)
            self._last_known[subject] = entry.last_known[subject] = known
            children = self._store.children(known.accounts)
            if missing := sorted(children - {*self._desired}):
                self._include_orders(missing)
            for child in children & {*self._desired}:
                order = forget_parent(self._last_known[child], self._rules.objects, object_)
                self._last_known[child] = entry.last_known[child] = order
        self._store.write(entry)

    def _retry_conflicts(self) -> None:
        """Try rows in conflict with another row once more, now that the others are written; then park them."""
        conflicts, self._conflicts = self._conflicts, []
        if not conflicts:
            return
        self._round([write for write, _ in conflicts])
        entry = JournalEntry()
        for write, row_result in self._conflicts:
            if self._times(write.subject) < CONFLICT_TIMES_MAX:
                self._park(write.subject, row_result.code, entry)
            else:
                self._settle(write, replace(row_result, outcome=RowOutcome.REFUSED), entry)
        self._store.write(entry)

    # -- what is left

    def _times(self, subject: str) -> int:
        return self._parked[subject].times if subject in self._parked else 0

    def _park(self, subject: str, code: str, entry: JournalEntry) -> None:
        times = self._times(subject)
        pause_s = wait_s(times) if code == PARENT_MISSING else park_s(times)
        entry.parked[subject] = Parked(self._desired[subject], times + 1, code), self._context.clock.real_s(pause_s)
        entry.count("parked_times")
        self._left.add(subject)

    def _finish(self, subject: str, was_parked: bool, entry: JournalEntry) -> None:
        known, desired = self._last_known[subject], self._desired[subject]
        if subject in self._waits:
            self._park(subject, PARENT_MISSING, entry)
        is_left = subject in self._left
        is_gone = desired.lifecycle in (Lifecycle.ERASED, Lifecycle.SWEPT)
        is_refused = any(one.refused is not None for one in known.remote_rows)
        if left := sum(
            stays_gone(one, self._plans[one.object].gone_there)
            for one in known.remote_rows
            if one.object in self._plans
        ):
            entry.count("left_gone", left)
        if is_gone and not is_left and not is_refused:
            known = replace(known, remote_rows=())
        if self._linked_kinds and desired.of == PROFILES:
            accounts = desired.accounts if desired.lifecycle is Lifecycle.LIVE else ()
            known = replace(known, accounts=tuple(sorted(accounts)), orders_pending=False)
        entry.last_known[subject] = known
        if was_parked and not is_left:
            entry.unparked.add(subject)
        if self._has_refusals:
            wanted = {(row.object, row.key) for row in desired.rows}
            still = {one.object for one in known.remote_rows if one.refused and (one.object, one.key) in wanted}
            names = {f"{subject}:{name}" for name in self._plans if name not in still}
            entry.resolved |= names - self._refused
            if desired.of not in self._linked_kinds:  # an order's message is kept in any case
                self._keep(subject, is_refused, entry)

    def _keep(self, subject: str, is_refused: bool, entry: JournalEntry) -> None:
        """Keep the message of a refused row, for another try."""
        if not is_refused:
            entry.kept[subject] = None
        elif subject in self._messages:
            entry.kept[subject] = self._messages[subject]
