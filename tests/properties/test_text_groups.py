"""Texts in arrays: sorted, grouped, cut and made columns as plain Python does it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nurt.core.arrow_columns import Texts, coded_texts, hex_texts, join_texts, struct_column, words_of
from nurt.core.choice import ONLY, ROW, choose
from nurt.core.link_texts import cut_links
from nurt.core.text_groups import group_texts

WORDS = st.text("aąz", max_size=2) | st.text(max_size=20)
ROWS = st.lists(st.tuples(st.integers(0, 4), WORDS, WORDS), min_size=1, max_size=80)


def texts_of(texts: list[str]) -> Texts:
    """Lay texts down with a gap before each, so that none begins where another ends."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) + 1 for text in encoded], dtype=np.int64)
    starts = ends - np.array([len(text) for text in encoded], dtype=np.int64)
    return Texts(starts, ends, np.frombuffer(b"".join(b"." + text for text in encoded), dtype=np.uint8))


@given(ROWS)
def test_rows_are_sorted_by_owner_and_texts_and_equal_ones_stay_in_order(rows: list[tuple[int, str, str]]) -> None:
    owner = np.array([one for one, _, _ in rows])
    groups = group_texts(owner, texts_of([text for _, text, _ in rows]), texts_of([text for _, _, text in rows]))
    expected = sorted(range(len(rows)), key=lambda row: rows[row])
    assert groups.order.tolist() == expected
    distinct = sorted(set(rows))
    assert [rows[row] for row in groups.rows().tolist()] == distinct
    assert groups.owner.tolist() == [one for one, _, _ in distinct]
    assert groups.by_row().tolist() == [distinct.index(row) for row in rows]


@given(ROWS)
def test_numbers_are_added_and_compared_by_group(rows: list[tuple[int, str, str]]) -> None:
    groups = group_texts(np.array([one for one, _, _ in rows]), texts_of([text for _, text, _ in rows]))
    numbers = np.array([(7 * place) % 11 - 5 for place in range(len(rows))])
    by_group: dict[tuple[int, str], list[int]] = {}
    for (one, text, _), number in zip(rows, numbers.tolist(), strict=True):
        by_group.setdefault((one, text), []).append(number)
    held = [by_group[group] for group in sorted(by_group)]
    assert groups.total(numbers).tolist() == list(map(sum, held))
    assert groups.smallest(numbers).tolist() == list(map(min, held))
    assert groups.largest(numbers).tolist() == list(map(max, held))


@given(st.lists(st.none() | WORDS, max_size=40))
def test_a_column_of_texts_holds_them(texts: list[str | None]) -> None:
    held = texts_of([text or "" for text in texts])
    valid = np.array([text is not None for text in texts], dtype=np.bool_)
    assert held.column(valid).to_pylist() == texts
    assert held.plain() == [(text or "").encode() for text in texts]
    assert struct_column({"value": held.column()}, valid).to_pylist() == [
        None if text is None else {"value": text} for text in texts
    ]


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20))
def test_ids_are_written_in_hex_and_their_words_order_as_they_do(ids: list[bytes]) -> None:
    words = words_of(ids)
    assert hex_texts(words).plain() == [one.hex().encode() for one in ids]
    assert sorted(range(len(ids)), key=lambda row: tuple(words[row].tolist())) == sorted(
        range(len(ids)), key=lambda row: ids[row]
    )


def test_joined_texts_share_a_body_that_occurs_twice() -> None:
    both = texts_of(["ab", "c"])
    joined = join_texts([both.take(np.array([1])), coded_texts(np.array([0]), ["kind"]), both])
    assert joined.plain() == [b"c", b"kind", b"ab", b"c"]
    assert len(joined.body) == len(both.body) + len("kind")


LINKS = st.lists(st.tuples(st.text("ab", min_size=1, max_size=3), st.text("xyz\x1f", max_size=3)), max_size=4)


@given(st.lists(LINKS, max_size=8))
def test_links_are_cut_into_kinds_and_values(accounts: list[list[tuple[str, str]]]) -> None:
    texts = ["\x1e".join(f"{kind}\x1f{value}" for kind, value in links) for links in accounts]
    account, kinds, values = cut_links(texts_of(texts))
    expected = [(row, kind, value) for row, links in enumerate(accounts) for kind, value in links]
    found = zip(account.tolist(), kinds.plain(), values.plain(), strict=True)
    assert [(row, kind.decode(), value.decode()) for row, kind, value in found] == expected


CANDIDATES = st.lists(
    st.tuples(st.integers(0, 2), st.none() | st.text("ab", max_size=1), st.integers(0, 1), st.integers(0, 1)),
    max_size=12,
)


@given(CANDIDATES, st.randoms(use_true_random=False))
def test_the_smallest_candidate_wins_by_the_first_rule_that_tells_it_from_another_value(
    candidates: list[tuple[int, str | None, int, int]], random: object
) -> None:
    ids = [place.to_bytes(16, "big") for place in range(len(candidates))]
    random.shuffle(ids)  # type: ignore[attr-defined]
    won = choose(
        np.array([one for one, *_ in candidates], dtype=np.int64),
        texts_of([value or "" for _, value, *_ in candidates]),
        np.array([value is not None for _, value, *_ in candidates], dtype=np.bool_),
        np.array([[first for *_, first, _ in candidates], [second for *_, second in candidates]], dtype=np.int64),
        words_of(ids),
        3,
    )
    names = ["first", "second", ROW, ONLY]
    for owner in range(3):
        rows = [row for row, (one, value, *_) in enumerate(candidates) if one == owner and value is not None]
        if not rows:
            assert won.row[owner] == -1
            continue
        best = min(rows, key=lambda row: (*candidates[row][2:], ids[row]))
        others = [row for row in rows if candidates[row][1] != candidates[best][1]]
        told = [next((k for k in (0, 1) if candidates[row][2 + k] != candidates[best][2 + k]), 2) for row in others]
        assert won.row[owner] == best
        assert names[won.rule[owner]] == (names[min(told)] if told else ONLY)
