"""Cut texts of links (`kind U+001F value`, joined by U+001E) without a copy. Hot path, for kernels."""

from __future__ import annotations

import numba

from nurt.columnar.memory import peek_byte
from nurt.columnar.sorting import NOTHING, put_entry
from nurt.columnar.types import Int64s
from nurt.normalise.context import KIND_END, LINK_END
from nurt.state.cells import NO_ROOM

_KIND_END, _LINK_END = ord(KIND_END), ord(LINK_END)


@numba.njit(nogil=True, cache=True)
def link_end(at: int, stop: int) -> int:
    """Find the end of the link at address `at`, in a text that ends at address `stop`."""
    while at < stop and peek_byte(at) != _LINK_END:
        at += 1
    return at


@numba.njit(nogil=True, cache=True)
def cut_links(start: int, stop: int, entries: Int64s, count: int) -> int:
    """Add an entry (kind, value) for every link; a link without value is left out.

    start, stop  scalar  int64  addresses of a text of links
    entries      (e, 8)  int64  written from `count` on
    count        scalar  int64  how many entries there are
    Returns how many entries there are afterwards, or NO_ROOM (negative): `entries` is too short.
    """
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
