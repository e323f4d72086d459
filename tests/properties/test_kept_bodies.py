"""What is kept of profiles, compared and written by one kernel as `KeptProfile` does it one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nurt.columnar.values import Values
from nurt.model.stored_profile import ERASED, LIVE, REDIRECT, KeptProfile, with_revision
from nurt.profiles.golden_record.compare import ProfileBodies, compare_kept

RESTS = st.sampled_from([b"", b"one", b"two", b"\x80\x01one", b"onetwo" * 50])
DAYS = st.sampled_from([-1, 20_000, 20_001])
REVISIONS = st.sampled_from([0, 1, 63, 64, 1 << 40 | 5, 3 << 40 | 5, (1 << 62) - 1])


@st.composite
def profiles(draw: st.DrawFn) -> tuple[KeptProfile | None, int, int, bytes]:
    """Draw what is kept of a profile, and its state, due day and content (a body with revision 0) now."""
    name = draw(st.integers(0, 255)).to_bytes(1, "big")
    place = b"\x40" + name.hex().encode() * 16

    def content(state: int) -> bytes:
        return b"" if state == ERASED else place + b"\0" + draw(RESTS)

    kept = None
    if draw(st.booleans()):
        state, revision = draw(st.sampled_from([LIVE, REDIRECT, ERASED])), draw(REVISIONS)
        said = content(state)
        kept = KeptProfile(revision, draw(DAYS), state, with_revision(said, revision) if said else b"")
    state = draw(st.sampled_from([LIVE, REDIRECT, ERASED]))
    if kept is not None and kept.state == state and kept.body and draw(st.booleans()):
        return kept, state, kept.due, kept.body.replace(with_revision(place + b"\0", kept.revision), place + b"\0", 1)
    return kept, state, draw(DAYS), content(state)


@given(st.lists(profiles(), max_size=12), REVISIONS, st.booleans())
def test_the_kernel_keeps_what_one_by_one_would_be_kept(
    drawn: list[tuple[KeptProfile | None, int, int, bytes]], revision: int, anew: bool
) -> None:
    ends = np.cumsum([0, *[len(content) for *_, content in drawn]], dtype=np.int64)
    bodies = ProfileBodies(
        np.array([state for _, state, _, _ in drawn], dtype=np.int64),
        np.array([due for _, _, due, _ in drawn], dtype=np.int64),
        ends[:-1],
        ends[1:],
        np.frombuffer(b"".join(content for *_, content in drawn), dtype=np.uint8),
    )
    compared = compare_kept(bodies, Values.of([kept and kept.encode() for kept, *_ in drawn]), revision, anew)
    values = compared.values.plain()
    for row, (kept, state, due, content) in enumerate(drawn):
        new = KeptProfile(revision, due, state, with_revision(content, revision) if content else b"")
        same = kept is not None and (kept.state, kept.due) == (state, due)
        same = same and kept is not None and kept.body == (with_revision(content, kept.revision) if content else b"")
        changed = anew or not (same or (kept is None and state == ERASED))
        assert compared.changed[row] == changed
        assert compared.known[row] == (kept is not None)
        assert compared.due[row] == (-1 if kept is None else kept.due)
        assert values[row] == (new.encode() if changed else None)
        if changed:
            assert compared.revision[row] == revision
        elif kept is not None:
            assert compared.revision[row] == kept.revision
    assert len(values) == len(drawn)
