"""Who is connected to the ports of a cluster: only the run's own processes may be.

Bytewax's processes send each other pickles over loopback, without a password, and unpickling runs what it is told. It
accepts as many connections as it has peers, at its start, then listens no more. So whoever connects in place of a peer
is among them. The supervisor looks in the kernel's table whose each connection is, until all are made. This narrows
the window; only a network namespace of its own closes it (SECURITY.md).

Source: Linux, proc_pid_net(5) and proc_pid_fd(5).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/net/tcp")
ESTABLISHED, LISTENING = "01", "0A"


@dataclass(frozen=True, slots=True)
class _Entry:
    """Socket on one of the ports: its end, and the inode by which its process holds it; 0: nobody's yet."""

    local: str
    remote: str
    state: str
    inode: int


class PeerCheck:
    """Check of one cluster's connections.

    Attributes:
        is_done: every process is connected with every other, and nobody listens any more; or this system has no table.
    """

    def __init__(self, ports: Sequence[int], processes: Sequence[int], table: Path = TABLE) -> None:
        self._ports = frozenset(f"{port:04X}" for port in ports)
        self._processes = tuple(processes)
        self._table = table
        self._ends = len(ports) * (len(ports) - 1)
        self.is_done = len(ports) < 2 or not table.exists()

    def stranger(self) -> str | None:
        """Say which socket on our ports belongs to no process of ours; None: none.

        A socket that is seen once may be closed before its process is looked at, so it must be there the second time.
        """
        if self.is_done:
            return None
        first = self._foreign()
        if first and (still := first & self._foreign()):
            found = min(still, key=lambda entry: entry.inode)
            return f"{_shown(found.local)} - {_shown(found.remote)}"
        return None

    def _foreign(self) -> set[_Entry]:
        entries = list(self._entries())
        ours = _sockets_of(self._processes)
        if ours is None:
            return set()
        made = [entry for entry in entries if entry.state == ESTABLISHED]
        is_listening = any(entry.state == LISTENING for entry in entries)
        self.is_done = len(made) == self._ends and not is_listening and all(entry.inode in ours for entry in made)
        return {entry for entry in entries if entry.inode and entry.inode not in ours}

    def _entries(self) -> Iterable[_Entry]:
        """Read the sockets on our ports; one that is only closing has nobody behind it."""
        try:
            lines = self._table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            return
        for line in lines:
            _, local, remote, state, *_, inode = line.split()[:10]
            if state in (ESTABLISHED, LISTENING) and {local[-4:], remote[-4:]} & self._ports:
                yield _Entry(local, remote, state, int(inode))


def _sockets_of(processes: Iterable[int]) -> frozenset[int] | None:
    """Return the inodes of all sockets that processes hold; None where a process may not be looked at."""
    found: set[int] = set()
    for process in processes:
        folder = f"/proc/{process}/fd"
        try:
            names = os.listdir(folder)  # noqa: PTH208 - the folder changes meanwhile
        except FileNotFoundError:
            continue  # it has ended
        except OSError:
            return None
        for name in names:
            try:
                target = os.readlink(f"{folder}/{name}")  # noqa: PTH115
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return frozenset(found)


def _shown(end: str) -> str:
    return f"port {int(end[-4:], 16)}"
