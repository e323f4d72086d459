"""A topic got more partitions: an event without position counts where its key hashes now, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nurt.adapters.files.archive_lines import ArchiveWriter
from nurt.app.running import run_here
from nurt.flows.profiles import profiles
from nurt.settings import load_settings
from nurt.translate import topic as translate
from tests.command_line import Ran, run_nurt
from tests.envelopes import Topic, _raw
from tests.flows.test_halted_source import emails
from tests.flows.test_topics_of_one_table import at
from tests.unit.test_murmur2 import plainly

PARTITIONS, FORMER = 3, 2


@pytest.fixture
def nurt_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return lambda *arguments: run_nurt(monkeypatch, capfd, *arguments)


class Grown:
    """A topic of 2 partitions that got a third; one row each moved, and stayed where it was."""

    def __init__(self) -> None:
        self.topic = Topic({"id": "int", "email": "string"}, name="s.t")
        homes = {number: self._homes(number) for number in range(1, 200)}
        self.moved = next(number for number, (now, former) in homes.items() if (now, former) == (2, 0))
        self.stayed = next(number for number, (now, former) in homes.items() if (now, former) == (0, 0))
        self.third = [number for number, (now, _) in homes.items() if now == 2 and number != self.moved][:9]
        self.lines: list[tuple[int, bytes | None, bytes | None]] = []

    def _homes(self, number: int) -> tuple[int, int]:
        hashed = plainly(self.topic.key_of({"id": number}))
        return hashed % PARTITIONS, hashed % FORMER

    def put(self, number: int, partition: int, name: str, lsn: int) -> None:
        one = self.topic.upsert(row={"id": number, "email": f"{name}@example.com"}, **at(lsn))
        self.lines.append((partition, self.topic.batch.keys[one], self.topic.batch.values[one]))

    def flat(self, number: int, partition: int, name: str) -> None:
        one = self.topic.flattened({"id": number, "email": f"{name}@example.com"})
        self.lines.append((partition, self.topic.batch.keys[one], self.topic.batch.values[one]))

    def tombstone(self, number: int, partition: int) -> None:
        self.lines.append((partition, self.topic.key_of({"id": number}), None))

    def others(self) -> None:
        """Write rows of other keys, which show how keys are spread."""
        for number in self.third:
            self.put(number, 2, f"other{number}", 5000 + number)

    def names(self) -> set[str]:
        return {f"other{number}" for number in self.third}


def run(home: Path, grown: Grown, redis_url: str, turned: bool = False) -> set[str]:
    """Read the topic with its partitions in turn, each in its order."""
    folder = home / "archive"
    folder.mkdir()
    schemas = {str(one): _raw(schema) for one, schema in grown.topic.schemas.items()}
    (folder / "schemas.json").write_text(json.dumps(schemas))
    with ArchiveWriter(folder) as writer:
        for partition, key, value in sorted(grown.lines, key=lambda line: -line[0] if turned else line[0]):
            writer.write("s.t", partition, key, value, None, 1_700_000_000_000)
    (home / "mapping.yaml").write_text(
        "systems:\n  s: {}\ntopics:\n"
        "  - {match: 's\\.t', system: s, entity: customer, key: id, fields: {email: email}}\n"
    )
    (home / "nurt.yaml").write_text(
        f"mapping: mapping.yaml\ndata: data\nsecret: '{'00' * 16}'\n"
        f"state: {{url: '{redis_url}', prefix: {home.name}}}\n"
        "input: {archives: [archive], rows_max: 2}\noutput: {duckdb: profiles.duckdb}\n"
    )
    run_here(profiles, load_settings(home / "nurt.yaml"))
    return {email.partition("@")[0] for email in emails(home)}


def untold(nurt_command: Callable[..., Ran], home: Path) -> int:
    counts = json.loads(nurt_command("stats", "--json", "--config", str(home / "nurt.yaml")).out)["counts"]
    return sum(one["messages"] for one in counts if one["outcome"] == "untold")


both_ways = pytest.mark.parametrize("turned", [False, True], ids=["former_first", "now_first"])


@both_ways
def test_a_lone_tombstone_of_a_former_place_ends_nothing(
    tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran], turned: bool
) -> None:
    grown = Grown()
    grown.tombstone(grown.moved, 0)
    grown.put(grown.moved, 2, "again", 900)
    grown.put(grown.stayed, 0, "stayed", 150)
    grown.tombstone(grown.stayed, 0)
    grown.others()
    assert run(tmp_path, grown, redis_url, turned) == {"again", *grown.names()}
    assert untold(nurt_command, tmp_path) == 0, "the key tells"


@both_ways
@pytest.mark.parametrize("told", [True, False], ids=["places", "rule_off"])
def test_a_lone_tombstone_where_its_key_hashes_now_ends_the_row(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, turned: bool, told: bool
) -> None:
    if not told:
        monkeypatch.setattr(translate, "note_places", lambda *_: None)
    grown = Grown()
    grown.put(grown.moved, 0, "before", 900)
    grown.tombstone(grown.moved, 2)
    grown.others()
    left = run(tmp_path, grown, redis_url, turned)
    assert left - {"before"} == grown.names()
    assert ("before" in left) == (turned and not told), "without the rule the order of reading decides"


@both_ways
def test_where_keys_lie_elsewhere_a_lone_tombstone_ends_no_row_of_another_partition_and_is_counted(
    tmp_path: Path, redis_url: str, nurt_command: Callable[..., Ran], turned: bool
) -> None:
    grown = Grown()
    grown.tombstone(1, 0)
    grown.put(1, 1, "again", 900)
    for number in range(2, 20):
        grown.put(number, number % 2, f"c{number}", number)
    assert "again" in run(tmp_path, grown, redis_url, turned)
    assert untold(nurt_command, tmp_path) == 1


@both_ways
def test_rows_without_positions_count_where_their_key_hashes_now(tmp_path: Path, redis_url: str, turned: bool) -> None:
    grown = Grown()
    grown.flat(grown.moved, 0, "before")
    grown.flat(grown.moved, 2, "now")
    for number in grown.third:
        grown.flat(number, 2, f"other{number}")
    assert run(tmp_path, grown, redis_url, turned) == {"now", *grown.names()}


def test_a_tombstone_in_a_topic_of_one_partition_notes_nothing(tmp_path: Path, redis_url: str) -> None:
    grown = Grown()
    grown.put(grown.moved, 0, "before", 900)
    grown.tombstone(grown.moved, 0)
    grown.put(grown.stayed, 0, "stayed", 901)
    assert run(tmp_path, grown, redis_url) == {"stayed"}
