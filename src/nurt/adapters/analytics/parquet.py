"""Published profiles as a folder of Parquet files that any BI tool can read while nurt writes.

    <folder>/<table>/bucket-07.parquet     one folder a table, `buckets` files each, by the first byte of the id
    <folder>/_nurt/                        the journal, erased ids, the layout: readers skip names with `_`

Files of one table may have different columns: a later nurt may add some, and replaces only files that change. Readers
unite them by name, in DuckDB `read_parquet('<folder>/<table>/*.parquet', union_by_name = true)`.

A file is replaced whole (written beside, made durable, renamed), so a reader sees each profile once, in the newest
revision that was folded in. Tables are replaced one after the other: join them by `id` and `revision`.

Limits. A batch of `write` is durable at once, in the journal, but readers see it when the journal is folded in: after
`rows_max` messages, `bytes_max` bytes, or `seconds_max` at the next `write` (an empty batch is enough), and on `close`.
Folding rewrites the changed buckets, usually all of them: about 10 us for each stored profile. So this sink suits up to
a few million profiles; use a warehouse beyond that. The folder must be on a file system with atomic renames, not S3.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import time
import zlib
from pathlib import Path
from typing import BinaryIO

import orjson
import polars as pl

from nurt.adapters.durable import replace_file, sync_folder
from nurt.adapters.file_modes import PRIVATE, Sharing, make_private_folder
from nurt.contracts import schemas
from nurt.contracts.profile_reader import current_body
from nurt.contracts.profile_tables import TABLES, empty, newest, newest_of, tables_of
from nurt.errors import ConfigurationError, StateTooNew
from nurt.model.published import PublishedBatch

LAYOUT = 2
"""Number that grows when files change so that an older nurt must not write them: the code that wrote layout 1 knows
only its own columns."""
BUCKETS_MAX = 256

_ERASED = pl.Schema({"id": pl.String(), "revision": pl.Int64()})
_logger = logging.getLogger(__name__)
_FRAME_HEAD = 8  # bytes: length and CRC-32 of what follows


class ParquetSink:
    """Sink of the newest revision of every profile in Parquet files, written one file at a time.

    Implements `ports.sinks.ProfileSink`.
    """

    def __init__(
        self,
        folder: Path,
        buckets: int = 16,
        rows_max: int = 50_000,
        bytes_max: int = 64 << 20,
        seconds_max: float = 30.0,
        shared: Sharing = PRIVATE,
    ) -> None:
        """Open or create the folder, and fold in the journal that a crash left.

        Args:
            buckets: files a table, 1 to 256; fixed when the folder is created, later values are ignored.
            shared: who may read the tables; the folder `_nurt` stays private.

        Raises ConfigurationError when another sink has the folder; StateTooNew when a later nurt laid it out.
        """
        assert 1 <= buckets <= BUCKETS_MAX
        self._folder, self._nurt_folder = folder, folder / "_nurt"
        self._rows_max, self._bytes_max, self._seconds_max = rows_max, bytes_max, seconds_max
        self._shared = shared
        shared.make_folder(folder)
        make_private_folder(self._nurt_folder)
        (self._nurt_folder / "erased").mkdir(exist_ok=True)
        self._lock = self._locked()
        self._buckets = self._layout(buckets)
        self._journal = (self._nurt_folder / "journal").open("a+b")
        self._waiting: list[pl.DataFrame] = [_current(frame) for frame in _recovered(self._journal)]
        self._rows = self._bytes = 0
        self._since = time.monotonic()
        self._fold(recovered=True)

    def write(self, batch: PublishedBatch) -> None:
        """Store the batch durably before returning, in the journal; fold the journal in when it is due.

        An older or equal revision of an id changes nothing. An empty batch only checks whether folding is due.
        """
        if len(batch):
            incoming = newest(batch)
            if not self._waiting:
                self._since = time.monotonic()
            self._bytes += _append(self._journal, incoming)
            self._rows += len(incoming)
            self._waiting.append(incoming)
        due = time.monotonic() - self._since >= self._seconds_max
        if self._waiting and (due or self._rows >= self._rows_max or self._bytes >= self._bytes_max):
            self._fold()

    def close(self) -> None:
        """Fold in the journal and release the folder; never raises: what cannot be folded in stays in the journal."""
        if self._journal.closed:
            return
        try:
            self._fold()
        except Exception as failed:  # the next start tries again, and that try raises
            _logger.warning("closing %s: %s; the journal is kept", self._folder, type(failed).__name__)
        finally:
            self._journal.close()
            self._lock.close()

    def _fold(self, recovered: bool = False) -> None:
        """Write the waiting messages into the files, then empty the journal.

        A crash in between leaves some files new and some old, and the journal whole: the next start folds the whole
        journal in again, equal revisions too (`recovered`), and so completes the work.
        """
        if not self._waiting:
            return
        incoming = newest_of(pl.concat(self._waiting)).with_columns(
            bucket=pl.col("id").str.slice(0, 2).str.to_integer(base=16) % self._buckets
        )
        for (bucket,), part in incoming.partition_by("bucket", as_dict=True, include_key=False).items():
            self._fold_bucket(f"bucket-{bucket:02x}.parquet", part, recovered)
        for folder in (self._nurt_folder / "erased", *(self._folder / table for table in TABLES)):
            sync_folder(folder)
        self._journal.truncate(0)
        os.fsync(self._journal.fileno())
        self._waiting = []
        self._rows = self._bytes = 0

    def _fold_bucket(self, name: str, incoming: pl.DataFrame, recovered: bool) -> None:
        profiles = _read(self._folder / "profiles" / name, empty("profiles"))
        erased = _read(self._nurt_folder / "erased" / name, pl.DataFrame(schema=_ERASED))
        stored = pl.concat([profiles.select("id", "revision"), erased]).rename({"revision": "stored"})
        stored = stored.group_by("id").agg(pl.col("stored").max())
        newer = pl.col("revision") >= pl.col("stored") if recovered else pl.col("revision") > pl.col("stored")
        fresh = incoming.join(stored, on="id", how="left", maintain_order="left").filter(
            pl.col("stored").is_null() | newer
        )
        if not len(fresh):
            return
        tables = tables_of(fresh.filter(pl.col("value").is_not_null()))
        dead = fresh.filter(pl.col("value").is_null()).select("id", "revision")
        for table in (name for name in TABLES if name != "profiles"):
            _replace(self._folder / table / name, empty(table), fresh, tables[table], self._shared)
        _replace(self._nurt_folder / "erased" / name, pl.DataFrame(schema=_ERASED), fresh, dead, PRIVATE)
        _replace(self._folder / "profiles" / name, empty("profiles"), fresh, tables["profiles"], self._shared)

    def _layout(self, buckets: int) -> int:
        path = self._nurt_folder / "layout.json"
        if path.exists():
            layout = orjson.loads(path.read_bytes())
            if layout["version"] > LAYOUT:
                raise StateTooNew(
                    f"opening Parquet folder {self._folder}: its layout is {layout['version']} (at most {LAYOUT}); "
                    "run the nurt that wrote it, or choose a new folder and rebuild"
                )
            buckets = int(layout["buckets"])
            self._share_again()
            if layout["version"] == LAYOUT and all((self._folder / table).is_dir() for table in TABLES):
                return buckets
        for table in TABLES:  # readers find every table, with its columns, from the start
            self._shared.make_folder(self._folder / table)
            first = self._folder / table / "bucket-00.parquet"
            if not first.exists():
                replace_file(first, _parquet(empty(table)), shared=self._shared)
        sync_folder(self._folder)
        replace_file(path, orjson.dumps({"version": LAYOUT, "buckets": buckets}))
        return buckets

    def _share_again(self) -> None:
        """Give what is there the group and mode of today's settings."""
        for table in TABLES if self._shared != PRIVATE else ():
            if (self._folder / table).is_dir():
                self._shared.make_folder(self._folder / table)
                for path in (self._folder / table).glob("*.parquet"):
                    self._shared.give_file(path)

    def _locked(self) -> BinaryIO:
        lock = (self._nurt_folder / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigurationError(
                f"opening Parquet folder {self._folder}: another sink has it open (one at a time); "
                "end that one, or choose another folder"
            ) from None
        return lock


def _replace(path: Path, schema: pl.DataFrame, fresh: pl.DataFrame, rows: pl.DataFrame, shared: Sharing) -> None:
    """Replace all rows of the ids in `fresh` by `rows`; a file that would not change is left alone."""
    stored = _read(path, schema)
    kept = stored.join(fresh.select("id"), on="id", how="anti", maintain_order="left")
    if len(rows) or len(kept) < len(stored):
        united = pl.concat([kept, rows], how="diagonal").sort("id", maintain_order=True)
        replace_file(path, _parquet(united), sync_name=False, shared=shared)


def _read(path: Path, otherwise: pl.DataFrame) -> pl.DataFrame:
    """Read a file; columns newer than the file are null there, and the order of columns is that of `otherwise`."""
    if not path.exists():
        return otherwise
    return pl.concat([otherwise, pl.read_parquet(io.BytesIO(path.read_bytes()))], how="diagonal")


def _parquet(rows: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    rows.write_parquet(content, compression="zstd", compression_level=3)
    return content.getvalue()


def _append(journal: BinaryIO, rows: pl.DataFrame) -> int:
    """Append a frame durably; return its size in bytes. A version of its bodies' contract behind 1 is named."""
    if schemas.PROFILE_VERSION > 1:
        rows = rows.with_columns(version=pl.lit(schemas.PROFILE_VERSION, pl.Int64))
    content = io.BytesIO()
    rows.write_ipc_stream(content)
    payload = content.getvalue()
    head = len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big")
    begin = journal.seek(0, os.SEEK_END)
    try:
        journal.write(head + payload)
        journal.flush()
        os.fsync(journal.fileno())
    except OSError:
        journal.truncate(begin)  # else later frames would be lost behind the torn one
        raise
    return _FRAME_HEAD + len(payload)


def _current(rows: pl.DataFrame) -> pl.DataFrame:
    """Convert the bodies of a journal's frame to today's contract."""
    version = rows["version"][0] if "version" in rows.columns and len(rows) else 1
    bodies = [None if body is None else current_body(body, version) for body in rows["value"].to_list()]
    return rows.select("id", "revision", value=pl.Series(bodies, dtype=pl.Binary))


def _recovered(journal: BinaryIO) -> list[pl.DataFrame]:
    """Read the frames that a crash left, up to the first torn frame: the `write` of that frame never returned."""
    journal.seek(0)
    frames: list[pl.DataFrame] = []
    good = 0
    while len(head := journal.read(_FRAME_HEAD)) == _FRAME_HEAD:
        payload = journal.read(int.from_bytes(head[:4], "big"))
        if not payload or zlib.crc32(payload) != int.from_bytes(head[4:], "big"):
            break
        frames.append(pl.read_ipc_stream(io.BytesIO(payload)))
        good += _FRAME_HEAD + len(payload)
    journal.truncate(good)
    journal.seek(0, os.SEEK_END)
    return frames
