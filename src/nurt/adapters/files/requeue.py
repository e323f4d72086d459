"""Put messages from quarantine on the input again: into the archive that they came from.

They come back as new messages with their old bytes: the row's own position, not the offset, says how old they are. A
message whose connector gives no positions counts as new; look at such rows after a requeue.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.adapters.requeued import check_requeue, marked
from nurt.model.refusal import Refused


def requeue_to_archive(folders: Sequence[Path], batch: Sequence[Refused]) -> None:
    """Append messages to the archive that holds their partition (else to the last one); returns when durable.

    Raises ConfigurationError when another process writes that archive.
    """
    check_requeue(batch)
    left = list(batch)
    for folder in folders:
        with ArchiveWriter(folder) as writer:
            known = writer.next_offsets().keys()
            is_last = folder == folders[-1]
            ours = [refused for refused in left if is_last or (refused.topic, refused.partition) in known]
            for refused in ours:
                writer.write(
                    refused.topic,
                    refused.partition,
                    refused.key,
                    refused.value,
                    marked(refused),
                    refused.timestamp_ms,
                )
        taken = set(map(id, ours))
        left = [refused for refused in left if id(refused) not in taken]
