"""Tools of a delivery besides its run: a preview, a retry of refusals, a sweep, a check against the receiver."""

from __future__ import annotations

from dataclasses import dataclass

from nurt.app.delivery import open_store
from nurt.app.delivery_config import KINDS, TABLE_KINDS, message_reader_of, rules_of, state_reader_of
from nurt.app.delivery_input import DeliveryInput
from nurt.delivery.journal import Message
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.read.families import FAMILIES
from nurt.delivery.run.batch import RETRY, SWEEP
from nurt.delivery.run.deliverer import Deliverer
from nurt.delivery.run.sender import NOT_UNDERSTOOD
from nurt.delivery.run.table_deliverer import TableDeliverer
from nurt.errors import ConfigurationError
from nurt.model.delivery import DesiredState, Lifecycle, Op, Write
from nurt.settings import Settings

PREVIEW_MESSAGES_MAX = 100_000
READ_ROWS = 5_000


def preview(settings: Settings, mapping: DestinationMapping) -> tuple[list[Write], int, int]:
    """Read waiting messages, and return what would be written; nothing is committed, sent or changed.

    Returns: the writes, how many messages were read, and how many rows could not be mapped.
    """
    log = DeliveryInput(settings, mapping, ends=True, looks=True).open()
    read_messages, state_reader = message_reader_of(settings, mapping), state_reader_of(settings, mapping)
    messages: dict[str, Message] = {}
    read = 0
    try:
        committed = log.committed()
        log.start(committed.offsets if committed else None)
        while not log.exhausted() and read < PREVIEW_MESSAGES_MAX:
            for batch in log.poll(READ_ROWS):
                read += len(batch)
                messages.update({message.subject: message for message in read_messages(batch)})
    finally:
        log.close()
    store = open_store(settings, mapping.name)
    generation = (store.get("generation") or {"number": 0})["number"]
    if mapping.kind in TABLE_KINDS:
        fresh, last_known = TableDeliverer({}, store, generation).fresh(list(messages.values()))
        return (
            [_whole(one, last_known[one.subject].revision) for one in fresh],
            read,
            sum(bool(one.flaw) for one in messages.values()),
        )
    to = KINDS[mapping.kind](mapping)
    deliverer = Deliverer(to, rules_of(settings, mapping, to, generation), store, state_reader)
    try:
        some = [one for one in messages.values() if not one.flaw]
        return deliverer.plan(some), read, len(messages) - len(some) + len(state_reader.read(some).failed)
    finally:
        deliverer.close()
        to.close()


def _whole(message: Message, revision: int) -> Write:
    """Describe what an analytics store gets by a message."""
    op = Op.ERASE if message.body is None else Op.UPSERT
    return Write(message.subject, revision, FAMILIES[message.of].one, op, message.subject)


def retry_refusals(settings: Settings, mapping: DestinationMapping) -> int:
    """Make quarantined subjects of a destination due, with today's mapping; return how many there are."""
    store = open_store(settings, mapping.name)
    subjects = sorted({refusal.subject for refusal in store.refusals()})
    kept = store.kept(subjects)
    store.ask_again([DesiredState(one, None, kept[one].place, Lifecycle.LIVE, of=kept[one].of) for one in kept], RETRY)
    return len(kept)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Result of a sweep: number of profiles, orders or figures that the back-fill did not deliver, and their rows."""

    subjects: int
    rows: dict[str, int]


def sweep(settings: Settings, mapping: DestinationMapping, dry_run: bool) -> SweepResult:
    """Delete at the receiver what the last back-fill did not deliver; by ordinary deletion, never by erasure.

    Args:
        dry_run: only count what would be deleted.
    Raises ConfigurationError before a back-fill is done.
    """
    store = open_store(settings, mapping.name)
    generation = store.get("generation") or {"number": 0, "done": True}
    if not generation["number"] or not generation["done"]:
        found = "there was no back-fill yet" if not generation["number"] else "the back-fill is not done yet"
        raise ConfigurationError(
            f"sweeping {mapping.name}: {found}; run `nurt deliver run {mapping.name} --from-scratch`, then sweep"
        )
    subjects, rows = 0, dict.fromkeys((one.name for one in mapping.objects), 0)
    is_table = mapping.kind in TABLE_KINDS
    some: list[DesiredState] = []
    for subject, known in store.left_over(int(generation["number"])):
        if not known.remote_rows and not is_table:
            continue
        subjects += 1
        for name in [remote.object for remote in known.remote_rows] or [known.of]:
            rows[name] = rows.get(name, 0) + 1
        some.append(DesiredState(subject, None, known.place, Lifecycle.SWEPT, of=known.of))
        if len(some) >= READ_ROWS and not dry_run:
            store.ask_again(some, SWEEP)
            some = []
    if not dry_run:
        store.ask_again(some, SWEEP)
    return SweepResult(subjects, {name: count for name, count in rows.items() if count})


def verify(settings: Settings, mapping: DestinationMapping) -> list[str]:
    """Compare a mapping with the receiver's description of itself."""
    if mapping.kind not in KINDS:
        return []
    to = KINDS[mapping.kind](mapping)
    try:
        return to.verify()
    except NOT_UNDERSTOOD as failed:
        return [f"its description of itself was not understood ({type(failed).__name__}); is it such a receiver?"]
    finally:
        to.close()
