"""How fast deliveries are: rows a second, calls per 1,000 changed profiles, CPU per row; against fakes with and
without latency.

    python -m benchmarks.deliver [--rows 2000] [--latency-ms 0 --latency-ms 100] [--only hubspot]

The fake runs in a process of its own. Each row is a profile; first all are new, then each has one field changed.
Redis is a Valkey of the wheel on a unix socket or TCP as the fixture starts it; the rate limits of the receivers are
switched off, since they, and not nurt, would be measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from random import Random
from typing import Any

from redis import Redis

from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.app.delivery_config import KINDS, read_preset
from nurt.delivery.diff import DeliveryRules
from nurt.delivery.journal import Message
from nurt.delivery.last_known import Fingerprinter
from nurt.delivery.mapping import DestinationMapping
from nurt.delivery.run.deliverer import Deliverer
from nurt.fake.__main__ import FAKES
from nurt.fake.server import running
from nurt.model.keys import Keys
from tests.contracts.published import encode, id_of, profile
from tests.delivery.scene import chosen, mapping_of
from tests.services.stack.redis_server import running_redis

OPTIONS = {
    "dataverse": "login_url: '{url}', tenant: t, client_id: id, client_secret: secret, limits: {rates: []}",
    "hubspot": "token: token, limits: {rates: []}",
    "mailchimp": "audience: aud, api_key: key-us1",
    "marketing_cloud": "auth_url: '{url}', client_id: id, client_secret: secret",
    "salesforce": "client_id: id, client_secret: secret, objects: {contact: {when: true}}",
    "webhook": "",
}
BATCH_ROWS = 2_000
TITLES = "| destination | latency ms | what | profiles/s | calls per 1,000 | CPU us a profile |\n" + 6 * "|---" + "|"


@dataclass(frozen=True)
class Measured:
    """One pass over all profiles."""

    rows_s: float
    calls: int
    cpu_us: float


def _serve(kind: str, latency_s: float, pipe: Connection) -> None:
    fake = FAKES[kind]()
    fake.faults.latency_s = latency_s
    with running(fake):
        pipe.send(fake.url)
        while pipe.recv() == "calls":
            pipe.send(len(fake.calls))


@contextmanager
def fake_apart(kind: str, latency_s: float) -> Iterator[tuple[str, Callable[[], int]]]:
    """Run a fake in a process of its own: its URL, and how many calls it had."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(kind, latency_s, there), daemon=True)
    process.start()
    url = here.recv()

    def calls() -> int:
        here.send("calls")
        return int(here.recv())

    try:
        yield url, calls
    finally:
        here.send("end")
        process.join(5)


def people(rows: int, revision: int, surname: str) -> list[Message]:
    """Make profiles as the topic says them."""
    random = Random(1)
    messages = []
    for number in range(rows):
        fields: dict[str, Any] = {
            "email": chosen(f"person{number}@example.com"),
            "first_name": chosen("Anna"),
            "last_name": chosen(surname),
            "phone": chosen(f"+4850{number:07d}"),
        }
        if random.random() < 0.2:
            fields |= {"company": chosen(f"Firma {number}"), "tax_id": chosen(f"PL{number:010d}")}
        body = encode(profile(number, revision, **fields))
        messages.append(Message(id_of(number).hex(), (0, revision * 10_000_000 + number), None, body))
    return messages


def deliverer(url: str, mapping: DestinationMapping, client: Redis) -> Deliverer:
    """Open a delivery with a memory of its own."""
    from nurt.delivery.read.profiles import ProfileStateReader

    store = DeliveryStore(client, Keys(uuid.uuid4().hex[:8], 16), "bench")
    store.begin()
    to = KINDS[mapping.kind](mapping)
    rules = DeliveryRules(tuple(one.plan for one in mapping.objects), Fingerprinter(b"0" * 16), 0, to.limits.whole_rows)
    return Deliverer(to, rules, store, ProfileStateReader(mapping))


def measure(to: Deliverer, messages: list[Message], calls: Callable[[], int]) -> Measured:
    """Deliver messages in batches."""
    before_calls, cpu, began = calls(), _cpu_s(), time.perf_counter()
    for at in range(0, len(messages), BATCH_ROWS):
        to.deliver(messages[at : at + BATCH_ROWS])
    took = time.perf_counter() - began
    return Measured(len(messages) / took, calls() - before_calls, (_cpu_s() - cpu) / len(messages) * 1e6)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--latency-ms", type=float, action="append")
    parser.add_argument("--only", action="append", choices=sorted(OPTIONS))
    asked = parser.parse_args()
    new, changed = people(asked.rows, 1, "Nowak"), people(asked.rows, 2, "Kowalska")
    print(TITLES)
    with running_redis("valkey") as server:
        client = Redis.from_url(server.url)
        for kind in asked.only or sorted(OPTIONS):
            for latency_ms in asked.latency_ms or (0.0, 100.0):
                with fake_apart(kind, latency_ms / 1000) as (url, calls):
                    text = f"{{url: '{url}', {OPTIONS[kind].replace('{url}', url)}}}"
                    to = deliverer(url, mapping_of(text, read_preset(kind), "bench"), client)
                    for what, messages in (("new", new), ("one field", changed), ("nothing", changed)):
                        found = measure(to, messages, calls)
                        per = found.calls / asked.rows * 1000
                        cells = f"{found.rows_s:,.0f} | {per:,.0f} | {found.cpu_us:,.0f}"
                        print(f"| {kind} | {latency_ms:.0f} | {what} | {cells} |", flush=True)
                    to.close()


if __name__ == "__main__":
    main()
