"""Available to promise: sales documents are matched and netted against stock, by route.

`from_rows` turns rows into contributions. `matching` joins orders, documents and shipments; `atp` nets positions
against holds (available to promise); `routes` knows which locations serve a channel and market, `holds` and `ledger`
know holds and reservations, `kits` the parts of kits, `deltas` changes of holds; `levels`, `last_published` and
`holders` are for publication; `feeds` finds stale sources, `frames` helps the few cases that need frames. `stages`
read, decide and write.

What may come in: a rule of availability. Nothing here knows profiles.
"""

_CLIENT = frozenset({"EXPIRES_S", "Held", "Line", "Stock"})


def __getattr__(name: str) -> object:
    """Name the new place of the shop's client, for imports from its former place."""
    if name in _CLIENT:
        raise ImportError(
            f"importing {name} from nurt.stock: the shop's client is a package of its own (expected nurt_client); "
            "`pip install nurt-client` (in a checkout `pip install ./client`), then `from nurt_client import Line, "
            "Stock` and `Stock.open(url, secret=...)` with `state.url` and the secret of nurt.yaml"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
