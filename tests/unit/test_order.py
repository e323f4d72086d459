"""Tests are given to workers so that all end together."""

from __future__ import annotations

from tests.order import in_order, measured, unit_of

KNOWN = {"a.py": 5.0, "b.py": 50.0, "a.py::long": 80.0}


def test_the_longest_unit_comes_first_and_a_file_stays_together_in_its_order() -> None:
    nodes = ["a.py::one", "a.py::long", "a.py::two", "b.py::two", "b.py::one", "new.py::one"]
    assert [nodes[at] for at in in_order(nodes, KNOWN)] == [
        *("a.py::long", "b.py::two", "b.py::one", "new.py::one", "a.py::one", "a.py::two")
    ]


def test_a_long_test_is_given_out_by_itself() -> None:
    assert [unit_of(node, KNOWN) for node in ("a.py::long", "a.py::one", "new.py::x[y]")] == [
        *("a.py::long", "a.py", "new.py")
    ]


def test_what_a_run_took_is_summed_by_unit() -> None:
    reports = [("a.py::long", 1.0), ("a.py::long", 30.0), ("a.py::one", 2.0), ("a.py::two", 0.5), ("b.py::x", 4.0)]
    assert measured(reports) == {"a.py::long": 31.0, "b.py": 4.0, "a.py": 2.5}
