"""A crash at any write changes nothing of what is published in the end.

A crash before the next write is a crash after this one, with all that lies between; so all of them are tried. Which
writes of the flow need which rule: `test_rules_replay`, `test_rules_owed`.
"""

from __future__ import annotations

import pytest

from tests.flows.book import a_hard_life, new_engine, play, wrong, wrong_crashes


@pytest.mark.slow
def test_a_crash_at_any_write_of_a_hard_life_changes_nothing() -> None:
    history = a_hard_life().history(size=4)
    assert play(history, new_engine(history)).writes >= 30
    assert not wrong_crashes(history, lambda: new_engine(history))


def test_what_is_hard_in_that_life_is_published_meanwhile() -> None:
    history = a_hard_life().history()
    engine = play(history, new_engine(history))
    assert not wrong(history, engine)
    states = [record["state"] for record in engine.topic.published().values()]
    assert states.count("redirect") >= 2, "profiles merged or were re-keyed"
    assert any(value is None for _, value in engine.topic.newest.values()), "a profile was erased"
