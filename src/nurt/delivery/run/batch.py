"""One batch of wishes on its way: compared with the records, written round by round, and noted down.

It is over when every wish is settled: accepted, refused and in quarantine, or parked with its rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from nurt.delivery.calls import calls_of, joined
from nurt.delivery.diff import by_rank, differences, is_old, newest, renew, with_refs
from nurt.delivery.journal import Message, Notes, Parked
from nurt.delivery.last_known import Held, Record
from nurt.delivery.order_links import NOBODY, NOT_THERE, WAITS_MAX, complete, concerned, heads_of, kinds_of_kin, wait_s
from nurt.delivery.retry import Decision, park_s
from nurt.delivery.run.context import Means
from nurt.model.delivery import PROFILES, Call, Fate, Life, Op, Verdict, Wish, Write

CONFLICT_TIMES_MAX = 4
"""Times that a row is parked because another one stands in its way, before that is a refusal."""

NO_HEIR, NO_HEIR_TIMES_MAX = "heir_not_there_yet", 3
RETRY, KIN, SWEEP = "retry", "kin", "sweep"
"""Why a wish is parked that no receiver has put off: asked for anew, its profile has changed, or to be swept."""

CHILDREN_MAX = 2_000
"""Orders that are told anew with their profile; of those beyond, the rest is parked and due at once."""


class Batch:
    """Settles wishes, the newest of each subject; implements deliver_flight.Rows.

    Args:
        again: those that were parked.
        messages: what the wishes were made of, as far as it is known.
        enter: takes more subjects for this worker, waiting until they are free.
    """

    def __init__(
        self,
        means: Means,
        wishes: Sequence[Wish],
        bulk: bool,
        again: Mapping[str, Parked],
        messages: Mapping[str, Message],
        enter: Callable[[Iterable[str]], None],
    ) -> None:
        self._means = means
        self._store, self._rules = means.store, means.rules
        self._plans = {plan.name: plan for plan in means.rules.objects}
        self._kin = kinds_of_kin(means.rules.objects)
        self._bulk = bulk
        self._again = again
        self._messages = dict(messages)
        self._enter = enter
        self._asked = newest(wishes)
        self._records: dict[str, Record] = {}
        self._whose: dict[str, str | None] = {}  # of an order its profile; None: not known
        self._waits: set[str] = set()
        self._refused: set[str] = set()
        self._conflicts: list[tuple[Write, Verdict]] = []
        self._sharing: dict[tuple[str, str], list[Write]] = {}
        self._left: set[str] = set()
        self._has_refusals = False

    def settle(self) -> None:
        """Settle everything. Raises Stopping, Fenced, or what the store raises."""
        notes = Notes()
        self._load(self._asked)
        self._drop_old(notes)
        if self._kin:
            self._announce()
        was_parked = {*self._again} | self._store.parked_among(one for one in self._asked if one not in self._again)
        self._has_refusals = bool(self._store.refusals(1))
        main = {subject: wish for subject, wish in self._asked.items() if wish.of not in self._kin}
        gives, takes = self._rounds(main)
        for writes in gives:
            self._round(writes)
        if children := {subject: wish for subject, wish in self._asked.items() if subject not in main}:
            for rounds in self._rounds(self._complete(children)):
                for writes in rounds:
                    self._round(self._owned(writes))
        for writes in takes:
            self._round(self._owned(writes))
        self._once_more()
        for subject in self._asked:
            self._finish(subject, subject in was_parked, notes)
        self._store.write(notes)
        self._means.fault("batch noted")

    def plan(self) -> list[Write]:
        """Say what would be written, without writing anything: neither there nor here."""
        self._load(self._asked)
        self._drop_old(Notes())
        if self._kin:
            profiles = {one: wish for one, wish in self._asked.items() if wish.of == PROFILES}
            children = {one: wish for one, wish in self._asked.items() if wish.of in self._kin}
            self._complete(children, {one: self._pretended(wish) for one, wish in profiles.items()})
        gives, takes = self._rounds(self._asked)
        return [write for some in (*gives, *takes) for write in some]

    # -- what is asked

    def _load(self, wishes: Mapping[str, Wish]) -> None:
        heirs = {wish.heir for wish in wishes.values() if wish.heir}
        wanted = [subject for subject in {*wishes, *heirs} if subject not in self._records]
        self._records |= self._store.load(wanted)

    def _drop_old(self, notes: Notes) -> None:
        for subject, wish in list(self._asked.items()):
            record = self._records[subject]
            if is_old(record, wish):
                notes.count("old_news")
                del self._asked[subject]
                if subject in self._again:
                    notes.unparked.add(subject)
                continue
            record = renew(record, wish, self._rules)
            if subject in self._again and self._again[subject].code == RETRY:
                record = replace(record, held=tuple(replace(one, refused=None) for one in record.held))
            self._records[subject] = record

    def _rounds(self, wishes: Mapping[str, Wish]) -> tuple[list[list[Write]], list[list[Write]]]:
        writes = {subject: differences(self._records[subject], wish, self._rules) for subject, wish in wishes.items()}
        return by_rank(writes, self._rules.objects)

    # -- orders and their profiles: write first, look afterwards (delivery/order_links.py)

    def _announce(self) -> None:
        """List orders under their accounts; claim accounts for profiles, and take in the orders that this concerns."""
        notes = Notes()
        accounts: set[str] = set()
        for subject, wish in self._asked.items():
            record = self._records[subject]
            before, now = {*record.accounts}, {*wish.accounts} if wish.life is Life.LIVE else set()
            moved = {(one, subject): one in now for one in before ^ now}
            if wish.of in self._kin:
                notes.listed |= moved
                if subject in self._messages or wish.life is not Life.LIVE:
                    notes.kept[subject] = self._messages[subject] if wish.life is Life.LIVE else None
                record = replace(record, accounts=tuple(sorted(now)))
                if moved:
                    notes.records[subject] = record
            elif wish.of == PROFILES:
                heads = heads_of(wish, self._rules.objects)
                touched = concerned(record, wish, heads)
                if touched:
                    accounts |= touched
                    notes.claims |= moved
                    record = replace(record, accounts=tuple(sorted(before | now)), heads=heads, owing=True)
                    notes.records[subject] = record
            self._records[subject] = record
        self._store.write(notes)
        self._means.fault("kin noted")
        if children := sorted(self._store.children(accounts) - {*self._asked}):
            self._take_in(children)

    def _take_in(self, children: Sequence[str]) -> None:
        """Tell orders anew of which something may have changed; they were told before, or wait."""
        if len(children) > CHILDREN_MAX:
            notes = Notes()
            for one in children[CHILDREN_MAX:]:
                notes.parked[one] = Parked(Wish(one, None, (-1, -1), Life.LIVE, of=""), 0, KIN), 0.0
            self._store.write(notes)
            children = children[:CHILDREN_MAX]
        self._enter(children)
        kept = self._store.kept(children)
        for wish in self._means.wishes.of(list(kept.values())).wishes:
            self._asked[wish.subject] = wish
        more = {one: self._asked[one] for one in children if one in self._asked}
        self._load(more)
        for subject, wish in more.items():
            record = renew(self._records[subject], wish, self._rules)
            self._records[subject] = replace(record, accounts=wish.accounts)

    def _pretended(self, wish: Wish) -> Record:
        """Make the record of a profile that a plan asks for, as if it were accepted."""
        record = self._records[wish.subject]
        heads = heads_of(wish, self._rules.objects)
        for object_, key in heads.items():
            record = record.with_held(Held(object_, key, {"": ""}))
        return replace(record, heads=heads, accounts=wish.accounts)

    def _complete(self, children: Mapping[str, Wish], pretended: Mapping[str, Record] | None = None) -> dict[str, Wish]:
        """Put into orders what they name of their profiles, as the receiver holds it now.

        Returns those that may be written: a new one waits for its profile's row a while, an old one goes without it.
        """
        accounts = sorted({account for wish in children.values() for account in wish.accounts})
        claims = self._store.claims(accounts)
        for subject, record in (pretended or {}).items():
            claims |= {account: {subject} for account in record.accounts}
        profiles = {one for claimed in claims.values() if len(claimed) == 1 for one in claimed}
        records = {**self._store.load(sorted(profiles - {*self._records})), **self._records, **(pretended or {})}
        ready: dict[str, Wish] = {}
        for subject, wish in children.items():
            claimed = [claims.get(account, set()) for account in wish.accounts]
            owner = next(iter(claimed[0])) if claimed and len(claimed[0]) == 1 else None
            if not wish.accounts:
                parent: Record | None = NOBODY
            else:
                parent = records[owner] if owner is not None else None
            if owner is not None:
                self._records.setdefault(owner, records[owner])
            self._whose[subject] = owner
            whole, waits = complete(wish, self._rules, self._records[subject], parent)
            is_new = not any(held.marks for held in self._records[subject].held)
            needs = any(self._plans[row.object].needs_parent for row in wish.rows)
            if waits and pretended is None and (self._times(subject) < WAITS_MAX or needs):
                self._waits.add(subject)
            if subject not in self._waits or not is_new:
                self._asked[subject] = whole
                ready[subject] = whole
        return ready

    # -- writing

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

    def _round(self, writes: Sequence[Write]) -> None:
        """Make the calls of one round."""
        notes = Notes()
        self._sharing = {}
        for write in writes:
            ready = with_refs(write, self._plans[write.object], self._records[write.subject], self._other(write))
            if ready is None and write.op is Op.MERGE:
                if self._times(write.subject) < NO_HEIR_TIMES_MAX:
                    self._park(write.subject, NO_HEIR, notes)
                    continue
                ready = replace(write, op=Op.DELETE)
            if ready is not None:
                self._sharing.setdefault((ready.object, ready.key), []).append(ready)
        rows = [joined(some) for some in self._sharing.values()]
        self._means.flight.fly(calls_of(rows, self._means.limits, self._bulk), self)
        self._store.write(notes)

    def _other(self, write: Write) -> Record | None:
        """Find the record of a merged profile's heir, or of an order's profile."""
        other = self._asked[write.subject].heir or self._whose.get(write.subject)
        return self._records.get(other) if other else None

    def begin(self, call: Call, notes: Notes) -> None:
        """Note, before anything goes out, that the fields of these rows are unknown."""
        for write in call.writes:
            if self._plans[write.object].shared:
                name = self._rules.marks.of_key(write.object, write.key)
                notes.owners[name] = write.subject if write.op is Op.UPSERT else None
            for one in self._sharing[write.object, write.key]:
                record = self._records[one.subject].begin(one)
                self._records[one.subject] = notes.records[one.subject] = record

    def land(self, decision: Decision, notes: Notes) -> None:
        """Note what became of rows."""
        for write, verdict in decision.settled:
            for one in self._sharing[write.object, write.key]:
                self._settle(one, verdict, notes)
        for write, code in decision.parked:
            for one in self._sharing[write.object, write.key]:
                self._park(one.subject, code, notes)

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
            code, words, revision = verdict.code, verdict.words, write.revision
            refusal = self._means.refusal(write.subject, write.object, write.op, revision, code, write, words)
            notes.refused.append(refusal)
            self._store.tell(last_error=verdict.code, last_error_at=int(time.time()))
        else:
            notes.count("accepted")
            notes.count(f"accepted_{write.op}_{write.object}")

    def _once_more(self) -> None:
        """Try again, now that the others are written, what another row stood in the way of; then park it."""
        conflicts, self._conflicts = self._conflicts, []
        if not conflicts:
            return
        self._round([write for write, _ in conflicts])
        notes = Notes()
        for write, verdict in self._conflicts:
            if self._times(write.subject) < CONFLICT_TIMES_MAX:
                self._park(write.subject, verdict.code, notes)
            else:
                self._settle(write, replace(verdict, fate=Fate.REFUSED), notes)
        self._store.write(notes)

    # -- what is left

    def _times(self, subject: str) -> int:
        return self._again[subject].times if subject in self._again else 0

    def _park(self, subject: str, code: str, notes: Notes) -> None:
        times = self._times(subject)
        pause_s = wait_s(times) if code == NOT_THERE else park_s(times)
        notes.parked[subject] = Parked(self._asked[subject], times + 1, code), self._means.pace.real_s(pause_s)
        notes.count("parked_times")
        self._left.add(subject)

    def _finish(self, subject: str, was_parked: bool, notes: Notes) -> None:
        record, wish = self._records[subject], self._asked[subject]
        if subject in self._waits:
            self._park(subject, NOT_THERE, notes)
        is_left = subject in self._left
        is_gone = wish.life in (Life.ERASED, Life.SWEPT)
        is_refused = any(one.refused is not None for one in record.held)
        if is_gone and not is_left and not is_refused:
            record = replace(record, held=())
        if self._kin and wish.of == PROFILES:
            accounts = wish.accounts if wish.life is Life.LIVE else ()
            record = replace(record, accounts=tuple(sorted(accounts)), owing=False)
        notes.records[subject] = record
        if was_parked and not is_left:
            notes.unparked.add(subject)
        if self._has_refusals:
            wanted = {(row.object, row.key) for row in wish.rows}
            still = {one.object for one in record.held if one.refused and (one.object, one.key) in wanted}
            names = {f"{subject}:{name}" for name in self._plans if name not in still}
            notes.cured |= names - self._refused
            if wish.of not in self._kin:  # an order's is kept anyhow
                self._keep(subject, is_refused, notes)

    def _keep(self, subject: str, is_refused: bool, notes: Notes) -> None:
        """Keep the message of what was refused, for another chance."""
        if not is_refused:
            notes.kept[subject] = None
        elif subject in self._messages:
            notes.kept[subject] = self._messages[subject]
