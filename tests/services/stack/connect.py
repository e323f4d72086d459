"""Real Debezium: a Kafka Connect worker with the connectors for PostgreSQL and MariaDB, writing Confluent's Avro."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.services.stack.daemon import Daemon, fetch_text, free_ports, scratch
from tests.services.stack.databases import Database
from tests.services.stack.java import SHORT_LIVED, jars, java
from tests.services.stack.registry import RegistryUrls

PLUGINS = ("connect-postgres", "connect-mariadb", "connect-avro")

WORKER = """
bootstrap.servers={bootstrap}
group.id={name}
listeners=http://127.0.0.1:{port}
rest.advertised.host.name=127.0.0.1
plugin.path={plugins}
plugin.discovery=service_load
config.storage.topic={name}-configs
offset.storage.topic={name}-offsets
status.storage.topic={name}-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
offset.storage.partitions=1
status.storage.partitions=1
offset.flush.interval.ms=500
topic.creation.enable=true
key.converter=org.apache.kafka.connect.converters.ByteArrayConverter
value.converter=org.apache.kafka.connect.converters.ByteArrayConverter
"""

CONVERTER_CLASS = "io.apicurio.registry.utils.converter.AvroConverter"
CONVERTER = {
    "apicurio.registry.auto-register": "true",
    "apicurio.registry.find-latest": "true",
    "apicurio.registry.as-confluent": "true",
    "apicurio.registry.use-id": "contentId",
    "apicurio.registry.headers.enabled": "false",
}
"""Makes the bytes on the topic exactly Confluent's wire format."""


class ConnectServer:
    """A Connect worker: connectors are created, watched and deleted through its REST interface."""

    def __init__(self, port: int, bootstrap: str, registry: RegistryUrls) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self.bootstrap = bootstrap
        self.registry = registry
        self._created: list[str] = []

    def capture_postgres(self, database: Database, prefix: str, **options: str) -> None:
        """Stream all tables of schema `public`: topics `<prefix>.public.<table>`."""
        self.create(
            prefix,
            self._options(
                database,
                prefix,
                {
                    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
                    "database.dbname": "nurt",
                    "plugin.name": "pgoutput",
                    "slot.name": prefix.replace("-", "_"),
                    "publication.name": f"{prefix}_all",
                },
                options,
            ),
        )

    def capture_mariadb(self, database: Database, prefix: str, **options: str) -> None:
        """Stream all tables of database `nurt`: topics `<prefix>.nurt.<table>`."""
        self.create(
            prefix,
            self._options(
                database,
                prefix,
                {
                    "connector.class": "io.debezium.connector.mariadb.MariaDbConnector",
                    "database.include.list": "nurt",
                    "database.server.id": "4712",
                    "database.ssl.mode": "disable",
                    "schema.history.internal.kafka.bootstrap.servers": self.bootstrap,
                    "schema.history.internal.kafka.topic": f"{prefix}.schema-history",
                },
                options,
            ),
        )

    def create(self, name: str, config: Mapping[str, str], seconds: float = 120) -> None:
        """Create a connector and wait until its task runs; `config` is Connect's."""
        self._ask("POST", "/connectors", {"name": name, "config": dict(config)})
        self._created.append(name)
        deadline = time.monotonic() + seconds
        while (status := self.status(name)) != "RUNNING":
            if status.startswith("FAILED") or time.monotonic() > deadline:
                raise RuntimeError(f"creating connector {name}: {status}")
            time.sleep(0.1)

    def status(self, name: str) -> str:
        """Return the state of a connector's task, with its trace when it failed."""
        found = fetch_text(f"{self._url}/connectors/{name}/status")
        tasks = json.loads(found)["tasks"] if found else []
        return f"{tasks[0]['state']} {tasks[0].get('trace', '')}".strip() if tasks else "ABSENT"

    def delete_all(self) -> None:
        """Delete every connector that was created here."""
        while self._created:
            self._ask("DELETE", f"/connectors/{self._created.pop()}", None)

    def _options(
        self, database: Database, prefix: str, own: Mapping[str, str], more: Mapping[str, str]
    ) -> dict[str, str]:
        options = {
            "tasks.max": "1",
            "topic.prefix": prefix,
            "database.hostname": "127.0.0.1",
            "database.port": str(database.port),
            "database.user": database.user,
            "database.password": database.password,
            "poll.interval.ms": "10",
            "topic.creation.default.replication.factor": "1",
            "topic.creation.default.partitions": "1",
        }
        for side in ("key.converter", "value.converter"):
            options[side] = CONVERTER_CLASS
            options[f"{side}.apicurio.registry.url"] = self.registry.core_url
            options |= {f"{side}.{name}": value for name, value in CONVERTER.items()}
        return {**options, **own, **{name.replace("_", "."): value for name, value in more.items()}}

    def _ask(self, method: str, path: str, body: Any) -> None:
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as failed:
            raise RuntimeError(f"asking Connect for {method} {path}: {failed.read().decode()}") from None


def _plug_in(found: Path, folder: Path) -> None:
    """Lend jars to a plugin's folder, with a list of the converters for Connect to find.

    Apicurio's jars list none, and without lists Connect looks into every class of every jar: 11 s of CPU.
    """
    folder.mkdir()
    for jar in found.iterdir():
        (folder / jar.name).symlink_to(jar)
    if any(jar.name.startswith("apicurio-") for jar in found.iterdir()):
        with zipfile.ZipFile(folder / "lists.jar", "w") as lists:
            lists.writestr("META-INF/services/org.apache.kafka.connect.storage.Converter", CONVERTER_CLASS + "\n")


@contextlib.contextmanager
def running_connect_port(bootstrap: str) -> Iterator[int]:
    """Run a worker against a broker; yields the port of its REST interface."""
    with scratch("connect") as folder:
        plugins = folder / "plugins"
        plugins.mkdir()
        for name in PLUGINS:
            _plug_in(jars(name), plugins / name)
        (port,) = free_ports(1)
        settings: Path = folder / "worker.properties"
        settings.write_text(
            WORKER.format(name=f"connect-{uuid.uuid4().hex[:8]}", bootstrap=bootstrap, port=port, plugins=plugins)
        )
        command = [
            java(),
            SHORT_LIVED,
            "-Xmx700m",
            "-Dlog4j2.level=WARN",
            "-cp",
            f"{jars('connect')}/*",
            "org.apache.kafka.connect.cli.ConnectDistributed",
            str(settings),
        ]
        daemon = Daemon("Kafka Connect", command, folder / "connect.log", cwd=folder)
        with contextlib.ExitStack() as stack:
            stack.callback(daemon.kill)
            daemon.wait_until(lambda: fetch_text(f"http://127.0.0.1:{port}/connectors") is not None, seconds=240)
            yield port
