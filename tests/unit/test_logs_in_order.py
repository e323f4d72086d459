"""Orders are read when the profiles that were there at the start have been, by all workers."""

from __future__ import annotations

from nurt.delivery.read.logs_in_order import Gate, LogsInOrder
from nurt.model.log import Committed, Leaders, Offsets
from nurt.model.raw import RawBatch


class Listed:
    """A log of a list; implements logs_in_order.Leading."""

    def __init__(self, topic: str, there: int, later: int = 0, run: int = 0) -> None:
        self.topic, self.there, self.later, self.run = topic, there, later, run
        self.at = 0
        self.stored: Offsets = {}
        self.closed = False

    def committed(self) -> Committed | None:
        return Committed(dict(self.stored), self.run, 0) if self.stored else None

    def start(self, offsets: Offsets | None, leaders: Leaders | None = None) -> None:
        self.at = (offsets or {}).get((self.topic, 0), 0)

    def poll(self, rows_max: int) -> list[RawBatch]:
        some = range(self.at, min(self.at + rows_max, self.there + self.later))
        self.at += len(some)
        if not some:
            return []
        return [RawBatch(self.topic, [0] * len(some), list(some), [0] * len(some), *([[None] * len(some)] * 3))]

    def caught_up(self) -> bool:
        return self.at >= self.there

    def offsets(self) -> Offsets:
        return {(self.topic, 0): self.at}

    def leaders(self) -> Leaders:
        return {}

    def exhausted(self) -> bool:
        return self.at >= self.there + self.later

    def commit(self, committed: Committed) -> None:
        self.stored |= {part: at for part, at in committed.offsets.items() if part[0] == self.topic}

    def lag(self) -> int:
        return self.there + self.later - self.at

    def close(self) -> None:
        self.closed = True


def read(log: LogsInOrder, rows_max: int) -> list[tuple[str, int]]:
    return [(batch.topic, len(batch)) for batch in log.poll(rows_max)]


def settled(log: LogsInOrder) -> None:
    log.commit(Committed(log.offsets(), 0, 0))


def test_orders_wait_for_the_profiles_that_were_there_and_not_for_later_ones() -> None:
    log = LogsInOrder([Listed("profiles", 5, later=100)], [Listed("orders", 3)], Gate(1))
    log.start(None)
    assert log.lag() == 108
    assert read(log, 3) == [("profiles", 3)]
    assert read(log, 2) == [("profiles", 2)]
    before = Committed(log.offsets(), 0, 0)
    assert read(log, 2) == [("profiles", 2)]
    log.commit(before)
    assert read(log, 3) == [("profiles", 3)]
    assert read(log, 200) == [("profiles", 95), ("orders", 3)]
    assert log.exhausted()


def test_orders_wait_until_profiles_are_settled_not_only_read() -> None:
    log = LogsInOrder([Listed("profiles", 5)], [Listed("orders", 3)], Gate(1))
    assert read(log, 10) == [("profiles", 5)]
    assert read(log, 10) == [] and read(log, 10) == []
    settled(log)
    read(log, 1)
    assert read(log, 10) == [("orders", 3)]


def test_a_worker_without_profiles_waits_for_the_others() -> None:
    gate = Gate(2)
    many = LogsInOrder([Listed("profiles", 10)], [], gate, 0)
    none = LogsInOrder([Listed("profiles", 0)], [Listed("orders", 3)], gate, 1)
    assert read(none, 10) == [] and read(many, 9) == [("profiles", 9)] and read(none, 10) == []
    assert read(many, 9) == [("profiles", 1)] and read(none, 10) == []
    settled(many)
    assert read(many, 9) == [] and read(none, 10) == [("orders", 3)]


def test_without_profiles_nothing_waits() -> None:
    log = LogsInOrder([], [Listed("orders", 3)], Gate(1))
    assert read(log, 10) + read(log, 10) == [("orders", 3)]


def test_each_log_takes_what_is_its_own_of_a_commit() -> None:
    first, second = Listed("profiles", 1, run=4), Listed("orders", 1, run=7)
    log = LogsInOrder([first], [second], Gate(1))
    assert log.committed() is None
    log.commit(Committed({("profiles", 0): 1, ("orders", 0): 2}, 0, 0))
    assert (first.stored, second.stored) == ({("profiles", 0): 1}, {("orders", 0): 2})
    assert log.committed() == Committed({("profiles", 0): 1, ("orders", 0): 2}, 7, 0)
    log.start({("profiles", 0): 1})
    assert log.offsets() == {("profiles", 0): 1, ("orders", 0): 0}
    log.close()
    assert first.closed and second.closed
