from __future__ import annotations

import base64
import json
import os
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nurt.adapters.files.archive import ArchiveLog, ArchiveWriter
from nurt.errors import ConfigurationError, OffsetLost
from nurt.model.log import Committed
from nurt.model.raw import DAMAGED_TOPIC, RawBatch

CORPUS = Path(__file__).parents[1] / "corpus"
FOLDERS = [CORPUS / name for name in ("postgres", "mariadb", "postgres_outbox_router", "sqlserver_synthetic")]

Message = tuple[str, int, int, int, bytes | None, bytes | None, Any]


def messages(batch: RawBatch) -> Iterator[Message]:
    for index in range(len(batch)):
        yield (
            batch.topic,
            batch.partitions[index],
            batch.offsets[index],
            batch.timestamps_ms[index],
            batch.keys[index],
            batch.values[index],
            batch.headers[index],
        )


def drain(log: ArchiveLog, rows_max: int = 7) -> list[Message]:
    read: list[Message] = []
    while True:
        polled = log.poll(rows_max)
        assert sum(len(batch) for batch in polled) <= rows_max
        assert len({batch.topic for batch in polled}) == len(polled)
        read += [message for batch in polled for message in messages(batch)]
        if not polled and log.exhausted():
            return read


def all_of(folders: list[Path], **options: Any) -> list[Message]:
    log = ArchiveLog(folders, **options)
    log.start(None)
    return drain(log)


def line(topic: str, offset: int, value: bytes | None = b"v", partition: int = 0) -> str:
    text = None if value is None else base64.b64encode(value).decode()
    return json.dumps({"topic": topic, "partition": partition, "offset": offset, "value_b64": text}) + "\n"


def archive(folder: Path, *lines: str, name: str = "messages.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(lines))
    return folder


def plainly(folders: list[Path]) -> Counter[tuple[str, bytes | None, bytes | None]]:
    def plain(text: str | None) -> bytes | None:
        return None if text is None else base64.b64decode(text)

    return Counter(
        (entry["topic"], plain(entry["key_b64"]), plain(entry["value_b64"]))
        for folder in folders
        for entry in map(json.loads, (folder / "messages.jsonl").read_text().splitlines())
    )


@pytest.mark.parametrize("rows_max", [1, 7, 10_000])
def test_every_message_of_the_archives_is_read_once_with_its_own_bytes(rows_max: int) -> None:
    log = ArchiveLog(FOLDERS)
    log.start(None)
    read = drain(log, rows_max)
    assert Counter((topic, key, value) for topic, _, _, _, key, value, _ in read) == plainly(FOLDERS)


def test_messages_of_a_partition_come_in_offset_order_with_time_and_headers() -> None:
    read = all_of([CORPUS / "postgres_outbox_router"])
    outbox = [message for message in read if message[0] == "outbox.event.Customer"]
    assert [message[2] for message in outbox] == sorted({message[2] for message in outbox})
    assert outbox[0][3] == 1795307189609
    assert ("eventType", b"CustomerMerged") in outbox[0][6]


def test_lines_without_offsets_are_numbered_from_nought() -> None:
    assert [message[2] for message in all_of([CORPUS / "sqlserver_synthetic"])] == [0, 1, 2, 3, 4]


def test_topics_are_chosen_by_name_and_by_pattern() -> None:
    read = all_of(FOLDERS, topics=["pg.shop.customers", r"^my\.magento\.sales"])
    assert {message[0] for message in read} == {"pg.shop.customers", "my.magento.sales_order"}


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_workers_read_disjoint_shares_that_make_the_whole(workers: int) -> None:
    shares = [set(map(repr, all_of(FOLDERS, worker=worker, workers=workers))) for worker in range(workers)]
    assert sum(map(len, shares)) == len(set().union(*shares)) == sum(plainly(FOLDERS).values())


def test_the_partitions_of_one_topic_are_spread_evenly(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", *(line("t", 0, partition=partition) for partition in range(8)))
    assert [len(all_of([folder], worker=worker, workers=4)) for worker in range(4)] == [2, 2, 2, 2]


def test_a_restart_goes_on_where_the_commit_was(tmp_path: Path) -> None:
    whole = all_of(FOLDERS)
    log = ArchiveLog(FOLDERS, tmp_path)
    assert log.committed() is None
    log.start(None)
    before = [message for _ in range(9) for batch in log.poll(20) for message in messages(batch)]
    log.commit(Committed(log.offsets(), 3, 14))
    log.poll(20)  # polled, never committed: it must come again
    log.close()

    again = ArchiveLog(FOLDERS, tmp_path)
    committed = again.committed()
    assert committed is not None
    assert (committed.run, committed.epoch) == (3, 14)
    again.start(committed.offsets)
    after = drain(again)
    assert Counter(map(repr, before + after)) == Counter(map(repr, whole))


def test_another_number_of_workers_goes_on_from_the_same_commits(tmp_path: Path) -> None:
    whole = all_of(FOLDERS)
    read: list[Message] = []
    for worker in range(2):
        log = ArchiveLog(FOLDERS, tmp_path, worker=worker, workers=2)
        log.start(None)
        read += [message for _ in range(5) for batch in log.poll(15) for message in messages(batch)]
        log.commit(Committed(log.offsets(), 1, 5 + worker))
    for worker in range(3):
        log = ArchiveLog(FOLDERS, tmp_path, worker=worker, workers=3)
        committed = log.committed()
        log.start(committed.offsets if committed else None)
        read += drain(log)
    assert Counter(map(repr, read)) == Counter(map(repr, whole))


def test_offsets_name_every_partition_that_was_met(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", line("t", 4), line("t", 9), line("u", 0))
    log = ArchiveLog([folder])
    log.start({("t", 0): 5})
    drain(log)
    assert log.offsets() == {("t", 0): 10, ("u", 0): 1}


def test_lines_that_are_no_messages_are_handed_on_and_harm_no_neighbour(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", line("t", 0), "{torn\n", "\n", line("t", 1), '{"topic": 7}\n', line("t", 2))
    odd = [
        '{"topic": "t", "offset": 3, "value_b64": "!"}\n',
        '{"topic": "t", "offset": -1, "value_b64": null}\n',
        '{"topic": "t", "offset": 9223372036854775807, "value_b64": null}\n',
        '{"topic": "t", "offset": 18446744073709551616, "value_b64": null}\n',
        '{"topic": "t", "partition": 2147483648, "value_b64": null}\n',
        '{"topic": "t", "partition": 2147483647, "value_b64": null}\n',
        '{"topic": "t", "timestamp": -9223372036854775809, "value_b64": null}\n',
        '{"topic": "\\ud800", "value_b64": null}\n',
        '{"topic": "t", "value_b64": null, "headers_b64": [["\\udfff", null]]}\n',
        '{"topic": "t", "value_b64": "\\ud800"}\n',
        "[]",
    ]
    with (folder / "messages.jsonl").open("a") as file:
        file.writelines(odd)
    read = all_of([folder])
    assert [message[2] for message in read if message[0] == "t"] == [0, 1, 2]
    kept = [message for message in read if message[0] == DAMAGED_TOPIC]
    assert [message[5] for message in kept] == [b"{torn", b'{"topic": 7}', *(text.strip().encode() for text in odd)]
    content = (folder / "messages.jsonl").read_bytes()
    for message in kept:
        assert content[message[2] :].startswith(message[5] or b"-")
        assert ("nurt-file", str(folder / "messages.jsonl").encode()) in message[6]


def test_a_damaged_line_is_not_handed_on_again_after_its_commit(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", line("t", 0), "{torn\n", line("t", 1), "{again\n")
    log = ArchiveLog([folder], tmp_path)
    log.start(None)
    log.poll(3)
    log.commit(Committed(log.offsets(), 1, 1))
    log.start((log.committed() or Committed({}, 0, 0)).offsets)
    assert [message[5] for message in drain(log)] == [b"{again"]


def test_a_line_that_was_mended_after_its_commit_is_no_lost_offset(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", "{torn\n", line("t", 0), "{again\n")
    log = ArchiveLog([folder])
    log.start(None)
    drain(log)
    offsets = log.offsets()
    archive(folder, "{torn\n", line("t", 0), line("t", 1))
    log.start(offsets)
    assert [message[2] for message in drain(log)] == [1]


def test_a_damaged_line_goes_to_one_worker(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", line("t", 0), "{torn\n", line("t", 1))
    shares = [all_of([folder], worker=worker, workers=3) for worker in range(3)]
    assert sum(message[0] == DAMAGED_TOPIC for share in shares for message in share) == 1


def test_a_log_that_was_not_started_is_not_exhausted(tmp_path: Path) -> None:
    log = ArchiveLog([archive(tmp_path / "a", line("t", 0))])
    assert not log.exhausted()
    with pytest.raises(ConfigurationError, match="no folder"):
        ArchiveLog([])


def test_numbers_that_json_does_not_know_in_the_decoded_part_are_no_damage(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", '{"topic": "t", "offset": 0, "value_b64": "dg==", "value_decoded": {"x": NaN}}\n')
    assert [message[5] for message in all_of([folder])] == [b"v"]


def test_a_message_behind_its_partition_is_handed_on_as_damaged_not_skipped(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", *(line("t", offset, b"first") for offset in (0, 1, 2)), line("t", 1, b"second"))
    log = ArchiveLog([folder])
    for begin in (None, {("t", 0): 2}):  # a restart sees the same
        log.start(begin)
        ((_, _, _, _, _, value, headers),) = [message for message in drain(log) if message[0] == DAMAGED_TOPIC]
        assert value == b"second"
        assert ("nurt-topic", b"t") in headers


def test_one_partition_in_two_folders_is_refused(tmp_path: Path) -> None:
    folders = [archive(tmp_path / name, line("t", 0)) for name in "ab"]
    log = ArchiveLog(folders)
    log.start(None)
    with pytest.raises(ConfigurationError, match="topic t partition 0"):
        log.poll(10)


def test_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", line("t", 1), name="messages-2.jsonl")
    archive(folder, line("t", 0), name="messages-1.jsonl")
    assert [message[2] for message in all_of([folder])] == [0, 1]


def test_an_archive_that_ends_before_the_commit_is_refused(tmp_path: Path) -> None:
    log = ArchiveLog([archive(tmp_path / "a", line("t", 0), line("u", 0))])
    log.start({("t", 0): 7})
    with pytest.raises(OffsetLost, match="topic t partition 0 at offset 7"):
        drain(log)


def test_a_folder_that_is_not_there_or_empty_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        ArchiveLog([tmp_path / "absent"])
    with pytest.raises(ConfigurationError, match="neither"):
        ArchiveLog([tmp_path])


@pytest.mark.parametrize("name", ["messages-2.jsonl", "more.avro"])
@pytest.mark.parametrize("kind", ["dangling", "loop", "pipe", "device", "folder"])
def test_what_is_no_file_is_refused_by_its_name_before_anything_is_read(tmp_path: Path, name: str, kind: str) -> None:
    odd = archive(tmp_path / "a", line("t", 0)) / name
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    else:
        odd.symlink_to({"dangling": "absent", "loop": name, "device": "/dev/zero"}[kind])
    with pytest.raises(ConfigurationError, match=f"reading archive .*{name}"):
        ArchiveLog([tmp_path / "a"])


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    archive(tmp_path / "b", line("t", 0), name="kept.jsonl")
    (tmp_path / "messages.jsonl").symlink_to(tmp_path / "b" / "kept.jsonl")
    assert len(all_of([tmp_path])) == 1


def test_a_damaged_line_of_a_file_whose_name_is_no_text_is_handed_on(tmp_path: Path) -> None:
    archive(tmp_path, "{torn\n", name=os.fsdecode(b"messages\xff.jsonl"))
    ((topic, _, _, _, _, value, headers),) = all_of([tmp_path])
    assert (topic, value) == (DAMAGED_TOPIC, b"{torn")
    assert headers == [("nurt-file", bytes(tmp_path) + b"/messages\xff.jsonl")]


def test_following_reads_what_is_appended_and_waits_for_whole_lines(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", line("t", 0), line("t", 1)[:-9])
    log = ArchiveLog([folder], follow=True)
    log.start(None)

    def offsets() -> list[int]:
        return [message[2] for batch in log.poll(10) for message in messages(batch)]

    assert offsets() == [0]
    assert offsets() == []
    assert not log.exhausted()
    with (folder / "messages.jsonl").open("a") as file:
        file.write(line("t", 1)[-9:])
    assert offsets() == [1]
    archive(folder, line("t", 2), name="messages.z.jsonl")
    assert offsets() == [2]


def test_following_a_file_that_became_shorter_is_refused(tmp_path: Path) -> None:
    folder = archive(tmp_path / "a", line("t", 0), line("t", 1))
    log = ArchiveLog([folder], follow=True)
    log.start(None)
    log.poll(10)
    os.truncate(folder / "messages.jsonl", 10)
    with pytest.raises(OffsetLost, match="shorter"):
        log.poll(10)


def test_the_lag_falls_to_nothing() -> None:
    log = ArchiveLog(FOLDERS)
    log.start(None)
    lags = []
    while log.poll(50):
        lags.append(log.lag())
    assert lags[0] > 100
    assert log.lag() == 0


def test_memory_is_bounded_by_what_one_poll_returns(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        for _ in range(20_000):
            writer.write("t", 0, None, b"x" * 1_000)
    log = ArchiveLog([tmp_path])
    tracemalloc.start()
    try:
        log.start({("t", 0): 19_000})  # passing over what was done must not pile up either
        assert len(drain(log, 200)) == 1_000
        log.start(None)
        while not log.exhausted():
            log.poll(200)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 << 20


def test_what_is_written_is_read_back_whole(tmp_path: Path) -> None:
    written: list[Message] = [
        ("t", 0, 0, 5, b"k", b"\0\xff", [("h", b"x"), ("n", None)]),
        ("t", 1, 0, 6, None, None, None),
        ("t", 0, 1, 7, b"", b"", None),
    ]
    with ArchiveWriter(tmp_path) as writer:
        for topic, partition, offset, timestamp_ms, key, value, headers in written:
            assert writer.write(topic, partition, key, value, headers, timestamp_ms) == offset
    assert all_of([tmp_path]) == written


def test_a_writer_numbers_on_where_the_last_one_ended(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        writer.write("t", 0, None, b"a")
    with ArchiveWriter(tmp_path) as writer:
        assert writer.write("t", 0, None, b"b") == 1
        assert writer.write("t", 1, None, b"b") == 0


def test_a_recording_keeps_its_offsets_and_is_refused_twice(tmp_path: Path) -> None:
    batch = RawBatch("t", [0, 1, 0], [5, 0, 9], [1, 1, 1], [None] * 3, [b"a", b"b", b"c"], [None] * 3)
    with ArchiveWriter(tmp_path) as writer:
        writer.write_batch(batch)
        with pytest.raises(ValueError, match="offset 5 is there already"):
            writer.write_batch(batch)
    assert [message[:3] for message in all_of([tmp_path])] == [("t", 0, 5), ("t", 1, 0), ("t", 0, 9)]


def test_a_line_torn_by_a_crash_does_not_swallow_the_next_message(tmp_path: Path) -> None:
    archive(tmp_path, line("t", 0), line("t", 1)[:20])
    with ArchiveWriter(tmp_path) as writer:
        writer.write("t", 0, None, b"next")
    assert {(message[0], message[5]) for message in all_of([tmp_path])} == {
        ("t", b"v"),
        (DAMAGED_TOPIC, line("t", 1)[:20].encode()),
        ("t", b"next"),
    }


def test_a_second_writer_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path), pytest.raises(ConfigurationError, match="another process"):
        ArchiveWriter(tmp_path)
    ArchiveWriter(tmp_path).close()


def test_what_was_flushed_is_there_for_others(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path)
    writer.write("t", 0, None, b"a")
    writer.flush()
    assert len(all_of([tmp_path])) == 1
    writer.close()
