"""The whole flow: topics or the state itself, commits, back-fills, and a memory that came back older."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.adapters.kafka.profile_sink import KafkaProfileSink
from nurt.adapters.kafka.settings import KafkaSettings
from nurt.adapters.redis.client import open_redis
from nurt.app.delivery import Delivery, open_store, run_delivery
from nurt.app.delivery_config import destination_named
from nurt.app.delivery_tools import SweepResult, preview, retry_refusals, sweep
from nurt.contracts.schemas import PROFILE_KEY, PROFILE_VALUE, load
from nurt.delivery.journal import JournalEntry, Parked
from nurt.delivery.order_links import PARENT_MISSING, WAITS_MAX
from nurt.errors import ConfigurationError
from nurt.fake.webhook import FakeWebhook
from nurt.flows.deliver import deliver
from nurt.model.delivery import DesiredState, Lifecycle
from nurt.model.fence import FencingToken, stamp
from nurt.model.keys import Keys
from nurt.model.published import PublishedBatch
from nurt.model.raw import RawBatch
from nurt.model.stored_profile import ERASED, LIVE, KeptProfile
from nurt.runtime.deliver_source import DeliveryShare, DeliverySource, DeliverySourceOptions
from nurt.settings import Settings
from tests.contracts.published import encode, id_of, profile
from tests.delivery.scene import chosen, key_of

DELIVERY = """
destinations:
  hook:
    kind: webhook
    url: {url}
    objects:
      contact: {{key: id, fields: {{email: email, refuse_me: loyalty_card}}}}
"""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, fake: FakeWebhook) -> Settings:
    (tmp_path / "delivery.yaml").write_text(DELIVERY.format(url=fake.url))
    return Settings(
        mapping=tmp_path / "mapping.yaml",
        data=tmp_path / "data",
        redis_url=redis_url,
        prefix=f"t{uuid.uuid4().hex[:8]}",
        shards=4,
        destinations=tmp_path / "delivery.yaml",
    )


class Topic:
    """Profiles published to a real topic."""

    def __init__(self, kafka: str, settings: Settings) -> None:
        assert settings.topic is not None
        registry = FolderRegistry(settings.data / "schemas", ())
        self._sink = KafkaProfileSink(
            KafkaSettings(kafka),
            registry,
            load(PROFILE_VALUE),
            load(PROFILE_KEY),
            deployment=settings.prefix,
            topic=settings.topic,
            partitions=3,
        )

    def publish(self, *told: tuple[int, int, str | None]) -> None:
        """Publish (number, revision, e-mail; None: a tombstone)."""
        bodies = [None if mail is None else encode(profile(n, at, email=chosen(mail))) for n, at, mail in told]
        self._sink.write(PublishedBatch([id_of(n) for n, _, _ in told], [at for _, at, _ in told], list(bodies)))


class State:
    """Profiles written into the state, as the profiles stage does."""

    def __init__(self, settings: Settings) -> None:
        self._client = open_redis(settings.redis_url)
        self._keys = Keys(settings.prefix, settings.shards)

    def publish(self, *told: tuple[int, int, str | None]) -> None:
        for number, sequence, mail in told:
            revision = stamp(1, sequence)
            body = b"" if mail is None else encode(profile(number, revision, email=chosen(mail)))
            kept = KeptProfile(revision, -1, ERASED if mail is None else LIVE, body)
            place = self._keys.place_of(id_of(number))
            self._client.set(self._keys.of(b"f", [id_of(number)])[0], kept.encode())
            self._client.set(place + b"h", FencingToken(1, 1, sequence).encode())

    def forget(self, number: int) -> None:
        """Lose a profile without a word."""
        self._client.delete(self._keys.of(b"f", [id_of(number)])[0])


Publish = Callable[..., None]


@pytest.fixture(params=["state", "kafka"])
def deployed(request: pytest.FixtureRequest, settings: Settings) -> tuple[Settings, Publish]:
    if request.param == "state":
        return settings, State(settings).publish
    from dataclasses import replace

    kafka = request.getfixturevalue("kafka")
    settings = replace(settings, kafka=KafkaSettings(kafka), topic=f"profiles-{uuid.uuid4().hex[:8]}")
    return settings, Topic(kafka, settings).publish


def _run(settings: Settings, from_scratch: bool = False) -> None:
    mapping = destination_named(settings, "hook")
    delivery = Delivery(settings, mapping, threading.Event(), until_end=True, from_scratch=from_scratch)
    run_delivery(deliver, delivery)


def test_a_run_goes_on_where_the_last_one_committed(deployed: tuple[Settings, Publish], fake: FakeWebhook) -> None:
    settings, publish = deployed
    publish(*((n, 1, f"{n}@x.pl") for n in range(20)))
    assert len(preview(settings, destination_named(settings, "hook"))[0]) == 20
    _run(settings)
    assert len(fake.rows) == 20
    calls = len(fake.calls)
    _run(settings)
    assert len(fake.calls) == calls
    publish((3, 2, "new@x.pl"), (4, 2, None))
    _run(settings)
    assert fake.rows["contact", key_of(3)]["email"] == "new@x.pl" and len(fake.rows) == 19
    assert sum(fake.writes.values()) == 22


def test_from_scratch_tells_everything_again_and_then_no_more(
    deployed: tuple[Settings, Publish], fake: FakeWebhook
) -> None:
    settings, publish = deployed
    publish(*((n, 1, f"{n}@x.pl") for n in range(20)))
    _run(settings)
    fake.rows.clear()
    publish((3, 2, "new@x.pl"))
    _run(settings, from_scratch=True)
    assert len(fake.rows) == 20 and fake.rows["contact", key_of(3)]["email"] == "new@x.pl"
    calls = len(fake.calls)
    _run(settings)
    assert len(fake.calls) == calls


def test_live_changes_overtake_a_back_fill_and_it_does_not_undo_them(
    settings: Settings, fake: FakeWebhook, kafka: str
) -> None:
    from dataclasses import replace

    settings = replace(settings, kafka=KafkaSettings(kafka), topic=f"profiles-{uuid.uuid4().hex[:8]}")
    settings.destinations.write_text(DELIVERY.format(url=fake.url) + "    rows_max: 10\n")
    topic = Topic(kafka, settings)
    topic.publish(*((n, 1, f"{n}@x.pl") for n in range(200)))
    _run(settings)
    fake.faults.latency_s, before = 0.1, dict(fake.writes)
    running_ = threading.Thread(target=_run, args=(settings, True))
    running_.start()
    while sum(fake.writes.values()) < 230:
        time.sleep(0.02)
    topic.publish((199, 2, "live@x.pl"))
    while fake.rows["contact", key_of(199)]["email"] != "live@x.pl":
        time.sleep(0.02)
    told_again = sum(fake.writes.values()) - sum(before.values())
    assert told_again < 150, "the change did not wait for the back-fill"
    running_.join(60)
    assert fake.rows["contact", key_of(199)]["email"] == "live@x.pl"
    assert all(fake.writes[key] > times for key, times in before.items()), "everything was told again"


def test_a_change_waits_for_others_but_not_for_long() -> None:
    told: list[RawBatch] = []

    class Log:
        def poll(self, rows_max: int) -> list[RawBatch]:
            some, told[:] = told[:], []
            return some

        def offsets(self) -> dict[tuple[str, int], int]:
            return {}

        def exhausted(self) -> bool:
            return False

    def change(rows: int) -> RawBatch:
        return RawBatch("t", [0] * rows, [0] * rows, [0] * rows, [None] * rows, [None] * rows, [None] * rows)

    share = DeliveryShare(Log(), None, lambda *_: None, lambda: None)  # type: ignore[arg-type]
    part = DeliverySource(DeliverySourceOptions(1, lambda _: share, 10, 0.3, lambda: False)).build_part(
        "", "0000", None
    )

    def rows() -> list[int]:
        return [sum(map(len, work.batches)) for work in part.next_batch() if work.batches]

    told.append(change(1))
    assert rows() == []
    told.append(change(2))
    assert rows() == [], "it waits for others"
    time.sleep(0.35)
    assert rows() == [3]
    told.append(change(10))
    assert rows() == [10], "a full batch waits for nobody"


def test_a_memory_that_came_back_older_is_noticed_and_everything_is_told_again(
    settings: Settings, fake: FakeWebhook, kafka: str
) -> None:
    from dataclasses import replace

    settings = replace(settings, kafka=KafkaSettings(kafka), topic=f"profiles-{uuid.uuid4().hex[:8]}")
    topic = Topic(kafka, settings)
    topic.publish((1, 1, "a@x.pl"))
    _run(settings)
    store = open_store(settings, "hook")
    client = Redis.from_url(settings.redis_url)
    older = {key: client.dump(key) for key in client.scan_iter(f"{settings.prefix}:d:*")}
    topic.publish((1, 2, "b@x.pl"))
    _run(settings)
    client.delete(*client.scan_iter(f"{settings.prefix}:d:*"))
    for key, value in older.items():
        client.restore(key, 0, value)
    topic.publish((1, 3, "a@x.pl"))
    _run(settings)
    assert fake.rows["contact", key_of(1)]["email"] == "a@x.pl"
    assert store.get("generation") == {"number": 1, "done": True}


def test_what_was_refused_gets_another_chance(settings: Settings, fake: FakeWebhook) -> None:
    state = State(settings)
    state.publish((1, 1, "a@x.pl"))
    fake._refuse_field = "email"
    _run(settings)
    assert len(open_store(settings, "hook").refusals()) == 1 and not fake.rows
    fake._refuse_field = ""
    _run(settings)
    assert not fake.rows
    assert retry_refusals(settings, destination_named(settings, "hook")) == 1
    _run(settings)
    assert len(fake.rows) == 1 and not open_store(settings, "hook").refusals()


def test_what_a_back_fill_did_not_tell_goes_on_the_operators_word(settings: Settings, fake: FakeWebhook) -> None:
    state, mapping = State(settings), destination_named(settings, "hook")
    state.publish((1, 1, "1@x.pl"), (2, 1, "2@x.pl"), (3, 1, "3@x.pl"))
    _run(settings)
    with pytest.raises(ConfigurationError, match="no back-fill yet"):
        sweep(settings, mapping, dry_run=True)
    for number in (2, 3):  # nobody says that they are no more
        state.forget(number)
    _run(settings, from_scratch=True)
    assert sweep(settings, mapping, dry_run=True) == SweepResult(2, {"contact": 2})
    _run(settings)
    assert len(fake.rows) == 3, "only shown"
    assert sweep(settings, mapping, dry_run=False).subjects == 2
    state.publish((3, 2, "back@x.pl"))
    _run(settings)
    assert {row["email"] for row in fake.rows.values()} == {"1@x.pl", "back@x.pl"}, "who was told meanwhile stays"
    assert sweep(settings, mapping, dry_run=True).subjects == 0


def test_a_store_of_whole_profiles_is_swept_too(settings: Settings, tmp_path: Path) -> None:
    from deltalake import DeltaTable

    text = f"destinations:\n  hook: {{kind: delta, path: '{tmp_path}/lake', linger_ms: 50}}\n"
    settings.destinations.write_text(text)
    state, mapping = State(settings), destination_named(settings, "hook")
    state.publish((1, 1, "a@x.pl"), (2, 1, "b@x.pl"))
    _run(settings)
    state.forget(2)
    _run(settings, from_scratch=True)
    assert sweep(settings, mapping, dry_run=False) == SweepResult(1, {"profiles": 1})
    _run(settings)
    rows = DeltaTable(str(tmp_path / "lake")).to_pyarrow_table(columns=["id"]).to_pylist()
    assert rows == [{"id": key_of(1)}] and sweep(settings, mapping, dry_run=True).subjects == 0


def test_a_store_of_whole_profiles_gives_another_chance_too(settings: Settings, postgres: Any) -> None:
    import psycopg

    url = f"postgresql://{postgres.user}:{postgres.password}@127.0.0.1:{postgres.port}/{postgres.database}"
    own = f"s{uuid.uuid4().hex[:8]}"
    settings.destinations.write_text(f"destinations: {{hook: {{kind: postgres, url: '{url}', schema: {own}}}}}")
    state = State(settings)
    state.publish((1, 1, "a@x.pl"))
    _run(settings)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {own}.profiles ADD CONSTRAINT picky CHECK (email <> 'bad')".encode())
        state.publish((1, 2, "b@x.pl"), (2, 3, "bad"), (3, 4, "c@x.pl"))
        _run(settings)
        (refusal,) = open_store(settings, "hook").refusals()
        assert (refusal.subject, refusal.code) == (key_of(2), "CheckViolation")
        connection.execute(f"ALTER TABLE {own}.profiles DROP CONSTRAINT picky".encode())
        assert retry_refusals(settings, destination_named(settings, "hook")) == 1
        _run(settings)
        rows = connection.execute(f"SELECT email FROM {own}.profiles ORDER BY email".encode()).fetchall()
    assert rows == [("b@x.pl",), ("bad",), ("c@x.pl",)] and not open_store(settings, "hook").refusals()


def test_a_store_of_whole_profiles_is_kept_by_the_same_flow(settings: Settings, tmp_path: Path) -> None:
    from deltalake import DeltaTable

    text = f"destinations:\n  hook: {{kind: delta, path: '{tmp_path}/lake', linger_ms: 50}}\n"
    settings.destinations.write_text(text)
    state = State(settings)
    state.publish((1, 1, "a@x.pl"), (2, 1, "b@x.pl"))
    _run(settings)
    state.publish((1, 2, "new@x.pl"), (2, 3, None))
    _run(settings)
    rows = DeltaTable(str(tmp_path / "lake")).to_pyarrow_table(columns=["id", "email"]).to_pylist()
    assert rows == [{"id": key_of(1), "email": "new@x.pl"}]
    version = DeltaTable(str(tmp_path / "lake")).version()
    _run(settings)
    assert DeltaTable(str(tmp_path / "lake")).version() == version, "what was told is not told again"
    _run(settings, from_scratch=True)
    assert DeltaTable(str(tmp_path / "lake")).version() > version
    assert preview(settings, destination_named(settings, "hook")) == ([], 0, 0)


def test_a_run_that_ends_by_itself_waits_for_what_can_be_settled_soon(settings: Settings) -> None:
    store = open_store(settings, "hook")
    store.begin()
    desired = DesiredState(key_of(1), None, (0, 0), Lifecycle.LIVE, of="orders")

    def parked(times: int, code: str, seconds: float) -> bool:
        store.write(JournalEntry(parked={desired.subject: (Parked(desired, times, code), seconds)}))
        return store.is_left()

    assert not store.is_left()
    assert parked(1, PARENT_MISSING, 60.0), "its profile may be there soon"
    assert not parked(WAITS_MAX, PARENT_MISSING, 60.0), "it was told without its profile, and looks again now and then"
    assert not parked(1, "500", 60.0), "whatever the receiver puts off is the next run's"
    assert parked(1, "500", -1.0), "what is due is settled first"
