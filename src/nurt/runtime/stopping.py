"""End this process when it is asked to, in whatever state it is.

Python runs a signal's handler in the main thread, and not before that is back from a compiled loop or a library. So a
thread of our own waits for signals: the interpreter's C handler writes their numbers to a pipe at once.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING_MAX_S = 60.0
"""How long finishing what was read may take; then the process ends, which loses nothing."""
_SIGNALS = signal.SIGINT, signal.SIGTERM
_logger = logging.getLogger(__name__)


@contextmanager
def stopping_on_signals(
    at_last: Callable[[], object] = lambda: None, seconds_max: float = ENDING_MAX_S
) -> Iterator[threading.Event]:
    """Set the event on the first SIGINT or SIGTERM; a second one, or `seconds_max`, ends the process.

    Args:
        at_last: called before the process is ended so.
    """
    stop, is_over = threading.Event(), threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {number: signal.signal(number, _ignore) for number in _SIGNALS}
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(reader, stop, is_over, at_last, seconds_max), daemon=True)
    watch.start()
    try:
        yield stop
    finally:
        is_over.set()
        signal.set_wakeup_fd(earlier)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)
        watch.join()
        os.close(reader)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: `_watch` has heard the signal already."""


def _watch(
    reader: int, stop: threading.Event, is_over: threading.Event, at_last: Callable[[], object], seconds_max: float
) -> None:
    deadline: float | None = None
    last = int(signal.SIGTERM)
    while not is_over.is_set():
        wait_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        if select.select([reader], [], [], wait_s)[0]:
            heard = [number for number in os.read(reader, 64) if number in _SIGNALS]
            if not heard:
                continue
            last = heard[-1]
            if deadline is None and len(heard) == 1:
                deadline = time.monotonic() + seconds_max
                _logger.warning("ending: finishing what was read; once more ends at once, and loses nothing")
                stop.set()
                continue
        else:
            _logger.warning("ending: not finished after %.0f s; the next start repeats what was not", seconds_max)
        at_last()
        os._exit(128 + last)
