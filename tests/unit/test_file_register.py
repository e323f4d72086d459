from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nurt.adapters import durable
from nurt.adapters.files.control_log import FileControlLog
from nurt.errors import ConfigurationError

APPENDING = """
import sys
from pathlib import Path
from nurt.adapters.files.control_log import FileControlLog
register = FileControlLog(Path(sys.argv[1]))
for index in range(int(sys.argv[3])):
    print(register.append({"who": sys.argv[2], "index": index, "pad": "x" * 500}), flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "register.jsonl"


def test_records_come_back_in_order_with_growing_numbers(path: Path) -> None:
    numbers = [FileControlLog(path).append({"kind": "run", "n": index}) for index in range(5)]
    assert numbers == sorted(set(numbers))
    assert FileControlLog(path).records() == [(number, {"kind": "run", "n": i}) for i, number in enumerate(numbers)]


def test_a_new_register_holds_nothing(path: Path) -> None:
    assert list(FileControlLog(path).records()) == []


@pytest.mark.parametrize("kept", [1, 30, -1])
def test_a_torn_last_line_was_never_there(path: Path, kept: int) -> None:
    register = FileControlLog(path)
    first = register.append({"n": 0})
    before = path.read_bytes()
    register.append({"n": "torn", "pad": "x" * 50})
    path.write_bytes(before + path.read_bytes()[len(before) :][:kept])
    assert register.records() == [(first, {"n": 0})]
    second = register.append({"n": 2})
    assert second > first
    assert FileControlLog(path).records() == [(first, {"n": 0}), (second, {"n": 2})]


def test_only_a_torn_line_is_an_empty_register(path: Path) -> None:
    register = FileControlLog(path)
    path.write_bytes(b'{"number": 1, "rec')
    assert list(register.records()) == []
    register.append({"n": 0})
    assert [record for _, record in register.records()] == [{"n": 0}]


def test_damage_in_the_middle_is_named_and_not_passed_over(path: Path) -> None:
    register = FileControlLog(path)
    for index in range(3):
        register.append({"n": index})
    lines = path.read_bytes().split(b"\n")
    lines[1] = b"\0" * len(lines[1])
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ConfigurationError, match="line 2"):
        register.records()


def test_a_record_longer_than_what_is_looked_at_first_is_followed_by_the_right_number(path: Path) -> None:
    register = FileControlLog(path)
    register.append({"n": 0})
    long = register.append({"pad": "x" * 200_000})
    assert register.append({"n": 2}) == long + 1


def test_processes_that_append_at_once_lose_nothing_and_share_no_number(path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", APPENDING, str(path), who, "40"], stdout=subprocess.PIPE)
        for who in "abcd"
    ]
    told = [int(line) for child in running for line in child.communicate(timeout=120)[0].split()]
    records = FileControlLog(path).records()
    assert sorted(told) == [number for number, _ in records] == list(range(1, 161))
    for who in "abcd":
        assert [record["index"] for _, record in records if record["who"] == who] == list(range(40))


def test_a_process_killed_while_it_appends_leaves_a_register_that_goes_on(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", APPENDING, str(path), "a", "100000"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    told = [int(child.stdout.readline()) for _ in range(30)]
    child.kill()
    told += [int(line) for line in child.stdout.read().split(b"\n")[:-1]]
    child.wait(timeout=60)
    register = FileControlLog(path)
    held = [number for number, _ in register.records()]
    assert set(told) <= set(held)
    assert register.append({"after": True}) > held[-1]


def test_a_lock_that_a_stopped_process_holds_is_waited_for_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(durable, "LOCK_PATIENCE_S", 0.05)
    register = FileControlLog(tmp_path / "control.jsonl")
    register.append({"kind": "start"})
    with (tmp_path / "control.jsonl").open("ab") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        waiting = threading.Thread(target=register.append, args=({"kind": "start"},))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        assert "control.jsonl: another process holds it" in caplog.text
    waiting.join(10)
    assert len(register.records()) == 2
