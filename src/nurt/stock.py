"""The former home of the shop's client, which says where it is now."""

from __future__ import annotations

raise ImportError(
    "importing nurt.stock: the shop's client is a package of its own (expected nurt_client); `pip install nurt-client` "
    "(in a checkout `pip install ./client`), then `from nurt_client import Line, Stock` and "
    "`Stock.open(url, secret=...)` with `state.url` and the secret of nurt.yaml"
)
