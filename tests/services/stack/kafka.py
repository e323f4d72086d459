"""A real Apache Kafka: one KRaft node on 127.0.0.1, that can be killed and brought back."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services.stack.daemon import Daemon, answers, free_ports, scratch
from tests.services.stack.java import SHORT_LIVED, jars, java

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listener}
advertised.listeners=BROKER://127.0.0.1:{port}{listener}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
inter.broker.listener.name=BROKER
log.dirs={folder}/log
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
log.cleaner.dedupe.buffer.size=16777216
log.retention.ms=-1
"""
"""Nothing is forgotten unless a topic says so: tests write messages whose timestamps are years old."""


SECURE = """\
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
"""


INTERNAL = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
"""Topics that are the broker's own."""


@dataclass(frozen=True, slots=True)
class Login:
    """A listener beside the plain one that wants TLS and a password.

    Attributes:
        keystore: PEM: a private key, and the certificate of 127.0.0.1.
    """

    keystore: Path
    user: str
    password: str


class KafkaServer:
    """One broker. Its files and ports outlive `kill`, so that `start` brings the same broker back."""

    def __init__(self, folder: Path, heap: str = "512m", login: Login | None = None, short_lived: bool = False) -> None:
        self._folder = folder
        self._more = [SHORT_LIVED] if short_lived else []
        self._heap = heap
        self._port, controller, self._secure_port = free_ports(3)
        self._java = [java(), "-cp", f"{jars('kafka')}/*", "-Dlog4j2.level=WARN"]
        self._settings = folder / "server.properties"
        listener = "" if login is None else f",SECURE://127.0.0.1:{self._secure_port}"
        properties = PROPERTIES.format(port=self._port, controller=controller, folder=folder, listener=listener)
        if login is not None:
            properties += SECURE.format(keystore=login.keystore)
        self._settings.write_text(properties)
        scram = [] if login is None else ["-S", f"SCRAM-SHA-512=[name={login.user},password={login.password}]"]
        self._daemon: Daemon | None = None
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        subprocess.run(
            [
                *self._java,
                SHORT_LIVED,
                "kafka.tools.StorageTool",
                "format",
                "--standalone",
                "-t",
                f"n{cluster[1:]}",
                "-c",
                str(self._settings),
                *scram,
            ],
            check=True,
            capture_output=True,
        )

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def secure_bootstrap(self) -> str:
        """The listener that wants TLS and a password."""
        return f"127.0.0.1:{self._secure_port}"

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start the broker on its port and wait until it serves."""
        command = [*self._java, *self._more, f"-Xmx{self._heap}", "kafka.Kafka", str(self._settings)]
        self._daemon = Daemon("Kafka", command, self._folder / "kafka.log")
        self._daemon.wait_until(lambda: answers(self._port) and _serves(self.bootstrap), seconds=180)

    def stop(self) -> None:
        """End the broker in order, as an operator would."""
        self._running().stop(how=signal.SIGTERM)

    def kill(self) -> None:
        """End the broker at once, as a power cut would (the operating system keeps what was written)."""
        self._running().kill()

    def pause(self) -> None:
        """Freeze the broker: connections stay open, nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        self._running().resume()

    def clear(self) -> None:
        """Make sure that the broker serves, and delete every topic but its own."""
        if self._daemon is None or not self._daemon.alive():
            self.start()
        self.resume()
        admin = AdminClient({"bootstrap.servers": self.bootstrap})

        def is_clear() -> bool:
            topics = [name for name in admin.list_topics(timeout=60).topics if name not in INTERNAL]
            for deleted in admin.delete_topics(topics, operation_timeout=60).values() if topics else ():
                deleted.exception()  # one that goes already is not there to be deleted; the next look tells
            return not topics

        self._running().wait_until(is_clear, 60)

    def _running(self) -> Daemon:
        assert self._daemon is not None, "the broker has not been started"
        return self._daemon


def _serves(bootstrap: str) -> bool:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
    try:
        return bool(admin.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


@contextlib.contextmanager
def running_kafka_server(
    heap: str = "512m", login: Login | None = None, short_lived: bool = True
) -> Iterator[KafkaServer]:
    """Run a broker of one's own, to be killed and restarted at will."""
    with scratch("kafka") as folder:
        server = KafkaServer(folder, heap, login, short_lived)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def running_kafka(heap: str = "512m", short_lived: bool = False) -> Iterator[str]:
    """Run a broker, or borrow the one that NURT_TEST_KAFKA names; yields its bootstrap address.

    Benchmarks run a broker at its full speed.
    """
    if borrowed := os.environ.get("NURT_TEST_KAFKA"):
        yield borrowed
        return
    with running_kafka_server(heap, short_lived=short_lived) as server:
        yield server.bootstrap
