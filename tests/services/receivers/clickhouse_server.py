"""ClickHouse's real engine (chdb, in a process of its own) behind as much of its HTTP interface as the sink speaks.

`python -m tests.services.receivers.clickhouse_server PORT FOLDER`
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from chdb.session import Session


def serve(port: int, folder: str) -> None:
    session = Session(folder)
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = parse_qs(urlsplit(self.path).query).get("query", [""])[0]
            with turn:
                content, code = self._answer(query, body)
            self.send_response_only(500 if code else 200)
            if code:
                self.send_header("X-ClickHouse-Exception-Code", code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _answer(self, query: str, body: bytes) -> tuple[bytes, str | None]:
            code = None
            try:
                if query:
                    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
                        file.write(body)
                        file.flush()
                        inserted = query.replace(" FORMAT Parquet", f" FROM INFILE '{Path(file.name)}' FORMAT Parquet")
                        content = session.query(inserted, "TabSeparated").bytes()
                else:
                    form = "Parquet" if body.startswith(b"SELECT") else "TabSeparated"
                    content = session.query(body.decode(), form).bytes()
            except Exception as failed:
                content = str(failed).encode()
                found = re.search(rb"Code: (\d+)", content)
                code = found.group(1).decode() if found else "0"
            return content, code

        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"Ok.\n")

        def log_message(self, *_arguments: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
