"""A wire to a server of any protocol that can be cut: before, in the middle of an answer, for long."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random


@dataclass
class Wire:
    """What happens to connections.

    Attributes:
        down: none is taken, and those that are there are cut.
        cut_rate: share of pieces of answers in whose middle the connection is cut.
    """

    target: int
    port: int = 0
    down: bool = False
    cut_rate: float = 0.0
    cuts: int = 0
    random: Random = field(default_factory=Random)

    def carry(self, near: socket.socket) -> None:
        """Carry bytes both ways until one side ends, or the wire is cut."""
        with contextlib.suppress(OSError), near:
            if self.down:
                return
            with socket.create_connection(("127.0.0.1", self.target)) as far:
                there = threading.Thread(target=self._copy, args=(near, far, False), daemon=True)
                there.start()
                self._copy(far, near, True)
                there.join(5.0)

    def _copy(self, source: socket.socket, to: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                is_cut = self.down or (is_answer and self.random.random() < self.cut_rate)
                to.sendall(piece[: len(piece) // 2] if is_cut else piece)
                if is_cut:
                    self.cuts += 1
                    break
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire_to(port: int, seed: int = 0) -> Iterator[Wire]:
    """Lay a wire to a local port."""
    wire = Wire(port, random=Random(seed))
    with socket.create_server(("127.0.0.1", 0)) as server:
        wire.port = server.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = server.accept()
                    threading.Thread(target=wire.carry, args=(near,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield wire
