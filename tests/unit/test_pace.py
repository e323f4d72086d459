"""A source rests while Bytewax would hold it back anyway, and not longer for long."""

from __future__ import annotations

from nurt.operators.pace import REST_S_MAX, REST_SHARE, WAITS_KEPT, Pace


def played(waits_s: list[float]) -> list[float]:
    """Play epochs of 100 ms, from the call that ended the last one; return how long each last call said to rest."""
    pace, ended_s, rests_s = Pace(0.1), 0.0, []
    pace.call(ended_s)
    pace.close()
    for wait_s in waits_s:
        rested_s = rests_s[-1] if rests_s else 0.0
        if max(wait_s, rested_s) < 0.09:
            rest_s = pace.call(ended_s + max(wait_s, rested_s))
            assert rest_s == 0.0, "an epoch that goes on is not slowed down"
            ended_s += 0.125  # a sum of tenths may fall short of an epoch
        else:
            ended_s += max(wait_s, rested_s)
        rests_s.append(pace.call(ended_s))
        pace.close()
    return rests_s


def test_a_rest_is_a_part_of_the_shortest_of_the_last_waits() -> None:
    rests_s = played([0.02, 0.03, 0.04, 0.05, 0.05, 0.05, 0.05])
    assert abs(rests_s[1] - REST_SHARE * 0.02) < 1e-9
    assert abs(rests_s[-1] - REST_SHARE * 0.05) < 1e-9


def test_too_long_a_rest_shrinks_by_itself() -> None:
    rests_s = played([0.05] * WAITS_KEPT + [0.0] * 60)
    assert rests_s[WAITS_KEPT - 1] > 0.03
    assert rests_s[-1] < 0.001


def test_a_long_outage_is_no_reason_for_a_long_rest() -> None:
    assert max(played([30.0] * 8)) == REST_S_MAX
