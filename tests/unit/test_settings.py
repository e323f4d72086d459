"""What a deployment's settings make sure of by themselves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nurt.settings import Settings


def test_whoever_begins_at_once_has_the_same_secret(tmp_path: Path) -> None:
    for attempt in range(20):
        settings = Settings(mapping=tmp_path / "mapping.yaml", data=tmp_path / str(attempt))
        with ThreadPoolExecutor(8) as pool:
            found = {each.result() for each in [pool.submit(settings.ids_secret) for _ in range(8)]}
        assert len(found) == 1


def test_a_secret_that_another_process_is_about_to_write_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    writing = threading.Timer(0.2, lambda: (tmp_path / "secret").write_text("ab" * 16))
    writing.start()
    assert Settings(mapping=tmp_path / "mapping.yaml", data=tmp_path).ids_secret() == b"\xab" * 16
    writing.join()
