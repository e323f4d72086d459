"""Fold contributions into accounts: child records for few children, aggregates for many.

Hot path. The aggregates add up all children: a child's old partial aggregate is subtracted and the new one added, so
a count can be taken back. A child's partial lies beside the account under (account, child); an account with ten
million orders never loads the partials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nurt.columnar.distinct import distinct, newest
from nurt.columnar.text_codes import few_texts
from nurt.columnar.texts import Texts
from nurt.columnar.types import Bools, Int64s
from nurt.columnar.values import Values
from nurt.profiles.fold_aggregates import AggregatesFolded, fold_aggregates
from nurt.profiles.identity.links import JoinedLinks
from nurt.profiles.identity.write_links import write_links
from nurt.rows.children.contributions import Contributions, join_contributions, no_texts
from nurt.rows.children.records import RecordsFolded, fold_records
from nurt.rows.children.tables import ACCOUNT_RECORDS, HEAD_PART
from nurt.state.write_rows import pack_columns


@dataclass(frozen=True, slots=True)
class Partials:
    """The newest partial aggregate of each (account, child) pair of a batch.

    Attributes:
        owner: by pair: index of the account.
        contributions: by pair.
    """

    owner: Int64s
    contributions: Contributions


def newest_partials(owner: Int64s, contributions: Contributions) -> Partials:
    """Keep the newest partial aggregate of each (owner, child).

    Args:
        owner: by contribution.
        contributions: in order.
    """
    codes, firsts = distinct(np.column_stack((owner.view(np.uint64), contributions.child)))
    if len(firsts) == len(owner):
        return Partials(owner, contributions)
    winners = newest(codes, contributions.stamp, len(firsts))
    return Partials(owner[winners], contributions.take(winners))


@dataclass(frozen=True, slots=True)
class AccountsFolded:
    """Accounts after a fold.

    Attributes:
        records: values of ACCOUNT_RECORDS by owner.
        alive: by owner; False: the account is gone, whatever its child records hold.
        aggregates: of all children, and each child's partial.
        system: by owner: index into `systems`; the system determines the realm.
        systems: names.
        links: texts of links by owner; None for an account that is gone.
        moved_to: owner -> id of the account that it became when its key changed.
    """

    records: RecordsFolded
    alive: Bools
    aggregates: AggregatesFolded
    system: Int64s
    systems: list[str]
    links: JoinedLinks
    moved_to: dict[int, bytes]


def fold_accounts(
    owner: Int64s,
    contributions: Contributions,
    partials: Partials,
    stored_records: Values,
    stored_aggregates: Values,
    stored_partials: Values,
) -> AccountsFolded:
    """Fold child records and partial aggregates into accounts.

    Args:
        owner: by contribution: index of its account.
        contributions: child records.
        partials: newest of this batch, by pair.
        stored_records, stored_aggregates: values by owner, as read.
        stored_partials: values by pair, as read.
    """
    accounts = len(stored_records)
    speakers = join_contributions([contributions, partials.contributions])
    spoken = np.concatenate((owner, partials.owner))
    new = _new_heads(spoken, speakers, stored_records.there)
    folded = fold_records(
        ACCOUNT_RECORDS,
        stored_records,
        np.concatenate((new.owner, owner)),
        join_contributions([new.contributions, contributions]),
        uncounted=HEAD_PART,
    )
    aggregates = fold_aggregates(partials.owner, partials.contributions, stored_aggregates, stored_partials)
    alive = folded.has_counted | np.where(aggregates.same, stored_aggregates.there, aggregates.aggregates.there)
    system, systems = _systems(spoken, speakers.system, accounts)
    links = write_links(folded.values, alive)
    return AccountsFolded(folded, alive, aggregates, system, systems, links, _moved(owner, contributions))


def _systems(owner: Int64s, names: Texts, accounts: int) -> tuple[Int64s, list[str]]:
    """Find each account's system; every contribution to an account names it."""
    first = _first(owner, np.flatnonzero(names.stops > names.starts), accounts)
    return few_texts(names.take(first))


def _first(owner: Int64s, rows: Int64s, accounts: int) -> Int64s:
    """Find each owner's first of these rows; owners without one get the first of all."""
    first = np.zeros(accounts, dtype=np.int64)
    backwards = rows[::-1]
    first[owner[backwards]] = backwards
    return first


def _new_heads(owner: Int64s, contributions: Contributions, known: Bools) -> Partials:
    """Make the head records of new accounts: the texts behind their ids.

    A contribution that is only "gone" has the system, which determines the realm, and no other text.
    """
    spoken = np.flatnonzero(~known[owner] & (contributions.entity.stops > contributions.entity.starts))
    owners, at = np.unique(owner[spoken], return_index=True)
    new = contributions.take(spoken[at])
    zeros = np.zeros(len(owners), dtype=np.int64)
    ids = np.ascontiguousarray(new.to).view(np.uint8).reshape(-1)
    starts = np.arange(len(owners), dtype=np.int64) * 16
    body = pack_columns(
        ACCOUNT_RECORDS,
        {"part": zeros + HEAD_PART, "stamp": zeros},
        {"child": Texts(starts, starts + 16, ids), "system": new.system, "entity": new.entity, "key": new.key},
    )
    none = no_texts(len(owners))
    heads = Contributions(
        *(new.to, new.to, zeros, zeros + HEAD_PART, np.zeros(len(owners), dtype=np.bool_), body),
        *(none, none, none, np.zeros_like(new.moved_to)),
    )
    return Partials(owners, heads)


def _moved(owner: Int64s, contributions: Contributions) -> dict[int, bytes]:
    rows = np.flatnonzero(contributions.gone & contributions.moved_to.any(axis=1))
    return {int(owner[row]): contributions.moved_to[row].tobytes() for row in rows.tolist()}
