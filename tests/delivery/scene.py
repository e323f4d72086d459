"""A delivery without topics: profiles that are changed by hand, a real Redis, a fake receiver."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro
import yaml
from redis import Redis

from nurt.adapters.redis.delivery.store import DeliveryStore
from nurt.contracts import schemas
from nurt.delivery.diff import DeliveryRules
from nurt.delivery.journal import Message
from nurt.delivery.last_known import Fingerprinter
from nurt.delivery.mapping import DestinationMapping, DestinationReader
from nurt.delivery.ports import DesiredStateReader, Destination
from nurt.delivery.read.bodies import WIRE_BYTES
from nurt.delivery.read.contracts import CONTRACTS, ContractStateReader, MixedStateReader, columns_of
from nurt.delivery.read.profiles import PREFIXES, SCHEMAS, ProfileStateReader
from nurt.delivery.run.deliverer import Deliverer
from nurt.model.keys import Keys
from tests.contracts.published import encode, id_of, profile

SECRET = b"0123456789abcdef"


def mapping_of(text: str, preset: Mapping[str, Any] | None = None, name: str = "crm") -> DestinationMapping:
    kinds = {"profiles": SCHEMAS, **{of: columns_of(of) for of in CONTRACTS}}
    return DestinationReader("delivery.yaml", kinds, PREFIXES).destination(name, yaml.safe_load(text), preset or {})


def chosen(value: str) -> dict[str, str]:
    return {"value": value, "system": "shop", "row": "0" * 32, "position": "1:2:::@3", "rule": "newest"}


@dataclass
class Scene:
    """Profiles as the topic would say them; every change is a message with the next offset."""

    redis: Redis
    mapping: DestinationMapping
    open_destination: Callable[[DestinationMapping], Destination]
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")
    offset: int = 0
    generation: int = 0
    told: dict[int, Message] = field(default_factory=dict)
    profiles: dict[int, dict[str, Any]] = field(default_factory=dict)
    orders: dict[int, dict[str, Any]] = field(default_factory=dict)

    def store(self) -> DeliveryStore:
        return DeliveryStore(self.redis, Keys(self.prefix, 4), self.mapping.name)

    def deliverer(self, **options: Any) -> Deliverer:
        store = self.store()
        store.begin()
        to = self.open_destination(self.mapping)
        plans = tuple(one.plan for one in self.mapping.objects)
        rules = DeliveryRules(plans, Fingerprinter(SECRET), self.generation, to.limits.whole_rows)
        desired_states: DesiredStateReader = ProfileStateReader(self.mapping)
        if "orders" in self.mapping.kinds():
            desired_states = MixedStateReader(
                {"profiles": desired_states, "orders": ContractStateReader(self.mapping, "orders", None)}
            )
        return Deliverer(to, rules, store, desired_states, **options)

    def say(self, number: int, **fields: Any) -> Message:
        """Change a profile; texts become chosen values."""
        self.offset += 1
        filled = {
            name: chosen(value) if isinstance(value, str) and name in CHOSEN else value
            for name, value in fields.items()
        }
        made = profile(number, self.offset, **filled)
        self.profiles[number] = made
        return self._told(number, encode(made))

    def merge(self, number: int, into: int) -> Message:
        self.offset += 1
        made = profile(number, self.offset, state="redirect", redirect_to=id_of(into).hex())
        self.profiles[number] = made
        return self._told(number, encode(made))

    def erase(self, number: int) -> Message:
        self.offset += 1
        self.profiles.pop(number, None)
        return self._told(number, None)

    def order(self, number: int, account: str | None, **fields: Any) -> Message:
        """Change an order; it belongs to an account."""
        self.offset += 1
        schema = schemas.load(CONTRACTS["orders"])
        order = {field["name"]: field.get("default") for field in schema["fields"]}
        order |= {"id": order_key(number), "revision": self.offset, "number": str(number), "stage": "placed"}
        order |= {"account": account, **fields}
        body = io.BytesIO(b"\x00" * WIRE_BYTES)
        body.seek(WIRE_BYTES)
        fastavro.schemaless_writer(body, fastavro.parse_schema(schema), order)
        self.orders[number] = order
        return Message(order_key(number), (0, self.offset), None, body.getvalue(), "orders")

    def order_gone(self, number: int) -> Message:
        self.offset += 1
        self.orders.pop(number, None)
        return Message(order_key(number), (0, self.offset), None, None, "orders")

    def _told(self, number: int, body: bytes | None) -> Message:
        message = Message(id_of(number).hex(), (0, self.offset), None, body)
        self.told[number] = message
        return message


CHOSEN = ("email", "phone", "first_name", "last_name", "company", "tax_id", "loyalty_card", "language", "country")


def key_of(number: int) -> str:
    return id_of(number).hex()


def order_key(number: int) -> str:
    return id_of(10_000 + number).hex()


def account(number: int) -> str:
    return id_of(20_000 + number).hex()


def accounts(*numbers: int) -> list[dict[str, str]]:
    """What a profile says of its accounts."""
    return [
        {"account": account(number), "system": "shop", "entity": "customer", "key": str(number)} for number in numbers
    ]
