"""A deliberately slow stream: rows, orders, accounts, identity and profiles in Python dicts, an event at a time.

It does what the real stages do, with a durable write between them, so that histories, crashes and replays can be
tried before, and beside, the real engine. `faults` break it on purpose: whoever judges streams must notice each one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import DELETE, HELD_PARENT_BIT, EntityFrame, Truncated
from tests.oracle.deployment import Killed
from tests.oracle.final_row import Named, Normalise, System, normalise_plainly
from tests.oracle.places import highest_after, is_old_news, is_truncated
from tests.oracle.reference_profile import (
    AccountState,
    RowState,
    Sums,
    interaction_share,
    invoice_share,
    links_of,
    order_share,
    profile_of,
)

FAULTS = (
    "arrival_order",  # the event that arrives last wins, whatever its position
    "offsets_only",  # offsets decide, not positions
    "null_is_smallest",  # a null part is smaller than any other
    "null_forgets",  # a null position in place of a known one lets anything older in
    "held_is_null",  # a held column becomes null
    "no_floor",  # a truncate is forgotten once it has been applied
    "left_parents",  # a row that moves is not taken from its old parent
    "left_accounts",  # an order that moves is not taken from its old account
    "guests_stay",  # a guest order that becomes a customer's keeps its guest account
    "no_split",  # profiles merge, but never split
    "silent_replay",  # what is old news is not said again
    "nothing_owed",  # profiles that identity changed are not remembered until they are published
    "no_clock",  # profiles keep the day of their last change
    "no_start_checkpoint",  # a run that went back does not say so before it writes
    "tail_unread",  # a start does not look at what was published since the checkpoint
)

Record = dict[str, Any]


@dataclass(slots=True)
class Order:
    """An order: its own row and its children, and the accounts that it left."""

    own: RowState | None = None
    children: dict[bytes, RowState] = field(default_factory=dict)
    account: bytes | None = None
    left: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Identity:
    """Who is whom: links of accounts, members of profiles, heirs of emptied ones, and touches that are owed."""

    links: dict[bytes, frozenset[tuple[str, str]]] = field(default_factory=dict)
    holders: dict[tuple[str, str, str], set[bytes]] = field(default_factory=dict)
    profile: dict[bytes, str] = field(default_factory=dict)
    members: dict[str, set[bytes]] = field(default_factory=dict)
    heirs: dict[str, str | None] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class State:
    """Everything durable; each field is written by one stage."""

    rows: dict[bytes, RowState] = field(default_factory=dict)
    floors: dict[tuple[str, str, str], list[Truncated]] = field(default_factory=dict)
    orders: dict[bytes, Order] = field(default_factory=dict)
    accounts: dict[bytes, AccountState] = field(default_factory=dict)
    identity: Identity = field(default_factory=Identity)
    head: tuple[int, int] = (0, 0)
    """(run, epoch) that wrote last."""


class ReferenceStream:
    """The slow stream, with a disk that survives `kill` and a topic of published profiles that survives everything."""

    def __init__(
        self,
        systems: Mapping[str, System],
        rules: Mapping[str, Sequence[str]],
        ids: Named,
        normalise: Normalise = normalise_plainly,
        faults: frozenset[str] = frozenset(),
        as_of: int = 0,
    ) -> None:
        self.systems, self.rules, self.ids, self.normalise, self.faults = systems, rules, ids, normalise, faults
        self.as_of = as_of
        self.published: dict[str, Record | None] = {}
        self._disk = State()
        self._state = State()
        self._topic: list[str] = []
        self._checkpoints: list[tuple[tuple[int, int], int, int]] = [((0, 0), 0, 0)]
        self._run, self._epoch = 0, 0
        self._done = 0
        self._writes_left: int | None = None

    # -- Stream

    def feed(self, batch: Sequence[EntityFrame | Truncated]) -> None:
        """Take one micro-batch through all stages."""
        rows = self._fold_rows(batch)
        self._write("rows")
        self._write("floors")
        orders = self._fold_orders(rows)
        self._write("orders")
        accounts = self._fold_accounts(rows, orders)
        self._write("accounts")
        profiles = self._resolve(accounts)
        if "nothing_owed" not in self.faults:
            self._state.identity.owed |= profiles
        self._epoch += 1
        self._state.head = (self._run, self._epoch)
        self._write("identity")
        self._write("head")
        self._publish(profiles)

    def drain(self, as_of: int) -> dict[str, Record]:
        """Bring every profile to the day and return what is published, without tombstones."""
        before, self.as_of = self.as_of, as_of
        if "no_clock" not in self.faults:
            self._publish({name for name in self._state.identity.members if self._changes(name, before)})
        return {name: record for name, record in self.published.items() if record is not None}

    # -- Deployment

    def start(self, workers: int) -> int:
        """Load what is durable, say what is owed, and return the arrival to go on with.

        A run that goes back says so in a checkpoint of its own before it writes: else its head would seem to be above
        the checkpoints of the runs before, whose offsets its state has never seen. And whatever was published since
        the checkpoint is said again, or unsaid: a store that lost its last writes does not know that it was.
        """
        del workers  # one is enough here
        self._writes_left = None
        self._state = deepcopy(self._disk)
        _, self._done, told = max(item for item in self._checkpoints if item[0] <= self._state.head)
        self._run, self._epoch = self._run + 1, 0
        if "no_start_checkpoint" not in self.faults:
            self._checkpoints.append(((self._run, 0), self._done, told))
        self._publish(set(self._state.identity.owed))
        if "tail_unread" not in self.faults:
            self._publish(set(self._topic[told:]))
        return self._done

    def feed_until(self, batch: Sequence[EntityFrame | Truncated], done: int) -> None:
        """Take a batch that ends before the arrival `done`."""
        self.feed(batch)
        self._done = done

    def commit(self) -> None:
        """Note that everything fed is done; what was owed until now is told."""
        self._state.identity.owed.clear()
        self._write("identity")
        self._checkpoints.append(((self._run, self._epoch), self._done, len(self._topic)))

    def crash_after_writes(self, writes: int) -> None:
        """Die at the write after so many."""
        self._writes_left = writes

    def kill(self) -> None:
        """Forget everything that is not durable."""
        self._state = State()

    def save(self) -> State:
        """Copy the disk."""
        return deepcopy(self._disk)

    def restore(self, saved: State) -> None:
        """Put an older disk in place; the process must be dead."""
        self._disk = deepcopy(saved)

    def _write(self, name: str) -> None:
        if self._writes_left is not None:
            if self._writes_left == 0:
                raise Killed
            self._writes_left -= 1
        setattr(self._disk, name, deepcopy(getattr(self._state, name)))

    # -- rows

    def _fold_rows(self, batch: Iterable[EntityFrame | Truncated]) -> list[bytes]:
        touched: dict[bytes, None] = {}
        for item in batch:
            if isinstance(item, Truncated):
                table = (item.kind, item.system, item.entity)
                if "no_floor" not in self.faults:
                    self._state.floors.setdefault(table, []).append(item)
                for row in list(self._state.rows.values()):
                    if (row.kind, row.system, row.entity) == table and is_truncated(row, item):
                        self._state.rows[row.id] = _emptied(row, row.moved_to)
                        touched[row.id] = None
                continue
            for event in item.frame.to_dicts():
                news = self._fold_row(item.kind, event)
                if event["row"] in self._state.rows and (news or "silent_replay" not in self.faults):
                    touched[event["row"]] = None
        return list(touched)

    def _fold_row(self, kind: str, event: Record) -> bool:
        row = _row_of(kind, event)
        held = self._state.rows.get(row.id)
        if held is not None and self._is_old(row, held):
            return False
        if any(is_truncated(row, floor) for floor in self._state.floors.get((kind, row.system, row.entity), ())):
            return False
        if held is not None:
            row = self._with_held(row, held, event["held"])
            left = (held.left | {held.parent} if held.parent is not None else held.left) - {row.parent}
            highest = highest_after(row, held, held.highest)
            row = replace(row, left=frozenset(parent for parent in left if parent is not None), highest=highest)
        self._state.rows[row.id] = row
        return True

    def _is_old(self, row: RowState, held: RowState) -> bool:
        if "silent_replay" in self.faults and row.offset == held.offset and row.partition == held.partition:
            return True
        if "arrival_order" in self.faults:
            return False
        if "offsets_only" in self.faults:
            return row.offset < held.offset
        if "null_is_smallest" in self.faults:
            mine = (row.source_epoch, *(-1 if part is None else part for part in row.position), row.offset)
            return mine < (held.source_epoch, *(-1 if part is None else part for part in held.position), held.offset)
        return is_old_news(row, held, None if "null_forgets" in self.faults else held.highest)

    def _with_held(self, row: RowState, before: RowState, held: int) -> RowState:
        if not held or "held_is_null" in self.faults:
            return row
        fields = {
            name: before.fields.get(name) if held >> bit & 1 else row.fields[name]
            for bit, name in enumerate(ENTITIES[row.kind].fields)
        }
        row = replace(row, fields=fields)
        if held >> HELD_PARENT_BIT & 1:
            row = replace(
                row,
                parent_kind=before.parent_kind,
                parent=before.parent,
                parent_entity=before.parent_entity,
                parent_key=before.parent_key,
            )
        return row

    # -- orders

    def _fold_orders(self, rows: list[bytes]) -> list[bytes]:
        touched: dict[bytes, None] = {}
        for row in (self._state.rows[name] for name in rows):
            if row.kind == "order":
                self._state.orders.setdefault(row.id, Order()).own = None if row.deleted else row
                touched[row.id] = None
            elif row.kind in ("order_line", "payment", "shipment", "invoice"):
                for parent in () if "left_parents" in self.faults else row.left:
                    self._state.orders.setdefault(parent, Order()).children.pop(row.id, None)
                    touched[parent] = None
                if row.parent is not None and row.parent_kind == "order":
                    self._state.orders.setdefault(row.parent, Order()).children[row.id] = row
                    touched[row.parent] = None
        for name in touched:
            order = self._state.orders[name]
            account = None if order.own is None else order.own.parent or self._guest(order.own)
            if order.account not in (None, account) and "left_accounts" not in self.faults:
                order.left.add(order.account)
            order.left.discard(account)
            order.account = account
        return list(touched)

    def _guest(self, order: RowState) -> bytes:
        return self.ids.one(f"{order.system}\x1fguest\x1f{order.entity}\x1f{order.key}")

    # -- accounts

    def _fold_accounts(self, rows: list[bytes], orders: list[bytes]) -> list[bytes]:
        touched: dict[bytes, None] = {}
        for row in (self._state.rows[name] for name in rows):
            for name, account in self._direct(row):
                share: Sums | None = None
                if row.kind == "interaction":
                    share = interaction_share(row)
                elif row.kind == "invoice":
                    share = invoice_share(row, self.systems[row.system])
                self._put(name, account, row.id, share, row)
                touched[name] = None
            if row.kind == "customer" and row.id in self._state.accounts:
                self._state.accounts[row.id].moved_to = row.moved_to
        for name in orders:
            order = self._state.orders[name]
            for left in order.left:
                if "guests_stay" not in self.faults or self._state.accounts[left].entity != "guest":
                    self._put(left, None, name, None, None)
                touched[left] = None
            if order.own is not None and order.account is not None:
                own = order.own
                guest = own.parent is None
                who = AccountState(
                    own.system,
                    own.parent_entity or "guest",
                    f"{own.entity}\x1f{own.key}" if guest else own.parent_key or "",
                )
                share = order_share(own, order.children.values(), self.systems[own.system])
                self._put(order.account, who, name, share, own if guest else None)
                touched[order.account] = None
        return list(touched)

    def _direct(self, row: RowState) -> list[tuple[bytes, AccountState | None]]:
        """List the accounts that a row speaks to itself, with who they are, or None where it is gone."""
        if row.kind == "customer":
            return [(row.id, None if row.deleted else AccountState(row.system, row.entity, row.key))]
        if row.kind not in ("address", "consent", "interaction", "invoice"):
            return []
        lefts = () if "left_parents" in self.faults else row.left
        said: list[tuple[bytes, AccountState | None]] = [(left, None) for left in lefts]
        if row.parent is not None and row.parent_kind == "customer":
            said.append((row.parent, AccountState(row.system, row.parent_entity or "", row.parent_key or "")))
        return said

    def _put(
        self, name: bytes, who: AccountState | None, child: bytes, share: Sums | None, slot: RowState | None
    ) -> None:
        if who is None:
            if name in self._state.accounts:
                self._state.accounts[name].drop_share(child)
                self._state.accounts[name].slots.pop(child, None)
            return
        account = self._state.accounts.setdefault(name, who)
        if share is not None:
            account.put_share(child, share)
        if slot is not None and slot.kind not in ("interaction", "invoice"):
            account.slots[child] = slot

    # -- identity

    def _resolve(self, accounts: list[bytes]) -> set[str]:
        identity = self._state.identity
        affected = set(accounts)
        before: dict[str, set[bytes]] = {}
        for name in accounts:
            if name in identity.profile:
                affected |= identity.members[identity.profile[name]]
        for name in accounts:
            self._relink(name)
        done: set[bytes] = set()
        after: dict[str, set[bytes]] = {}
        for name in affected:
            if name in done or not self._exists(name):
                continue
            component = self._component(name)
            if "no_split" in self.faults and name in identity.profile:
                component |= {old for old in identity.members[identity.profile[name]] if self._exists(old)}
            done |= component
            after[self.ids.one(f"profile\x1f{min(component).hex()}").hex()] = component
        for name in affected | done:
            if name in identity.profile:
                old = identity.profile.pop(name)
                before[old] = identity.members.get(old, set())
        for old in before:
            identity.members.pop(old, None)
        for profile, component in after.items():
            identity.members[profile] = component
            identity.heirs.pop(profile, None)
            for name in component:
                identity.profile[name] = profile
        for old, members in before.items():
            if old not in identity.members:
                identity.heirs[old] = self._heir(members)
        return set(before) | set(after)

    def _exists(self, account: bytes) -> bool:
        return account in self._state.accounts and self._state.accounts[account].exists()

    def _relink(self, name: bytes) -> None:
        identity = self._state.identity
        links: frozenset[tuple[str, str]] = frozenset()
        account = self._state.accounts.get(name)
        if account is None:
            return
        system = self.systems[account.system]
        if account.exists():
            links = links_of(account, system, self.normalise)
        for kind, value in identity.links.pop(name, frozenset()):
            identity.holders[system.realm, kind, value].discard(name)
        for kind, value in links:
            identity.holders.setdefault((system.realm, kind, value), set()).add(name)
        if links:
            identity.links[name] = links

    def _component(self, start: bytes) -> set[bytes]:
        identity = self._state.identity
        found, waiting = {start}, [start]
        while waiting:
            name = waiting.pop()
            realm = self.systems[self._state.accounts[name].system].realm
            for kind, value in identity.links.get(name, ()):
                news = identity.holders[realm, kind, value] - found
                found |= news
                waiting += news
        return found

    def _heir(self, members: set[bytes]) -> str | None:
        """Find the profile that took over: its anchor's, or the one its anchor was re-keyed into, or any other's."""
        for name in sorted(members):
            seen: set[bytes] = set()
            at: bytes | None = name
            while at is not None and at not in seen:
                seen.add(at)
                if at in self._state.identity.profile:
                    return self._state.identity.profile[at]
                at = self._state.accounts[at].moved_to if at in self._state.accounts else None
        return None

    # -- profiles

    def _publish(self, profiles: set[str]) -> None:
        for name in sorted(profiles):
            if self._writes_left is not None:
                if self._writes_left == 0:
                    raise Killed
                self._writes_left -= 1
            self.published[name] = self._record(name, self.as_of)
            self._topic.append(name)

    def _changes(self, name: str, before: int) -> bool:
        """Say whether a profile is another one now than it was on a day before."""
        then, now = self._record(name, before), self._record(name, self.as_of)
        assert then is not None and now is not None
        return {**then, "as_of": None} != {**now, "as_of": None}

    def _record(self, name: str, as_of: int) -> Record | None:
        identity = self._state.identity
        if name in identity.members:
            members = {account: self._state.accounts[account] for account in identity.members[name]}
            links = [link for account in members for link in identity.links.get(account, ())]
            return profile_of(name, members, links, self.systems, self.rules, as_of, self.normalise)
        heir = identity.heirs.get(name)
        last = self.published.get(name)
        if name not in identity.heirs and last is not None:  # an older store has never heard of it
            stray = {bytes.fromhex(account["account"]) for account in last.get("accounts", ())}
            heir = self._heir(stray) or last["redirect_to"]
        return None if heir is None else {"id": name, "state": "redirect", "redirect_to": heir}


def _row_of(kind: str, event: Record) -> RowState:
    return RowState(
        id=event["row"],
        kind=kind,
        position=(event["p0"], event["p1"], event["p2"], event["p3"]),
        deleted=event["op"] == DELETE,
        fields={name: event[name] for name in ENTITIES[kind].fields},
        identifiers=event.get("identifiers"),
        **{
            name: event[name]
            for name in (
                *("system", "entity", "key", "source_epoch", "partition", "offset", "ts_ms", "moved_to"),
                *("parent_kind", "parent", "parent_entity", "parent_key"),
            )
        },
    )


def _emptied(row: RowState, moved_to: bytes | None) -> RowState:
    left = row.left if row.parent is None else row.left | {row.parent}
    return replace(
        row, deleted=True, parent=None, parent_kind=None, parent_entity=None, parent_key=None, left=left,
        moved_to=moved_to,
    )  # fmt: skip
