"""Three real Kafka brokers, of which one is the controller, to be stopped, killed and started again one by one."""

from __future__ import annotations

import base64
import contextlib
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.services.stack.daemon import Daemon, answers, free_ports, scratch
from tests.services.stack.java import SHORT_LIVED, jars, java

PROPERTIES = """\
process.roles={roles}
node.id={node}
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={listeners}
advertised.listeners=BROKER://127.0.0.1:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
log.dirs={folder}/log
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=1
offsets.topic.replication.factor=3
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=300
replica.lag.time.max.ms=6000
log.cleaner.dedupe.buffer.size=16777216
log.retention.ms=-1
"""
CONTROLLER = 1
"""The controller is a broker, too; it stays."""


class KafkaCluster:
    """Three brokers, numbered from 1. Files and ports outlive `kill`, so that `start` brings the same broker back."""

    def __init__(self, folder: Path, heap: str = "256m") -> None:
        self._folder, self._heap = folder, heap
        *ports, controller = free_ports(4)
        self._ports = dict(enumerate(ports, 1))
        self._daemons: dict[int, Daemon] = {}
        cluster = "n" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        for node, port in self._ports.items():
            own = folder / str(node)
            own.mkdir()
            listeners, roles = f"BROKER://127.0.0.1:{port}", "broker"
            if node == CONTROLLER:
                listeners, roles = f"{listeners},CONTROLLER://127.0.0.1:{controller}", "broker,controller"
            (own / "server.properties").write_text(
                PROPERTIES.format(
                    roles=roles, node=node, controller=controller, listeners=listeners, port=port, folder=own
                )
            )
            more = ["--standalone"] if node == CONTROLLER else []
            command = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(own / "server.properties"), *more]
            subprocess.run([*self._java(), *command], check=True, capture_output=True)

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self._ports.values())

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def start(self, *nodes: int) -> None:
        """Start brokers, and wait until all of them serve; the controller is the first to be started."""
        for node in nodes:
            own = self._folder / str(node)
            command = [*self._java(), f"-Xmx{self._heap}", "kafka.Kafka", str(own / "server.properties")]
            self._daemons[node] = Daemon(f"Kafka {node}", command, own / "kafka.log")
        for node in nodes:
            self._daemons[node].wait_until(lambda port=self._ports[node]: answers(port), seconds=180)  # type: ignore[misc]
            self._daemons[node].wait_until(lambda one=node: one in self._there(), seconds=180)  # type: ignore[misc]

    def start_all(self) -> None:
        """Start those that do not run."""
        self.start(*(node for node, daemon in self._daemons.items() if not daemon.alive()))

    def stop(self, node: int) -> None:
        """End a broker in order: it hands over what it leads."""
        self._daemons[node].stop(how=signal.SIGTERM)

    def kill(self, node: int) -> None:
        """End a broker at once."""
        self._daemons[node].kill()

    def kill_all(self) -> None:
        for daemon in self._daemons.values():
            daemon.kill()

    def create_topic(self, name: str, replicas: Sequence[int], **config: str) -> None:
        """Create a topic of one partition on some brokers; the first one leads it."""
        new = NewTopic(name, 1, replica_assignment=[list(replicas)], config=config)
        self.admin.create_topics([new])[name].result(20)
        self._daemons[CONTROLLER].wait_until(lambda: self.leader(name) == replicas[0], 30)

    def leader(self, topic: str) -> int:
        """Return who leads a topic's partition; -1: nobody."""
        known = self.admin.list_topics(topic, timeout=20).topics[topic]
        return int(known.partitions[0].leader) if known.partitions else -1

    def in_sync(self, topic: str) -> set[int]:
        return set(self.admin.list_topics(topic, timeout=20).topics[topic].partitions[0].isrs)

    def elect(self, topic: str, node: int) -> None:
        """Let a replica lead that lacks messages, as an operator may order it."""

        def is_led() -> bool:
            self.admin.elect_leaders(ElectionType.UNCLEAN, [TopicPartition(topic, 0)]).result(20)
            return self.leader(topic) == node

        self._daemons[CONTROLLER].wait_until(is_led, 180)

    def wait_until_in_sync(self, topic: str, nodes: set[int]) -> None:
        self._daemons[CONTROLLER].wait_until(lambda: self.in_sync(topic) == nodes, 180)

    def _there(self) -> set[int]:
        return set(self.admin.list_topics(timeout=20).brokers)

    def _java(self) -> list[str]:
        return [java(), SHORT_LIVED, "-cp", f"{jars('kafka')}/*", "-Dlog4j2.level=WARN"]


@contextlib.contextmanager
def running_kafka_cluster() -> Iterator[KafkaCluster]:
    """Run three brokers."""
    with scratch("kafka-cluster") as folder:
        cluster = KafkaCluster(folder)
        try:
            cluster.start(1, 2, 3)
            yield cluster
        finally:
            cluster.kill_all()
