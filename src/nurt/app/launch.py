"""Begin a run, once for all its processes: its number, where it begins, and unreconciled publications."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from nurt.adapters.analytics.duckdb_reading import published_in_duckdb
from nurt.adapters.kafka.published_back import published_on_topic
from nurt.adapters.redis.client import Redis, open_redis
from nurt.adapters.redis.errors import naming_failures
from nurt.adapters.redis.layouts import agree
from nurt.adapters.redis.outage import patiently
from nurt.adapters.redis.store import claim, forget_counts, read_fences
from nurt.app.opening import commits_of, fold_context, open_control_log, open_registry
from nurt.columnar.ids import Ids
from nurt.contracts.profile_reader import read_profile
from nurt.control.launch import (
    Deployment,
    LaunchDecision,
    begin_record,
    check_deployment,
    decide,
    earlier_workers,
    run_number,
)
from nurt.control.reconcile import UNRECONCILED, DirtyKey, encode_unreconciled, find_unreconciled, is_behind
from nurt.control.source_records import check_halts
from nurt.mapping.load import read_mapping
from nurt.model.keys import Keys
from nurt.model.published import PublishedHeads
from nurt.model.stored_profile import KeptProfile
from nurt.settings import Settings
from nurt_client.ids import fingerprint
from nurt_client.keys import config_text

START_AWAY_MAX_S = 30.0
"""How long a start waits for Redis: a supervisor may restart nurt faster than Redis restarts or fails over."""

TAIL_ROWS = 10_000
"""How many messages at the end of each partition of the profile topic a start reads."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Launched:
    """Run that may begin: its number, where it begins, and the largest number of workers of earlier runs."""

    run: int
    decision: LaunchDecision
    fence_workers: int


def launch(settings: Settings, rebuild: bool = False) -> Launched:
    """Begin a run, once for all its processes: take a number, decide where to begin, claim the state.

    Waits while Redis is away for a moment. Raises Fenced when a later run holds the state, ConfigurationError when the
    state was written under other settings, ConnectionFailed when Redis does not answer.
    """
    with closing(open_redis(settings.redis_url)) as client, naming_failures(client):
        patiently(client, client.ping, START_AWAY_MAX_S)
        return _launch(settings, client, rebuild)


def _launch(settings: Settings, client: Redis, rebuild: bool) -> Launched:
    settings.data.mkdir(parents=True, exist_ok=True)
    context = fold_context(read_mapping(settings.mapping_files), Ids(settings.ids_secret()))
    realms = tuple(sorted(set(context.realm.values())))
    secret = fingerprint(settings.ids_secret())
    deployment = Deployment(settings.shards, secret, realms)
    control_log = open_control_log(settings)
    check_deployment(control_log.records(), deployment)
    check_halts(control_log.records())
    keys = Keys(settings.prefix, settings.shards)
    agree(client, keys, config_text(settings.shards, secret))
    number = control_log.append({"kind": "start"})
    records = control_log.records()
    run = run_number(records, number)
    places = {f"{shard:02x}": keys.shard_place(shard) for shard in range(settings.shards)}
    places |= {f"r:{realm}": keys.realm_place(realm) for realm in realms}
    fences = read_fences(client, list(places.values()))
    decision = decide(records, commits_of(settings), {name: fences[place] for name, place in places.items()}, rebuild)
    control_log.append(begin_record(run, settings.workers, deployment, decision))
    claim(client, run, list(places.values()))
    if decision.offsets is None:
        forget_counts(client, keys)
    published = read_published(settings, TAIL_ROWS)
    if decision.rewound or is_behind(published, fences, keys.place_of):
        note_strays(settings, client, keys)
    log = _logger.warning if decision.rewound else _logger.info
    log("run %d of %s: %s", run, settings.prefix, decision.why)
    return Launched(run, decision, earlier_workers(records))


def note_strays(settings: Settings, client: Redis, keys: Keys) -> None:
    """Write unreconciled publications into a state that was restored from an older copy."""
    published = read_published(settings)
    if settings.parquet is not None and settings.duckdb is None and settings.topic is None:
        _logger.warning("Parquet cannot be asked what it was told; profiles that are no more may stay there")
    if not published:
        return
    ids = list(published)
    values: Any = client.mget(keys.of(b"f", ids))
    kept = dict(zip(ids, map(KeptProfile.decode, values), strict=True))
    by_place: dict[bytes, list[DirtyKey]] = {}
    for realm, profile in find_unreconciled(published, kept, _realm_of):
        by_place.setdefault(keys.place_of(profile), []).append((realm, profile))
    for place, dirty_keys in by_place.items():
        client.set(place + UNRECONCILED, encode_unreconciled(dirty_keys))
    unreconciled = sum(map(len, by_place.values()))
    _logger.warning("%d published profiles are not as the state knows them; they are published anew", unreconciled)


def _realm_of(kept: KeptProfile) -> str:
    return str(read_profile(kept.body, kept.version)["realm"])


def read_published(settings: Settings, tail_rows: int | None = None) -> PublishedHeads:
    """Read back published profiles; of a topic only the last `tail_rows` messages, if given."""
    published: PublishedHeads = {}
    if settings.duckdb is not None:
        published |= published_in_duckdb(settings.duckdb)
    if settings.topic is not None:
        assert settings.kafka is not None
        published |= published_on_topic(settings.kafka, settings.topic, open_registry(settings), tail_rows)
    return published
