"""What can be sold right now: sales documents are matched, netted against stock, and promised per route.

`from_rows` says what a row means here. `matching` joins orders, documents and shipments; `atp` nets positions against
holds (available to promise), `routes` says which locations serve whom, `holds` and `ledger` what is held and
reserved, `kits` what is made of parts, `deltas` what changes; `levels`, `last_published` and `holders` are what is
said; `feeds` tells stale sources, `frames` helps the few cases that need frames. `stages` read, decide and write.

What may come in: a rule of availability. Profiles are not known here.
"""

_CLIENT = frozenset({"EXPIRES_S", "Held", "Line", "Stock"})


def __getattr__(name: str) -> object:
    """Say where the shop's client is now, to those who import it from its former place."""
    if name in _CLIENT:
        raise ImportError(
            f"importing {name} from nurt.stock: the shop's client is a package of its own (expected nurt_client); "
            "`pip install nurt-client` (in a checkout `pip install ./client`), then `from nurt_client import Line, "
            "Stock` and `Stock.open(url, secret=...)` with `state.url` and the secret of nurt.yaml"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
