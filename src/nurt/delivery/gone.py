"""Rows that others deleted, merged or archived at the receiver, and what follows when nurt finds out.

A row that was accepted once is believed to be there, and only changed from then on: a difference never makes a row.
When the receiver says that it has the row no more, a policy decides. What is sent under `ask` and `restore` is the
whole row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from nurt.delivery.last_known import LastKnown, Presence, RemoteRow
from nurt.model.delivery import LINK_SIGN, RowResult

GONE = "gone_at_receiver"
"""Code of a refusal: the row was believed to be there."""


class GonePolicy(StrEnum):
    """Policy for a row that the receiver was believed to hold, and does not."""

    ASK = "ask"  # it is told, in quarantine; each later change asks the receiver again
    LEAVE = "leave"  # it stays gone
    RESTORE = "restore"  # the whole row is sent again


def is_believed(remote: RemoteRow, policy: GonePolicy) -> bool:
    """Say whether a write may only change this row, and must not make it."""
    if remote.presence is Presence.GONE:
        return policy is not GonePolicy.RESTORE
    return remote.is_there


def stays_gone(remote: RemoteRow, policy: GonePolicy) -> bool:
    """Say whether a row is left alone: others took it away."""
    return remote.presence is Presence.GONE and policy is GonePolicy.LEAVE


def question(object_: str, destination: str, row_result: RowResult) -> str:
    """Write what a refusal says of a row that is gone: what was found, and what a person can do."""
    found = f"{row_result.code}: {row_result.words}" if row_result.words else row_result.code
    return (
        f"others deleted, merged or archived it there; write `when_gone: leave` or `when_gone: restore` for {object_} "
        f"in delivery.yaml, then `nurt deliver retry {destination}` ({found})"
    )


def forget_links(known: LastKnown, links: Iterable[tuple[str, tuple[str, str]]], object_: str, key: str) -> LastKnown:
    """Forget that links of a row were made: the receiver dropped them with the row.

    Args:
        links: the name of each link, and the two objects that it joins.
    """
    ends = {name: [at for at, end in enumerate(joined) if end == object_] for name, joined in links}
    remote_rows = tuple(
        replace(one.forget(), receiver_id=None, refused=None)
        if any(one.key.split(LINK_SIGN)[at] == key for at in ends.get(one.object, ()))
        else one
        for one in known.remote_rows
    )
    return replace(known, remote_rows=remote_rows)
