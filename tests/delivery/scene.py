"""A delivery without topics: profiles that are changed by hand, a real Redis, a fake receiver."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from redis import Redis

from nurt.adapters.delivery_rows import PREFIXES, SCHEMAS, Wishes
from nurt.adapters.delivery_store import DeliveryStore
from nurt.core.delivery_diff import Rules
from nurt.core.delivery_mapping import DestinationMapping, Reader
from nurt.core.delivery_notes import Message
from nurt.core.delivery_record import Marks
from nurt.model.keys import Keys
from nurt.operators.deliver import Deliverer
from nurt.ports import Destination
from tests.contracts.published import encode, id_of, profile

SECRET = b"0123456789abcdef"


def mapping_of(text: str, preset: Mapping[str, Any] | None = None, name: str = "crm") -> DestinationMapping:
    return Reader("delivery.yaml", SCHEMAS, PREFIXES).destination(name, yaml.safe_load(text), preset or {})


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

    def store(self) -> DeliveryStore:
        return DeliveryStore(self.redis, Keys(self.prefix, 4), self.mapping.name)

    def deliverer(self, **options: Any) -> Deliverer:
        store = self.store()
        store.begin()
        to = self.open_destination(self.mapping)
        plans = tuple(one.plan for one in self.mapping.objects)
        rules = Rules(plans, Marks(SECRET), self.generation, to.limits.whole_rows)
        return Deliverer(to, rules, store, Wishes(self.mapping), **options)

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

    def _told(self, number: int, body: bytes | None) -> Message:
        message = Message(id_of(number).hex(), (0, self.offset), None, body)
        self.told[number] = message
        return message


CHOSEN = ("email", "phone", "first_name", "last_name", "company", "tax_id", "loyalty_card", "language", "country")


def key_of(number: int) -> str:
    return id_of(number).hex()
