"""Cut texts of links (`kind U+001F value`, joined by U+001E) into kinds and values, without copying. Hot path."""

from __future__ import annotations

import numba
import numpy as np

from nurt.core.arrow_columns import Texts
from nurt.core.context import KIND_END, LINK_END
from nurt.core.packing import Int64s


def cut_links(texts: Texts) -> tuple[Int64s, Texts, Texts]:
    """Cut every text; returns, by link, the index of its text, its kind and its value."""
    most = int((texts.stops - texts.starts + 1).sum())
    link, kind_stop, start, stop = (np.empty(most, dtype=np.int64) for _ in range(4))
    found = _cut(texts.starts, texts.stops, texts.body, ord(KIND_END), ord(LINK_END), link, start, kind_stop, stop)
    link, start, kind_stop, stop = link[:found], start[:found], kind_stop[:found], stop[:found]
    return link, Texts(start, kind_stop, texts.body), Texts(kind_stop + 1, stop, texts.body)


@numba.njit(nogil=True, cache=True)
def _cut(starts, stops, body, kind_end, link_end, link, start, kind_stop, stop):  # type: ignore[no-untyped-def]
    found = 0
    for row in range(len(starts)):
        begin, split = starts[row], -1
        for at in range(starts[row], stops[row] + 1):
            if at == stops[row] or body[at] == link_end:
                if split >= 0:  # else it has no value
                    link[found], start[found], kind_stop[found], stop[found] = row, begin, split, at
                    found += 1
                begin, split = at + 1, -1
            elif split < 0 and body[at] == kind_end:
                split = at
    return found
