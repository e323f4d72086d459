"""Which papers hang together, and the index that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nurt.limits import TOKEN_PAPERS_MAX

MEMBER_BYTES = 17
Members = dict[bytes, bool]
"""Paper -> whether it bears the token, rather than only naming it."""


def read_members(value: bytes | None) -> Members:
    """Read an index value: papers that bear the token first, each a byte and an id, in the order of ids."""
    held = value or b""
    return {held[at + 1 : at + MEMBER_BYTES]: held[at : at + 1] == b"B" for at in range(0, len(held), MEMBER_BYTES)}


def write_members(members: Members) -> bytes | None:
    """Write an index value; None for nobody. The ledger's script looks at its first byte."""
    if not members:
        return None
    return b"".join(sorted((b"B" if bears else b"N") + paper for paper, bears in members.items()))


def joins(members: Mapping[bytes, bool]) -> bool:
    """Say whether a token joins who has it: one that too many have is no number."""
    return len(members) <= TOKEN_PAPERS_MAX


def components(papers: Sequence[bytes], index: Mapping[bytes, Members]) -> list[int]:
    """Number the components of papers that share tokens.

    Args:
        papers: all that hang together by any token of `index`, or by themselves.
        index: token -> who has it now.
    """
    at = {paper: number for number, paper in enumerate(papers)}
    root = list(range(len(papers)))

    def find(one: int) -> int:
        while root[one] != one:
            root[one] = root[root[one]]
            one = root[one]
        return one

    for members in index.values():
        if len(members) > 1 and joins(members):
            some = [find(at[paper]) for paper in members if paper in at]
            for one in some[1:]:
                root[find(one)] = find(some[0])
    return [find(one) for one in range(len(papers))]
