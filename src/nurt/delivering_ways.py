"""What can be asked of a delivery beside running it: a preview, another chance, a check against the receiver."""

from __future__ import annotations

from typing import Any

from nurt.adapters.delivery_rows import Wishes
from nurt.adapters.kafka_log import KafkaLog
from nurt.adapters.state_log import StateLog
from nurt.core.delivery_mapping import DestinationMapping
from nurt.core.delivery_notes import Message
from nurt.delivering import GROUP, KINDS, PROFILES, of_what, open_store, reader_of, rules_of, topic_of, wishes_of
from nurt.errors import ConfigurationError
from nurt.model.delivery import Write
from nurt.model.kept_profile import ERASED, KeptProfile
from nurt.model.keys import Keys
from nurt.operators.deliver import Deliverer
from nurt.ports import MessageLog
from nurt.settings import Settings
from nurt.wiring import open_redis

PREVIEW_MESSAGES_MAX = 100_000
READ_ROWS = 5_000


def preview(settings: Settings, mapping: DestinationMapping) -> tuple[list[Write], int, int]:
    """Read what waits, and say what would be written; nothing is committed, sent or changed.

    Returns: the writes, how many messages were read, and how many rows could not be mapped.
    """
    log = _waiting(settings, mapping)
    read_messages, wishes = reader_of(settings, mapping), wishes_of(settings, mapping)
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
    if mapping.kind not in KINDS:
        return [], read, 0
    to = KINDS[mapping.kind](mapping)
    store = open_store(settings, mapping.name)
    generation = (store.get("generation") or {"number": 0})["number"]
    deliverer = Deliverer(to, rules_of(settings, mapping, to, generation), store, wishes)
    try:
        some = list(messages.values())
        return deliverer.plan(some), read, len(wishes.of(some).failed)
    finally:
        deliverer.close()
        to.close()


def _waiting(settings: Settings, mapping: DestinationMapping) -> MessageLog:
    name, topic = mapping.name, topic_of(settings, mapping)
    if topic is None:
        return StateLog(open_redis(settings), Keys(settings.prefix, settings.shards), name, stop_at_end=True)
    assert settings.kafka is not None
    return KafkaLog(settings.kafka, [topic], f"{GROUP}-{settings.prefix}-{name}", stop_at_end=True)


def refusals_again(settings: Settings, mapping: DestinationMapping) -> int:
    """Map the profiles in a destination's quarantine anew and make them due; returns how many.

    Raises ConfigurationError for stock and orders, of which the state does not keep what was published.
    """
    if of_what(mapping) != PROFILES:
        raise ConfigurationError(
            f"trying again what {mapping.name} refused: {of_what(mapping)} are not kept as they were published; "
            "start it with --from-scratch, or wait for their next change"
        )
    store = open_store(settings, mapping.name)
    subjects = sorted({refusal.subject for refusal in store.refusals()})
    keys = Keys(settings.prefix, settings.shards)
    client: Any = open_redis(settings)
    records = store.load(subjects)
    messages = []
    for subject in subjects:
        kept = KeptProfile.decode(client.get(keys.of(b"f", [bytes.fromhex(subject)])[0]))
        if kept is not None:
            body = None if kept.state == ERASED else kept.body
            messages.append(Message(subject, records[subject].place, None, body))
    mapped = Wishes(mapping).of(messages)
    store.retry({wish.subject: wish for wish in mapped.wishes})
    return len(mapped.wishes)


def verify(settings: Settings, mapping: DestinationMapping) -> list[str]:
    """Compare a mapping with the receiver's description of itself."""
    if mapping.kind not in KINDS:
        return []
    to = KINDS[mapping.kind](mapping)
    try:
        return to.verify()
    finally:
        to.close()
