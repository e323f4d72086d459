"""`make audit`: what is locked, what is known about it, and what it says where nobody answers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


class Osv(BaseHTTPRequestHandler):
    answer: Any = None

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        purls = [query["package"]["purl"] for query in queries]
        body = json.dumps(
            {"results": [{"vulns": [{"id": "PYSEC-1"}]} if "/polars@" in purl else {} for purl in purls]}
            if self.answer is None
            else self.answer
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def osv() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Osv)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    Osv.answer = None


def _audit(url: str, tmp_path: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    for name in ("requirements.lock", "docker/requirements.lock", "tools/audit.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    done = subprocess.run(
        [sys.executable, str(tmp_path / "tools" / "audit.py")],
        capture_output=True,
        text=True,
        check=False,
        env={"NURT_OSV_URL": url},
    )
    return done, json.loads((tmp_path / "build" / "sbom.cdx.json").read_text())


def test_a_known_vulnerability_is_named_and_fails(osv: str, tmp_path: Path) -> None:
    done, bill = _audit(osv, tmp_path)
    assert done.returncode == 1 and "PYSEC-1" in done.stdout
    purls = [one["purl"] for one in bill["components"]]
    assert bill["bomFormat"] == "CycloneDX" and any(purl.startswith("pkg:pypi/polars@") for purl in purls)
    lock = (ROOT / "requirements.lock").read_text()
    assert len(purls) >= sum("==" in line and not line.startswith((" ", "#")) for line in lock.splitlines())


def test_without_a_network_it_says_so_in_one_line(tmp_path: Path) -> None:
    done, bill = _audit("http://127.0.0.1:9", tmp_path)
    assert done.returncode == 3 and len(bill["components"]) > 30
    assert "no answer" in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("answer", [{}, [], {"results": [{}]}, {"results": None}, {"results": [{"vulns": 7}]}])
def test_a_strange_answer_is_none(osv: str, tmp_path: Path, answer: Any) -> None:
    Osv.answer = answer
    done, _ = _audit(osv, tmp_path)
    assert done.returncode == 3 and "Traceback" not in done.stderr


def test_nothing_known_is_said_and_passes(osv: str, tmp_path: Path) -> None:
    _, bill = _audit(osv, tmp_path)
    Osv.answer = {"results": [{}] * len(bill["components"])}
    done, again = _audit(osv, tmp_path)
    assert done.returncode == 0 and "no vulnerability" in done.stdout
    assert again == bill
