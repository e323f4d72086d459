"""Watch a run from a thread: progress on a terminal, a line now and then in a log, figures for OpenTelemetry."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from rich.logging import RichHandler
from rich.status import Status

from nurt.adapters.http_logs import silence_http_clients
from nurt.adapters.visible_text import VisibleFormatter
from nurt.cli.frame import stderr
from nurt.cli.opening import OpenState, state_of
from nurt.errors import ConnectionFailed
from nurt.inspect.counters import Count, totals
from nurt.inspect.metrics import start_metrics
from nurt.settings import Settings

LOOK_SECONDS = 1.0
LOG_SECONDS = 60.0

Seen = Callable[[dict[str, int], float, Sequence[Count]], None]
"""Called with counts since the watch began by outcome, recent messages a second, and all counts."""

_logger = logging.getLogger("nurt.run")


def log_to_stderr(level: int = logging.INFO) -> None:
    """Log to stderr: beside the status line on a terminal, with time and level elsewhere."""
    silence_http_clients()
    if stderr.is_terminal:
        handler: logging.Handler = RichHandler(console=stderr, show_path=False, markup=False, highlighter=None)
        handler.setFormatter(VisibleFormatter("%(message)s", "%H:%M:%S"))
        logging.basicConfig(level=level, handlers=[handler])
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=level, handlers=[handler])


@contextmanager
def watching(settings: Settings, seen: Seen | None = None, every_s: float = LOOK_SECONDS) -> Iterator[None]:
    """Report the progress of a run: to `seen`, else to the terminal, else to the log."""
    with state_of(settings) as state:
        end_metrics = start_metrics(state.tally.counts, state.tally.figures)
        ended = threading.Event()
        shown = Status("starting", console=stderr) if seen is None and stderr.is_terminal else nullcontext()
        try:
            with shown as status:
                report = seen or (_to_terminal(status) if status is not None else _to_log())
                watcher = threading.Thread(
                    target=_watch, args=(state, ended, report, every_s), name="nurt-watch", daemon=True
                )
                watcher.start()
                try:
                    yield
                finally:
                    ended.set()
                    watcher.join(5 * LOOK_SECONDS)
        finally:
            end_metrics()


def _watch(state: OpenState, ended: threading.Event, report: Seen, every_s: float) -> None:
    """Look now and then until the run has ended, and once more at the end."""
    before, at, was = totals(_counts(state)), time.monotonic(), 0
    last = False
    while not last:
        last = ended.wait(every_s)
        counts = _counts(state)
        now = {name: number - before.get(name, 0) for name, number in totals(counts).items()} if counts else {}
        messages = now.get("messages", was)
        passed = time.monotonic() - at
        report(now, (messages - was) / passed if passed > 0 else 0.0, counts)
        at, was = time.monotonic(), messages


def _counts(state: OpenState) -> Sequence[Count]:
    """Read the counts; none while the state does not answer (the run itself reports that)."""
    try:
        return state.tally.counts()
    except ConnectionFailed:
        return ()


def _to_terminal(status: Status) -> Seen:
    def report(now: dict[str, int], rate: float, _counts: Sequence[Count]) -> None:
        if now:
            status.update(in_words(now, rate))

    return report


def _to_log() -> Seen:
    last_logged = [time.monotonic(), 0.0]

    def report(now: dict[str, int], rate: float, _counts: Sequence[Count]) -> None:
        if now and now["messages"] != last_logged[1] and time.monotonic() - last_logged[0] >= LOG_SECONDS:
            last_logged[:] = [time.monotonic(), float(now["messages"])]
            _logger.info("%s", in_words(now, rate))

    return report


def in_words(now: dict[str, int], rate: float) -> str:
    """Describe the progress of a run."""
    text = f"{now['messages']:,} messages: {now['folded']:,} folded, {now['old_news']:,} old news"
    text += f", {now['not_ours']:,} not ours, {now['quarantined']:,} in quarantine"
    return f"{text}; {rate:,.0f} a second" if rate >= 1 else text
