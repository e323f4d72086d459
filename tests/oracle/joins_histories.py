"""Random histories of tables whose rows are joined, and of entities beside them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from nurt.model.entities import ENTITIES
from nurt.model.entity_frame import UPSERT
from tests.oracle.histories import History, Step, _parent, _sources, arrange, history_of
from tests.oracle.joins import ORDER_NAMES, TABLES, USER_NAMES
from tests.oracle.sources import Connector, Stored, _without_held, compacted
from tests.oracle.values import DAY_US, TODAY

_NUMBERS = ("10", "9", "09.50", "-3", "2x", "", None)
_POOLS: dict[str, dict[str, Sequence[Any]]] = {
    "order_meta": {
        "order": ("1", "2", "3", "4", None),
        "name": (*ORDER_NAMES, "_total", "_customer_user", "_other", None),
        "value": ("1", "2", "12.50", "abc", "EUR", None),
    },
    "order": {
        "status": ("complete", "cancelled", None),
        "#customer": ("1", "2", None),
        "#number": ("A1", "A2", None),
        "placed_at": ((TODAY - 3) * DAY_US, TODAY * DAY_US, None),
    },
    "address": {
        "order": ("1", "2", "3", None),
        "type": ("billing", "bill", "shipping", None),
        "email": ("ann@example.com", "bob@example.com", None),
        "phone": ("+48601000001", "+48601000002", None),
        "rank": [one or None for one in _NUMBERS],
        "weight": (10_000, -5, None),
    },
    "customer": {"email": ("ann@example.com", "carl@example.com", None), "first_name": ("Ann", "Bob", None)},
    "user_meta": {
        "user": ("1", "2", "3", None),
        "name": (*USER_NAMES, "other", None),
        "value": ("+48601000001", "+48601000003", "Nowak", None),
    },
    "user_text": {
        "user": ("1", "2", "3", None),
        "name": (*USER_NAMES, "other"),
        "value": ("+48601000002", "Kowal", None),
    },
}
_POOLS |= {
    "product_row": {"sku": ("A", "B", None), "category": ("x", "y", None), "price": (10_000, 20_000, None)},
    "order_line": {
        "#order": ("1", "2", "3", None),
        "#product": ("1", "2", "3", None),
        "quantity": (10_000, 20_000, None),
    },
    "attribute": {"code": ("company", "tax_id", "other", None)},
    "eav": {
        "customer": ("1", "2", "3", None),
        "attribute": ("1", "2", "3", None),
        "value": ("PL5260250274", "DE123456789", None),
    },
}
_OTHERS = ("payment", "consent")
_PUTS = (*("order_meta",) * 5, *("order",) * 3, *("address",) * 4, *("customer",) * 2, *("user_meta",) * 3)
_PUTS = (*_PUTS, *("user_text", "eav", "attribute") * 2, *("product_row", "order_line") * 3, *_OTHERS)
_TABLES = {one.name: one for one in TABLES}
_MISHAPS = ("delete", "delete", "rekey", "read_again", "redeliver", "echo", "truncate", "snapshot", "rename", "grow")
_MOODS = (
    (*("put",) * 14, *_MISHAPS),
    (*("put",) * 3, "delete", "rekey"),
    (*("put",) * 3, "truncate", "echo", "redeliver"),
    (*("put",) * 3, *_MISHAPS),
)


def put(connector: Connector, name: str, key: str, choose: Random, /, **fields: Any) -> None:
    """Insert a row of a table, or update some of its fields; fields that are named get these values."""
    of = _TABLES[name]
    kind, rows = of.kind, connector.tables.setdefault((of.kind, name), {})
    before = rows.get(key)
    values = dict.fromkeys(ENTITIES[kind].fields) if before is None else dict(before.fields)
    for field, slot in of.slots.items():
        if before is None or choose.random() < 0.4:
            values[slot] = choose.choice(_POOLS[name][field])
        if field in fields:
            values[slot] = fields[field]
    after = rows[key] = Stored(values, None, None)
    names = list(values)
    held = 0 if before is None else connector._held(before, after, names, choose)
    connector._write(kind, name, key, UPSERT, _without_held(after, held, names), held=held)


def _play(step: Step, connectors: list[Connector]) -> None:
    connector = connectors[step.where % len(connectors)]
    choose = Random(step.noise)
    if step.noise % 3 == 0:
        connector.commit()
    if step.verb == "put":
        name = _PUTS[step.what % len(_PUTS)]
        if name in _OTHERS:
            connector.put(name, name, str(step.key), _parent(connector.source, name, step), choose)
        else:
            put(connector, name, str(step.key), choose)
        return
    if step.verb in ("snapshot", "rename", "grow"):
        if step.verb != "snapshot" or connector.may_read_again:
            getattr(connector, step.verb)()
        return
    if step.verb == "redeliver":
        connector.redeliver(step.key + step.noise % 12)
        return
    if step.verb == "echo":
        connector.echo(choose)
        return
    tables = [(table, list(rows)) for table, rows in connector.tables.items() if rows]
    if not tables:
        return
    (kind, entity), keys = tables[step.what % len(tables)]
    key = keys[step.key % len(keys)]
    if step.verb == "delete":
        connector.delete(kind, entity, key)
    elif step.verb == "rekey":
        connector.rekey(kind, entity, key, str(step.parent), cascade=False)
    elif step.verb == "truncate":
        connector.truncate(kind, entity, choose)
    else:
        connector.read_again(kind, entity)


_where, _key_numbers, _noise = st.integers(0, 1), st.integers(1, 5), st.integers(0, 2**16)


@st.composite
def joined_histories(draw: st.DrawFn, steps_max: int = 60) -> History:
    """Draw a history of databases whose orders and customers are rows of several tables."""
    sources = draw(_sources())[:2]
    verbs = st.sampled_from(draw(st.sampled_from(_MOODS)))
    step = st.builds(Step, verbs, _where, st.integers(0, 40), _key_numbers, _key_numbers, _noise)
    fewest = draw(st.sampled_from([0, steps_max // 8, steps_max // 3, steps_max // 2]))
    log: list[Any] = []
    connectors = [Connector(source, log) for source in sources]
    for one in draw(st.lists(step, min_size=fewest, max_size=steps_max)):
        _play(one, connectors)
    compacted(connectors, Random(len(log)))
    order = draw(st.sampled_from(["written", "mixed", "children_first", "parents_first"]))
    arrivals = arrange(log, order, draw(st.integers(0, 2**16)), draw(st.sampled_from([0, 0, 1, 3])))
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    return history_of(connectors, arrivals, {}, sizes)
