"""Certificates for one test: an authority, and what it signed for 127.0.0.1."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM.

    Attributes:
        authority: whom clients are told to believe.
        certificate, key: of the server at 127.0.0.1.
        keystore: both of them in one file.
    """

    authority: Path
    certificate: Path
    key: Path
    keystore: Path


def make_certificates(folder: Path) -> Certificates:
    """Make them with openssl; they are good for a day."""
    authority, authority_key = folder / "authority.pem", folder / "authority.key"
    certificate, key, request, names = (folder / name for name in ("server.pem", "server.key", "server.csr", "names"))
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    _openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=an authority of tests",
        "-keyout", authority_key, "-out", authority,
    )  # fmt: skip
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", request)
    _openssl(
        "x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key, "-CAcreateserial", "-days", "1",
        "-extfile", names, "-out", certificate,
    )  # fmt: skip
    keystore = folder / "keystore.pem"
    keystore.write_bytes(key.read_bytes() + certificate.read_bytes() + authority.read_bytes())
    return Certificates(authority, certificate, key, keystore)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
