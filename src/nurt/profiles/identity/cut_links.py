"""Cut texts of links (`kind U+001F value`, joined by U+001E) where they lie. Hot path, for kernels."""

from __future__ import annotations

import numba

from nurt.columnar.memory import peek_byte
from nurt.columnar.sorting import NOTHING, put_entry
from nurt.normalise.context import KIND_END, LINK_END
from nurt.state.cells import NO_ROOM

_KIND_END, _LINK_END = ord(KIND_END), ord(LINK_END)


@numba.njit(nogil=True, cache=True)
def link_end(at, stop):  # type: ignore[no-untyped-def]
    """Find where the link ends that begins at an address, in a text that ends at another."""
    while at < stop and peek_byte(at) != _LINK_END:
        at += 1
    return at


@numba.njit(nogil=True, cache=True)
def cut_links(start, stop, entries, count):  # type: ignore[no-untyped-def]
    """Add an entry (kind, value) for every link; returns how many there are then. A link without value is left out."""
    at = start
    while at <= stop:
        end = link_end(at, stop)
        split = at
        while split < end and peek_byte(split) != _KIND_END:
            split += 1
        if split < end:
            if count >= len(entries):
                return NO_ROOM
            count = put_entry(entries, count, NOTHING, at, split - at, split + 1, end - split - 1, NOTHING)
        at = end + 1
    return count
