"""Components of connected sales documents, and the index of match keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nurt.limits import MATCH_KEY_DOCUMENTS_MAX

MEMBER_BYTES = 17
Members = dict[bytes, bool]
"""Document -> True: it bears the match key; False: it only names the key."""


def read_members(value: bytes | None) -> Members:
    """Read an index value: documents that bear the key first, each a byte and an id, in the order of ids."""
    body = value or b""
    return {body[at + 1 : at + MEMBER_BYTES]: body[at : at + 1] == b"B" for at in range(0, len(body), MEMBER_BYTES)}


def write_members(members: Members) -> bytes | None:
    """Write an index value; None for no document. The ledger's script looks at the value's first byte."""
    if not members:
        return None
    return b"".join(sorted((b"B" if bears else b"N") + sales_document for sales_document, bears in members.items()))


def joins(members: Mapping[bytes, bool]) -> bool:
    """Return whether a match key joins its documents: a key of too many documents is no number."""
    return len(members) <= MATCH_KEY_DOCUMENTS_MAX


def components(sales_documents: Sequence[bytes], index: Mapping[bytes, Members]) -> list[int]:
    """Number the components of documents that share match keys.

    Args:
        sales_documents: all documents that are connected by a key of `index`, and single ones.
        index: match key -> its documents now.
    """
    at = {sales_document: number for number, sales_document in enumerate(sales_documents)}
    root = list(range(len(sales_documents)))

    def find(one: int) -> int:
        while root[one] != one:
            root[one] = root[root[one]]
            one = root[one]
        return one

    for members in index.values():
        if len(members) > 1 and joins(members):
            some = [find(at[sales_document]) for sales_document in members if sales_document in at]
            for one in some[1:]:
                root[find(one)] = find(some[0])
    return [find(one) for one in range(len(sales_documents))]
