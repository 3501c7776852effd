"""Reading shards nobody vouches for.

Every structure is checked before it is used, and nothing of another library's errors gets out:
FormatError where a file is not a shard, IntegrityError where a page's CRC says that its bytes
changed. A reader that knows the file's digest checks that first; the CRCs are for stray files.
"""

import contextlib
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lopd_store import canonical
from lopd_store.documents import media
from lopd_store.errors import FormatError, IntegrityError, NotFoundError, Problem
from lopd_store.rows import columns
from lopd_store.shards import footer, limits
from lopd_store.shards.pages import pages

MAX_IDENTITY_BYTES: Final = 16 << 20
_MIN_BYTES: Final = 12  # magic, footer length, magic
_THRIFT_STRING_BYTES: Final = MAX_IDENTITY_BYTES + 1
_THRIFT_ITEMS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A shard whose footer has been checked; its pages are checked as they are read.

    Attributes:
        path: the file.
        size: its bytes.
        identity_bytes: the identity document in the footer, as it stands there.
        kind: the kind of artifact that the identity names.
        schema: columns in shard order, in the format's types.
        rows: rows in it.
        row_groups: row groups in it.
    """

    path: Path
    size: int
    identity_bytes: bytes
    kind: str
    schema: pa.Schema
    rows: int
    row_groups: int
    _claims: footer.Footer = field(repr=False)
    _metadata: Any = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> "Shard":
        """Read and check the footer.

        Raises:
            NotFoundError: no such file.
            FormatError: not a regular file, not Parquet, a footer that lies about sizes or claims
                more than the limits, no identity, or columns that its kind does not allow.
        """
        size = _regular_size(path)
        with _refusing(path):
            with path.open("rb") as file:
                claims = footer.parse(_footer_bytes(file, size))
            limits.check_footer(claims, size=size)
            identity = _identity(claims)
            kind = _kind(identity)
            parquet = _parquet(path)
            schema = parquet.schema_arrow
        if problems := columns.schema_problems(schema, kind):
            raise FormatError.of(problems, subject=str(path))
        return cls(
            path=path,
            size=size,
            identity_bytes=identity,
            kind=kind,
            schema=columns.canonical_schema(schema),
            rows=claims.rows,
            row_groups=len(claims.groups),
            _claims=claims,
            _metadata=parquet.metadata,
        )

    @property
    def groups(self) -> tuple[footer.Group, ...]:
        """The row groups as the footer claims them; `read` raises where that is a lie."""
        return self._claims.groups

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The row groups in order, each as one batch; see `read`."""
        for group in range(self.row_groups):
            yield self.read(group, columns)

    def check_pages(self, names: Sequence[str]) -> None:
        """Look at the page headers of these columns, for readers that take them as they are.

        Raises FormatError where pages are not what the footer claims.
        """
        with _refusing(self.path), self.path.open("rb") as file:
            for group in self.groups:
                limits.check_pages(file, group, set(names))

    def check_crcs(self) -> None:
        """Read every page as it is stored, for readers that do not look at CRCs.

        Raises:
            IntegrityError: a page's bytes are not those of its CRC.
            FormatError: pages are not what the footer claims.
        """
        with _refusing(self.path), self.path.open("rb") as file:
            for chunk in (chunk for group in self.groups for chunk in group.chunks):
                for page in pages(file, start=chunk.start, length=chunk.stored):
                    file.seek(page.start)
                    found = zlib.crc32(file.read(page.stored))
                    if page.crc not in {None, found}:
                        problem = Problem("crc-mismatch", str(self.path), f"{page.crc}", f"{found}")
                        raise IntegrityError(str(problem), problems=[problem])

    def read(self, group: int, names: Sequence[str] | None = None) -> pa.RecordBatch:
        """One row group in the format's types, with these columns (None: all) in this order.

        Raises:
            IntegrityError: a page's CRC does not match its bytes.
            FormatError: a column the shard lacks, or pages that are not what the footer claims.
        """
        wanted = list(self.schema.names if names is None else names)
        if unknown := set(wanted) - set(self.schema.names):
            raise FormatError(f"{self.path}: expected columns of the shard, found {unknown}")
        with _refusing(self.path):
            with self.path.open("rb") as file:
                limits.check_pages(file, self._claims.groups[group], set(wanted))
            parquet = _parquet(self.path, self._metadata)
            # Who wants more threads reads several row groups: Arrow's own keep memory for good.
            table = parquet.read_row_group(group, columns=wanted, use_threads=False)
            batch = _one_batch(table.select(wanted))
            batch.validate(full=True)
            expected = self._claims.groups[group].rows
            if batch.num_rows != expected:
                raise FormatError(
                    f"row group {group}: expected {expected} rows, found {batch.num_rows}"
                )
            return columns.relaid(batch, pa.schema([self.schema.field(name) for name in wanted]))


def _regular_size(path: Path) -> int:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise NotFoundError(f"expected a shard at {path}, found no such file") from None
    except OSError as error:
        raise FormatError(f"{path}: expected a file that can be read: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise FormatError(f"{path}: expected a regular file, found another kind of entry")
    return found.st_size


def _footer_bytes(file: BinaryIO, size: int) -> bytes:
    """The footer, once both ends have their magic and it fits between them."""
    if size < _MIN_BYTES:
        raise FormatError(f"expected a Parquet file, found {size} bytes")
    head = file.read(len(limits.MAGIC))
    file.seek(size - 8)
    length, tail = int.from_bytes(file.read(4), "little"), file.read(4)
    if head != limits.MAGIC or tail != limits.MAGIC:
        raise FormatError(f"expected {limits.MAGIC!r} at both ends, found {head!r} and {tail!r}")
    most = min(limits.MAX_FOOTER_BYTES, size - _MIN_BYTES)
    if not 1 <= length <= most:
        raise FormatError(f"expected a footer of 1 to {most} bytes, found {length} claimed")
    file.seek(size - 8 - length)
    return file.read(length)


def _parquet(path: Path, metadata: Any = None) -> pq.ParquetFile:
    return pq.ParquetFile(
        pa.OSFile(str(path), mode="r"),
        metadata=metadata,
        page_checksum_verification=True,
        thrift_string_size_limit=_THRIFT_STRING_BYTES,
        thrift_container_size_limit=_THRIFT_ITEMS,
        pre_buffer=False,
    )


def _identity(claims: footer.Footer) -> bytes:
    found = claims.metadata.get(media.FOOTER_KEY)
    if found is None:
        raise FormatError(
            f"expected an identity in the footer ({media.FOOTER_KEY.decode()}), found none"
        )
    if len(found) > MAX_IDENTITY_BYTES:
        raise FormatError(
            f"expected an identity of at most {MAX_IDENTITY_BYTES} bytes, found {len(found)}"
        )
    return found


def _kind(identity: bytes) -> str:
    document = canonical.decode(identity, what="identity in the footer")
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in media.KINDS:
        raise FormatError(f"expected an identity of {', '.join(media.KINDS)}, found {kind!r}")
    return kind


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    if len(batches) != 1:
        raise FormatError(f"expected a row group of one piece, found {len(batches)}")
    return batches[0]


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Errors of Arrow and of damaged bytes as ours, with the file's name."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{path}: {error}", problems=error.problems) from error.__cause__
    except (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError) as error:
        if "crc" in str(error).lower():
            problem = Problem("crc-mismatch", str(path), "the page's CRC", str(error))
            raise IntegrityError(str(problem), problems=[problem]) from error
        raise FormatError(f"{path}: expected a readable shard: {error}") from error
