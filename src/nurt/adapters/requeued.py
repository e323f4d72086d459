"""What a message from quarantine becomes on the input again; packages of adapters choose the input."""

from __future__ import annotations

from collections.abc import Sequence

from nurt.errors import ConfigurationError
from nurt.model.raw import DAMAGED_TOPIC, REQUEUED_HEADER, Headers
from nurt.model.refusal import Refused


def marked(refused: Refused) -> Headers:
    """Return the headers of a message that is put on the input again: the first names its former place."""
    place = f"{refused.topic}:{refused.partition}:{refused.offset}".encode()
    return [(REQUEUED_HEADER, place), *(header for header in refused.headers or [] if header[0] != REQUEUED_HEADER)]


def can_requeue(refused: Refused) -> bool:
    """Say whether an entry is a message; a damaged place of an archive is not."""
    return refused.topic != DAMAGED_TOPIC


def check_requeue(batch: Sequence[Refused]) -> None:
    """Raise ConfigurationError when a message of these cannot be put on the input again."""
    for refused in batch:
        if not can_requeue(refused):
            raise ConfigurationError(
                f"requeuing {refused.topic}:{refused.partition}:{refused.offset}: it is no message but a damaged place "
                "of an archive (its header nurt-file names it); mend the file, and rebuild with `nurt run --rebuild`"
            )
