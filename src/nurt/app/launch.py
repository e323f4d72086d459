"""Begin a run, once for all its processes: its number, where it begins, and unreconciled publications."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from nurt.adapters.analytics.duckdb_reading import published_in_duckdb
from nurt.adapters.kafka.look import output_ids
from nurt.adapters.kafka.published_back import published_on_topic
from nurt.adapters.redis.client import Redis, open_redis
from nurt.adapters.redis.errors import naming_failures
from nurt.adapters.redis.joins import agree_on_numbers
from nurt.adapters.redis.layouts import agree
from nurt.adapters.redis.normalisation import agree_on_rules
from nurt.adapters.redis.outage import patiently
from nurt.adapters.redis.store import (
    begin_counting_waiting,
    claim,
    forget_counts,
    has_counted_waiting,
    read_fences,
    read_known_logs,
    write_known_logs,
)
from nurt.app.launching.logs import decide_logs, new_halts
from nurt.app.launching.rebuild import tell_what_logs_hold
from nurt.app.opening import commits_of, fold_context, open_control_log, open_registry
from nurt.columnar.ids import Ids
from nurt.contracts.profile_reader import read_profile
from nurt.control.launch import (
    Deployment,
    LaunchDecision,
    Records,
    begin_record,
    check_deployment,
    decide,
    earlier_workers,
    has_begun,
    is_lost,
    latest_run,
    owes_rebuild,
    register_record,
    run_number,
)
from nurt.control.logs import (
    KnownLogs,
    TopicLog,
    decode_known,
    encode_known,
    halted_by,
    joined_known,
    known_logs,
    log_record,
    rebuild_record,
)
from nurt.control.reconcile import (
    UNRECONCILED,
    DirtyKey,
    decode_unreconciled,
    encode_unreconciled,
    find_unreconciled,
    is_behind,
)
from nurt.control.source_records import check_halts
from nurt.errors import Fenced
from nurt.inspect.row_scan import literal
from nurt.inspect.waiting import WaitingReader
from nurt.mapping.joins.compile import numbered
from nurt.mapping.load import read_mapping
from nurt.model.fence import FencingToken
from nurt.model.keys import Keys
from nurt.model.log import Committed
from nurt.model.published import PublishedHeads
from nurt.model.stored_profile import ERASED, KeptProfile
from nurt.normalise.version import rules_digest
from nurt.rows.sweeps import unfinished_rebuild
from nurt.settings import Settings
from nurt_client.ids import fingerprint
from nurt_client.keys import config_text

START_AWAY_MAX_S = 30.0
"""How long a start waits for Redis: a supervisor may restart nurt faster than Redis restarts or fails over."""

READ_ROWS = 5_000

TAIL_ROWS = 10_000
"""How many messages at the end of each partition of the profile topic a start reads."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Launched:
    """Run that may begin: its number, where it begins, and the largest number of workers of earlier runs.

    Attributes:
        normalisation: number of the rules by which identifiers are normalised.
        rebuilding: the run ends when it has read what was there at its start, and `finish_rebuild` follows.
    """

    run: int
    decision: LaunchDecision
    fence_workers: int
    rebuilding: bool = False
    normalisation: int = 0


TellAgain = Callable[[Settings, Redis], None]
"""Notes that everything published must be told again."""


def launch(
    settings: Settings,
    rebuild: bool = False,
    confirmed: bool = False,
    outputs: Sequence[str] | None = None,
    tell_again: TellAgain | None = None,
) -> Launched:
    """Begin a run, once for all its processes: take a number, decide where to begin, claim the state.

    A start that is refused leaves no trace, however often it is repeated. Waits while Redis is away for a moment.

    Args:
        rebuild: read everything from the earliest message, and forget what is not read again.
        confirmed: forget it, however much it is.
        outputs: the topics that the flow writes; None: that of profiles.
        tell_again: notes what must be told again when such a topic was made anew.

    Raises Fenced when a later run holds the state, ConfigurationError when the state was written under other settings,
    LogHalted when a topic is another log and nobody can tell what begins it, ConnectionFailed when Redis does not
    answer.
    """
    with closing(open_redis(settings.redis_url)) as client, naming_failures(client):
        patiently(client, client.ping, START_AWAY_MAX_S)
        if outputs is None:
            outputs = [settings.topic] if settings.topic is not None else []
        launched = _Launch(settings, client).run(rebuild, confirmed)
        look_at_outputs(settings, client, outputs, tell_again or tell_profiles_again)
        return launched


class _Launch:
    """Begins one run. Whatever can refuse it comes before its number."""

    def __init__(self, settings: Settings, client: Redis) -> None:
        settings.data.mkdir(parents=True, exist_ok=True)
        self._settings, self._client = settings, client
        self._mapping = read_mapping(settings.mapping_files)
        context = fold_context(self._mapping, Ids(settings.ids_secret()))
        self._rules = rules_digest(context)
        self._realms = tuple(sorted(set(context.realm.values())))
        self._secret = fingerprint(settings.ids_secret())
        self._deployment = Deployment(settings.shards, self._secret, self._realms)
        self._keys = keys = Keys(settings.prefix, settings.shards)
        self._places = {f"{shard:02x}": keys.shard_place(shard) for shard in range(settings.shards)}
        self._places |= {f"r:{realm}": keys.realm_place(realm) for realm in self._realms}
        self._control_log = open_control_log(settings)

    def run(self, rebuild: bool, confirmed: bool) -> Launched:
        settings, client, keys, control_log = self._settings, self._client, self._keys, self._control_log
        places = list(self._places.values())
        records = list(control_log.records())
        check_deployment(records, self._deployment)
        check_halts(records)
        agree(client, keys, config_text(settings.shards, self._secret))
        numbers, grown = agree_on_numbers(client, keys, self._mapping)
        self._mapping = numbered(self._mapping, numbers)
        fences = read_fences(client, places)
        named = {name: fences[place] for name, place in self._places.items()}
        commits = commits_of(settings)
        if rebuild:
            tell_what_logs_hold(settings, self._mapping)
        for record in (
            *self._name_register(records, fences.values(), rebuild),
            *(self._decide_logs(records, commits, named) if not rebuild else ()),
        ):
            control_log.append(record)
        number = control_log.append({"kind": "start"})
        run = run_number(control_log.records(), number)
        if rebuild:
            control_log.append(rebuild_record(run, self._known(control_log.records()), confirmed))
        records = list(control_log.records())
        rebuild = owes_rebuild(records)
        decision = decide(records, commits, named, rebuild)
        latest = max((fence.run for fence in fences.values() if fence is not None), default=0)
        if grown and latest and not rebuild:
            _logger.warning(
                "the mapping has tables, or uses of them, that the state of %s did not know: what was read before is "
                "not joined; `nurt run --rebuild` reads it again",
                settings.prefix,
            )
        normalisation = agree_on_rules(client, keys, self._rules, run, latest)
        if rebuild:
            claim(client, run, places)
            forget_counts(client, keys)
        control_log.append(begin_record(run, settings.workers, self._deployment, decision))
        if not rebuild:
            claim(client, run, places)
        if not has_counted_waiting(client, keys):
            begin_counting_waiting(client, keys, WaitingReader(client, keys).counts())
        write_known_logs(client, keys, encode_known(known_logs(records)))
        published = read_published(settings, TAIL_ROWS)
        if decision.rewound or is_behind(published, fences, keys.place_of):
            note_strays(settings, client, keys)
        log = _logger.warning if decision.rewound else _logger.info
        log("run %d of %s: %s", run, settings.prefix, decision.why)
        rebuilding = unfinished_rebuild(records) is not None
        return Launched(run, decision, earlier_workers(records), rebuilding, normalisation)

    def _known(self, records: Records) -> KnownLogs:
        """Return what the control log and the state know: a state that came with another one may know more."""
        return joined_known(known_logs(records), decode_known(read_known_logs(self._client, self._keys)))

    def _name_register(
        self, records: list[tuple[int, dict[str, Any]]], fences: Iterable[FencingToken | None], rebuild: bool
    ) -> list[dict[str, Any]]:
        """Name the control log when it has no name or lost records; add to `records` what must be appended."""
        known, stored = known_logs(records), decode_known(read_known_logs(self._client, self._keys))
        fences = list(fences)
        try:
            lost = is_lost(records, known, stored, fences)
        except Fenced:
            if not rebuild:
                raise
            lost = True
        if known.register and not lost:
            return []
        base = max([latest_run(records), *(fence.run for fence in fences if fence is not None)])
        generation = max(known.highest().generation, stored.highest().generation) + 1 if lost else 0
        added = [register_record(uuid.uuid4().hex, base, generation, lost)]
        if lost:
            _logger.warning(
                "the register of %s lost what earlier runs wrote (the state knows %d runs): all topics are read from "
                "their beginning",
                self._settings.prefix,
                base,
            )
            added += [
                log_record(topic, replace(one, generation=generation)) for topic, one in sorted(stored.topics.items())
            ]
        _add(records, added)
        return added

    def _decide_logs(
        self,
        records: list[tuple[int, dict[str, Any]]],
        commits: list[Committed],
        fences: Mapping[str, FencingToken | None],
    ) -> list[dict[str, Any]]:
        """Decide whether the topics' logs are those that were read.

        Raises LogHalted when nobody can tell for one; it then waits for the operator's word.
        """
        if owes_rebuild(records):
            return []
        commits = commits if has_begun(records) else []
        going_on = decide(records, commits, fences)
        run = latest_run(records) + 1
        decided = decide_logs(self._settings, self._mapping, records, known_logs(records), commits, going_on, run)
        for record in new_halts(records, decided.halted):
            self._control_log.append(record)
        for topic, why in decided.halted.items():
            raise halted_by(topic, why)
        _add(records, decided.records)
        return decided.records


def _add(records: list[tuple[int, dict[str, Any]]], added: Iterable[dict[str, Any]]) -> None:
    for record in added:
        records.append((records[-1][0] + 1 if records else 0, record))


def look_at_outputs(settings: Settings, client: Redis, outputs: Sequence[str], tell_again: TellAgain) -> None:
    """Notice that a topic of ours was made anew: what it was told is gone from it, erasures as well.

    The topic's id is written down last, so a crash before that tells everything again.
    """
    if not outputs:
        return
    assert settings.kafka is not None
    control_log = open_control_log(settings)
    known = known_logs(control_log.records()).topics
    found = output_ids(settings.kafka, outputs)
    anew = [topic for topic in outputs if topic in known and known[topic].id and found.get(topic) != known[topic].id]
    if anew:
        _logger.warning("topics %s were made anew: everything is told again, what ended as well", ", ".join(anew))
        tell_again(settings, client)
    for topic in outputs:
        id_ = found.get(topic, "" if topic in anew else None)
        if id_ is not None and (topic not in known or known[topic].id != id_):
            control_log.append(log_record(topic, TopicLog(id=id_)))
    keys = Keys(settings.prefix, settings.shards)
    write_known_logs(client, keys, encode_known(known_logs(control_log.records())))


def tell_profiles_again(settings: Settings, client: Redis) -> None:
    """Note all profiles, those that ended as well, for publication when all input is read."""
    keys = Keys(settings.prefix, settings.shards)
    for place in map(keys.shard_place, range(settings.shards)):
        noted: Any = client.get(place + UNRECONCILED)
        dirty = dict.fromkeys(decode_unreconciled(noted))
        found = client.scan_iter(match=literal(place + b"f") + b"*", count=READ_ROWS)
        while names := list(islice(found, READ_ROWS)):
            values: Any = client.mget(names)
            for name, kept in zip(names, map(KeptProfile.decode, values), strict=True):
                if kept is not None:
                    realm = "" if kept.state == ERASED else _realm_of(kept)
                    dirty[realm, name[len(place) + 1 :]] = None
        if dirty:
            client.set(place + UNRECONCILED, encode_unreconciled(list(dirty)))


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
