"""A schema registry with Confluent's REST interface (Apicurio, Karapace and Redpanda speak it).

A separate module, because the client library brings an HTTP client and cryptography: 20 MB that a folder of schemas
does not need.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import orjson
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from nurt.adapters.http_bounds import bound_size, bound_time, within
from nurt.adapters.secrets import Option, fill_in
from nurt.avro.compatibility import incompatible
from nurt.errors import ConfigurationError, ConnectionFailed

Result = TypeVar("Result")

TIMEOUT_S = 10.0
WHOLE_S = 40.0
"""How long a whole answer may take."""
PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 10.0
UNKNOWN_KEPT_S = 10.0
"""How long an unknown id is not asked for again: damaged bytes must not cause a flood of requests."""
UNKNOWN_KEPT_MAX = 10_000

REFERENCES_MAX = 1_000
"""Other schemas that one may take types from."""

_PASSING = frozenset({408, 425, 429})  # and everything from 500
_logger = logging.getLogger(__name__)


class ConfluentRegistry:
    """A schema registry over HTTP; implements `ports.registry.SchemaRegistry`.

    nurt waits for a registry that is away, with growing pauses; the log says once that it is away and once that it is
    back.
    """

    def __init__(self, url: str, options: Mapping[str, Option] | None = None, seconds_max: float | None = None) -> None:
        """Prepare the client; no request is sent yet.

        Args:
            url: one or several, separated by commas. User and password belong into `options`; in the URL they work too.
            options: as confluent-kafka names them (`basic.auth.user.info`, `ssl.ca.location`, ...), secrets as
                `${VARIABLE}` or `file:/path`.
            seconds_max: give up after this time without an answer; None: never.
        """
        self._shown, settings = _client_settings(url, options or {})
        try:
            self._client = SchemaRegistryClient(settings)
        except (ValueError, TypeError, OSError) as refused:
            raise ConfigurationError(
                f"opening schema registry {self._shown}: {type(refused).__name__} in its options "
                f"({', '.join(sorted(set(settings) - {'url'}))}); correct them under `registry.options`"
            ) from None
        session = self._client._rest_client.session
        bound_time(session)
        bound_size(session)
        self._seconds_max = seconds_max
        self._schemas: dict[int, dict[str, Any]] = {}
        self._unknown: dict[int, float] = {}

    def schema(self, schema_id: int, archive: str = "") -> dict[str, Any] | None:
        """Return the schema with this id, or None when the registry has no such schema, or it is not Avro.

        Raises ConfigurationError when the registry refuses us, or is not a registry; ConnectionFailed after
        `seconds_max`.
        """
        known = self._schemas.get(schema_id)
        if known is not None:
            return known
        if time.monotonic() < self._unknown.get(schema_id, 0.0):
            return None
        found = self._asked_for(f"reading schema {schema_id}", lambda: self._client.get_schema(schema_id))
        if found is None or found.schema_type not in (None, "AVRO"):
            if len(self._unknown) >= UNKNOWN_KEPT_MAX:
                self._unknown.clear()
            self._unknown[schema_id] = time.monotonic() + UNKNOWN_KEPT_S
            return None
        schema = self._parsed(schema_id, found)
        if not isinstance(schema, dict):
            schema = {"type": schema}  # a bare "string" or a union
        return self._schemas.setdefault(schema_id, schema)

    def _parsed(self, schema_id: int, found: Schema) -> Any:
        """Read the text of a schema; what is none is JSON's null, under which there is no Avro."""
        try:
            schema = orjson.loads(found.schema_str)
            return _with_definitions(schema, self._definitions(found)) if found.references else schema
        except (ValueError, TypeError, AttributeError, RecursionError, _Hostile, _Absent) as failed:
            _logger.warning("reading schema %s: its text is none of Avro (%s)", schema_id, type(failed).__name__)
            return None

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """Return the id of `schema` under `subject`, registering it when new, at level BACKWARD unless one is set.

        Workers register at the same time: some registries (Apicurio) report a conflict to the second worker, which then
        asks once more. An incompatible schema is refused again.
        Raises ConfigurationError when the registry finds it incompatible or refuses us.
        """
        try:
            return self._register(subject, schema)
        except _Conflict:
            time.sleep(PAUSE_MIN_S)
            return self._register(subject, schema)

    def _register(self, subject: str, schema: Mapping[str, Any]) -> int:
        text = Schema(orjson.dumps(schema).decode(), "AVRO")
        doing = f"registering schema {subject}"
        known = self._asked_for(doing, lambda: self._client.lookup_schema(subject, text))
        if known is not None and known.schema_id is not None:
            self._protect(subject)
            return int(known.schema_id)
        protected = self._protect(subject)
        schema_id = int(self._ask(doing, lambda: self._client.register_schema(subject, text)))
        if not protected:  # some registries have no level for a subject that does not exist yet
            self._protect(subject)
        return schema_id

    def _protect(self, subject: str) -> bool:
        """Set BACKWARD where no level is set; a chosen level stays. False: the level could not be set now."""
        doing = f"setting the compatibility of {subject}"
        try:
            level = self._asked_for(doing, lambda: self._client.get_compatibility(subject))
            if level not in (None, "NONE"):
                return True
            return self._asked_for(doing, lambda: self._client.set_compatibility(subject, "BACKWARD")) is not None
        except ConfigurationError:
            _logger.warning("%s: the schema registry does not let us; set BACKWARD by hand", doing)
            return True

    def _definitions(self, found: Schema) -> dict[str, Any]:
        """Fetch the types that a schema takes from other subjects, by full name; each of them once.

        Raises _Hostile when there are more than REFERENCES_MAX.
        """
        definitions: dict[str, Any] = {}
        waiting = [*(found.references or ())]
        seen: set[tuple[str, int]] = set()
        while waiting:
            reference = waiting.pop(0)
            place = subject, version = str(reference.subject), int(reference.version or 0)
            if place not in seen:
                seen.add(place)
                if len(seen) > REFERENCES_MAX:
                    raise _Hostile
                doing = f"reading schema {subject} version {version}"
                referenced = self._ask(doing, lambda s=subject, v=version: self._client.get_version(s, v))  # type: ignore[misc]
                definitions[str(reference.name)] = orjson.loads(referenced.schema.schema_str)
                waiting += referenced.schema.references or ()
        return definitions

    def _asked_for(self, doing: str, call: Callable[[], Result]) -> Result | None:
        """Repeat `call` until the registry answers; None: the registry has no such thing."""
        try:
            return self._ask(doing, call)
        except _Absent:
            return None

    def _ask(self, doing: str, call: Callable[[], Result]) -> Result:
        """Repeat `call` until the registry answers."""
        began, pause, has_reported = time.monotonic(), PAUSE_MIN_S, False
        while True:
            try:
                with within(WHOLE_S):
                    answer = call()
            except SchemaRegistryError as refused:
                status = refused.http_status_code
                if status not in _PASSING and status < 500:
                    raise self._refusal(doing, refused) from None
                why = f"HTTP {status}"
            except ValueError:
                raise ConfigurationError(
                    f"{doing} at {self._shown}: the answer is not JSON (a schema registry's); correct `registry.url`"
                ) from None
            except Exception as failed:  # the HTTP library's own: refused, reset, timed out, TLS
                why = type(failed).__name__
            else:
                if has_reported:
                    _logger.warning("schema registry %s answered after %.1f s", self._shown, time.monotonic() - began)
                return answer
            if not has_reported:
                _logger.warning("%s at %s: no answer (%s); nurt waits and tries again", doing, self._shown, why)
                has_reported = True
            if self._seconds_max is not None and time.monotonic() - began > self._seconds_max:
                raise ConnectionFailed(
                    f"{doing} at {self._shown}: no answer for {self._seconds_max:.0f} s ({why}); "
                    "start the registry, or correct `registry.url`"
                )
            time.sleep(pause * random.uniform(0.8, 1.2))  # many workers must not ask in step
            pause = min(PAUSE_MAX_S, pause * 2)

    def _refusal(self, doing: str, refused: SchemaRegistryError) -> ConfigurationError:
        status = refused.http_status_code
        if status == 409:
            return _Conflict(str(incompatible(doing.removeprefix("registering schema "), _reason_of(refused))))
        if status == 404 and (refused.error_code or 0) // 100 == 404:  # else the answer is not from a registry
            return _Absent(f"{doing} at {self._shown}: there is none ({_reason_of(refused)}); correct the name")
        if status in (401, 403):
            return ConfigurationError(
                f"{doing} at {self._shown}: not allowed (HTTP {status}); correct `registry.options` or grant the right"
            )
        return ConfigurationError(
            f"{doing} at {self._shown}: HTTP {status} ({_reason_of(refused)}); correct `registry.url`, or the schema"
        )


class _Hostile(Exception):
    """Schema that takes more from others than any has."""


class _Absent(ConfigurationError):
    """Answer that the registry has no such schema, subject or level."""


class _Conflict(ConfigurationError):
    """Answer 409 of the registry: incompatible, or another worker registered the same at this moment."""


def _reason_of(refused: SchemaRegistryError) -> str:
    """Shorten the registry's message; it is about schemas, never about rows."""
    return " ".join(str(refused.error_message).split())[:300]


def _client_settings(url: str, options: Mapping[str, Option]) -> tuple[str, dict[str, Any]]:
    """Return the addresses without secrets, for showing, and the client's settings with them."""
    settings: dict[str, Any] = {"timeout": TIMEOUT_S, "max.retries": 0}
    settings.update({key: fill_in(f"`registry.options.{key}`", value) for key, value in options.items()})
    addresses = []
    for address in str(fill_in("`registry.url`", url)).split(","):
        parts = urlsplit(address.strip())
        if parts.username:
            settings.setdefault("basic.auth.user.info", f"{unquote(parts.username)}:{unquote(parts.password or '')}")
        addresses.append(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/"))
    shown = ",".join(addresses)
    return shown, {**settings, "url": shown}


def _with_definitions(schema: Any, definitions: dict[str, Any]) -> Any:
    """Put each referenced type where its full name first occurs, so that the schema is complete."""
    if isinstance(schema, str):
        return _with_definitions(definitions.pop(schema), definitions) if schema in definitions else schema
    if isinstance(schema, list):
        return [_with_definitions(branch, definitions) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {"type", "items", "values"}
    whole = {key: _with_definitions(value, definitions) if key in inner else value for key, value in schema.items()}
    if "fields" in schema:
        whole["fields"] = [_with_definitions(field, definitions) for field in schema["fields"]]
    return whole
