"""Run a flow: in this process, or as a cluster of processes that live and die together.

SIGINT and SIGTERM ask for an end: nothing more is read, what was read is finished and committed, then the run ends. A
second signal ends the run at once, and so does a minute (`stopping.py`); this loses nothing either: the next run
repeats what was not committed.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from nurt.adapters.file_modes import keep_files_private
from nurt.adapters.http_logs import silence_http_clients
from nurt.adapters.visible_text import VisibleFormatter, tell_no_values
from nurt.app.assembly import Assembly
from nurt.app.guards.peers import PeerCheck
from nurt.app.launch import Launched, launch
from nurt.app.launching.rebuild import finish_rebuild, until_the_ends
from nurt.app.profiles import ProfileAssembly
from nurt.app.stock import StockAssembly, close_reservations, launch_stock
from nurt.control.launch import LaunchDecision
from nurt.errors import Fenced, NurtError, frames_of
from nurt.flows.profiles import profiles
from nurt.flows.stock import stock
from nurt.model.entities import PROFILE_KINDS, STOCK_KINDS
from nurt.runtime.failures import failures
from nurt.runtime.process_memory import keep_memory_small
from nurt.runtime.stopping import ENDING_MAX_S, stopping_on_signals
from nurt.settings import Settings, load_settings, stock_settings

KILL_AFTER_S = 10.0
LAST_WORDS_S = 3.0
PEERS_LOOK_S = 0.01
"""Between two looks at a cluster's connections, until all are made."""
NEW_OBJECTS = 200_000
"""New objects after which the garbage collector runs."""
LookOn = Callable[[], None]
Layout = Callable[[Any], Dataflow]

_logger = logging.getLogger(__name__)


def run_here(
    layout: Callable[[ProfileAssembly], Dataflow],
    settings: Settings,
    rebuild: bool = False,
    stop: threading.Event | None = None,
    confirmed: bool = False,
) -> None:
    """Run a flow in this process, one thread a worker, until its input ends or `stop` is set.

    Args:
        rebuild, confirmed: see `launch`.

    Raises the NurtError that a stage, the source or a sink raised.
    """
    keep_memory_small()
    launched = launch(settings, rebuild, confirmed)
    while True:
        assembly = ProfileAssembly(_settings_of(settings, launched), launched, stop=stop, threads=settings.workers)
        _run(layout, assembly, workers_per_process=settings.workers)
        if not launched.rebuilding or (stop is not None and stop.is_set()):
            return
        finish_rebuild(settings, PROFILE_KINDS)
        launched = launch(settings)


def run_stock_here(
    layout: Callable[[StockAssembly], Dataflow],
    settings: Settings,
    rebuild: bool = False,
    stop: threading.Event | None = None,
    confirmed: bool = False,
) -> None:
    """Run the flow of stock in this process; as `run_here`."""
    keep_memory_small()
    settings = stock_settings(settings)
    launched = launch_stock(settings, rebuild, confirmed)
    while True:
        assembly = StockAssembly(_settings_of(settings, launched), launched, stop=stop, threads=settings.workers)
        with _closing_reservations(assembly):
            _run(layout, assembly, workers_per_process=settings.workers)
        if not launched.rebuilding or (stop is not None and stop.is_set()):
            return
        finish_rebuild(settings, STOCK_KINDS)
        launched = launch_stock(settings)


def _settings_of(settings: Settings, launched: Launched) -> Settings:
    """A rebuild reads what is there at its start; the next run goes on."""
    return until_the_ends(settings) if launched.rebuilding else settings


@contextmanager
def _closing_reservations(assembly: StockAssembly) -> Iterator[None]:
    """Close reservations as soon as a worker sees that the state is not what it wrote."""
    try:
        yield
    except Fenced:
        close_reservations(assembly.settings, assembly.run)
        raise


def _run(layout: Layout, assembly: Assembly[Any], **place: Any) -> None:
    failures.clear()
    _collect_seldom()
    try:
        cli_main(layout(assembly), epoch_interval=timedelta(milliseconds=assembly.settings.epoch_ms), **place)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as failed:  # a worker thread's panic is not an Exception
        raise failures.first() or cause_of(failed) from failed


def _collect_seldom() -> None:
    """Let the garbage collector skip objects from before the first message, and run seldom.

    A micro-batch makes tens of thousands of ids and keys, and no cycles: a scan of these objects cost 0.5 us an event.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)


def cause_of(failed: BaseException) -> BaseException:
    """Find nurt's failure that Bytewax has wrapped; else return the given exception."""
    cause: BaseException | None = failed
    while cause is not None:
        if isinstance(cause, NurtError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return failed


def run_cluster(
    config: Path,
    workers: int,
    rebuild: bool,
    look_on: LookOn = lambda: None,
    flow: str = "profiles",
    level: int = logging.INFO,
    confirmed: bool = False,
) -> int:
    """Run one process a worker; when one fails, end all. Return the exit code.

    Bytewax ends a whole cluster with any of its processes, so all processes are started again together or not at all.

    Args:
        rebuild, confirmed: see `launch`.
        level: what the processes log, as `logging` numbers it.
    """
    settings = replace(load_settings(config), workers=workers)
    if flow == "stock":
        settings, kinds, begin = stock_settings(settings), STOCK_KINDS, launch_stock
    else:
        kinds, begin = PROFILE_KINDS, launch
    children: list[subprocess.Popen[bytes]] = []
    with stopping_on_signals(lambda: _kill(children), ENDING_MAX_S + 2 * KILL_AFTER_S) as stop:
        launched = begin(settings, rebuild, confirmed)
        while True:
            code = _run_processes(config, workers, launched, flow, level, stop, look_on, children)
            if code or not launched.rebuilding or stop.is_set():
                return code
            finish_rebuild(settings, kinds)
            launched = begin(settings)


def _run_processes(
    config: Path,
    workers: int,
    launched: Launched,
    flow: str,
    level: int,
    stop: threading.Event,
    look_on: LookOn,
    children: list[subprocess.Popen[bytes]],
) -> int:
    ports = _free_ports(workers)
    addresses = ";".join(f"127.0.0.1:{port}" for port in ports)
    environment = {
        **os.environ,
        "NURT_LAUNCHED": _encode(launched),
        "NURT_ADDRESSES": addresses,
        "NURT_FLOW": flow,
        "NURT_LOG_LEVEL": str(level),
    }
    command = [sys.executable, "-m", "nurt.app.running", str(config)]
    children[:] = [
        subprocess.Popen([*command, str(index)], env=environment, start_new_session=True) for index in range(workers)
    ]
    return _supervise(children, stop, look_on, PeerCheck(ports, [child.pid for child in children]))


def _supervise(
    children: list[subprocess.Popen[bytes]], stop: threading.Event, look_on: LookOn, peers: PeerCheck
) -> int:
    asked_s: float | None = None
    while True:
        if (stranger := peers.stranger()) is not None:
            for child in children:
                child.kill()  # at once: what a stranger sends is run
            _end(children)
            _logger.error(
                "ending: a process that is not of this run is connected to it (%s); look who is on this machine, "
                "or run nurt in a container of its own",
                stranger,
            )
            return 1
        codes = [child.poll() for child in children]
        failed = [code for code in codes if code not in (None, 0)]
        is_late = asked_s is not None and time.monotonic() - asked_s > ENDING_MAX_S
        if failed or is_late or None not in codes:
            if not is_late:
                _let_end(children)
            _end(children)
            return _telling([child.returncode for child in children])
        if stop.is_set() and asked_s is None:
            asked_s = time.monotonic()
            for child in children:
                child.terminate()
        look_on()
        time.sleep(0.1 if peers.is_done else PEERS_LOOK_S)


def _let_end(children: list[subprocess.Popen[bytes]]) -> None:
    """Wait a little for processes that end by themselves: the process that knows the cause may not end first."""
    deadline = time.monotonic() + LAST_WORDS_S
    while time.monotonic() < deadline and any(child.poll() is None for child in children):
        time.sleep(0.05)


def _telling(codes: Sequence[int]) -> int:
    """Choose the exit code of the failed process: its peers die with 1, or by a signal."""
    failed = [code for code in codes if code != 0]
    return next((code for code in failed if code > 1), failed[0] if failed else 0)


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, those that were asked before to end at once; kill what is left after KILL_AFTER_S."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + KILL_AFTER_S
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _kill(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.returncode is None:
            child.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _encode(launched: Launched) -> str:
    decision = asdict(launched.decision)
    offsets = launched.decision.offsets
    decision["offsets"] = None if offsets is None else [[*place, at] for place, at in offsets.items()]
    decision["leaders"] = [[*place, one] for place, one in launched.decision.leaders.items()]
    told = {"run": launched.run, "fence_workers": launched.fence_workers, "rebuilding": launched.rebuilding}
    return json.dumps({**told, "normalisation": launched.normalisation, "decision": decision})


def _decode(text: str) -> Launched:
    launched = json.loads(text)
    decision = launched["decision"]
    offsets = decision["offsets"]
    decision["offsets"] = None if offsets is None else {(topic, number): at for topic, number, at in offsets}
    decision["leaders"] = {(topic, number): one for topic, number, one in decision["leaders"]}
    decision["after"] = tuple(decision["after"])
    decision["kept"] = tuple(tuple(moment) for moment in decision["kept"])
    facts = (launched[name] for name in ("fence_workers", "rebuilding", "normalisation"))
    return Launched(launched["run"], LaunchDecision(**decision), *facts)


def _child(config: Path, index: int) -> int:
    """Run one process of a cluster."""
    keep_files_private()
    tell_no_values()
    level = int(os.environ["NURT_LOG_LEVEL"])
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter(f"%(asctime)s worker {index} %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    silence_http_clients()
    addresses = os.environ["NURT_ADDRESSES"].split(";")
    settings = replace(load_settings(config), workers=len(addresses))
    keep_memory_small()
    with stopping_on_signals() as stop:
        launched = _decode(os.environ["NURT_LAUNCHED"])
        settings = _settings_of(settings, launched)
        try:
            if os.environ.get("NURT_FLOW") == "stock":
                of_stock = StockAssembly(stock_settings(settings), launched, stop=stop)
                with _closing_reservations(of_stock):
                    _run(stock, of_stock, process_id=index, addresses=addresses)
            else:
                _run(profiles, ProfileAssembly(settings, launched, stop=stop), process_id=index, addresses=addresses)
        except NurtError as failed:
            _logger.error("%s", failed)
            return failed.exit_code
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failed:
            if type(failed).__name__ != "PanicException":
                _logger.error("ending: a mistake in nurt\n%s", frames_of(failed))
                return 1
            _logger.error("ending: another process of this cluster has ended; its log says why")
            return 1
    return 0


def _end_with(code: int) -> NoReturn:
    """End this process; after a failure at once, because libraries' threads may abort a Python that shuts down."""
    if code:
        logging.shutdown()
        os._exit(code)
    sys.exit(0)


if __name__ == "__main__":
    _end_with(_child(Path(sys.argv[1]), int(sys.argv[2])))
