"""An artifact → one file of another trainer, which still says whose rows it holds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lopd_store import canonical
from lopd_store.adapters import adapter
from lopd_store.adapters.source import Source
from lopd_store.adapters.writing import write_file
from lopd_store.building.progress import Progress, Silence
from lopd_store.digest import Digest
from lopd_store.documents.model import ModelIdentity
from lopd_store.shard_sets import ShardSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A file that `export` wrote.

    Attributes:
        path: where it is.
        format: whose layout it has.
        rows: rows in it.
        tokens: their response tokens.
        left_out: rows of the artifact that are not in it: their loss_mask is false throughout.
        size: its bytes.
        digest: SHA-256 of them.
        source: whose rows they are; see `provenance`.
    """

    path: Path
    format: str
    rows: int
    tokens: int
    left_out: int
    size: int
    digest: Digest
    source: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "path": str(self.path),
            "format": self.format,
            "rows": self.rows,
            "tokens": self.tokens,
            "left_out": self.left_out,
            "bytes": self.size,
            "sha256": self.digest.hex,
            "source": dict(self.source),
        }


def export(
    signal: ShardSet,
    path: Path,
    *,
    format: str,  # noqa: A002 - the word of the command line
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the rows of an artifact as the trainer `format` reads them.

    One row group is in memory at a time; the same artifact gives the same bytes.

    Raises:
        UsageError: an unknown format, an artifact it has no place for, or a file in the way.
        NotFoundError, IntegrityError, FormatError: a shard or a value in it is not valid.
        StoreError: the file cannot be written; one that was there is as it was.
    """
    module = adapter(format, function="export")
    listener = progress or Silence()
    source = Source.of(signal, advance=listener.advance)
    listener.begin(total_tokens=signal.tokens or 0, done_tokens=0)
    whose = provenance(signal)
    size = write_file(
        module.export(source),
        path,
        file=module.FILE,
        note=canonical.encode(whose),
        overwrite=overwrite,
    )
    return Exported(
        path=path,
        format=format,
        rows=source.rows,
        tokens=source.tokens,
        left_out=source.left_out,
        size=size,
        digest=Digest.of_file(path),
        source=whose,
    )


def provenance(signal: ShardSet) -> dict[str, Any]:
    """Whose rows these are: digests of the artifact, its values, its identities and teachers.

    `artifact` and `content_digest` are missing for shards that no manifest names;
    `claimed_teachers` is there where an importer only says who scored.
    """
    identities = signal.identities
    claimed = _weights(identity.claimed("teacher") for identity in identities)
    found: dict[str, Any] = {
        "kind": signal.kind,
        "identities": [str(identity.digest) for identity in identities],
        "teachers": _weights(identity.teacher for identity in identities),
    }
    if claimed:
        found["claimed_teachers"] = claimed
    if signal.id is not None:
        found["artifact"] = str(signal.id)
    if signal.content_digest is not None:
        found["content_digest"] = str(signal.content_digest)
    return found


def _weights(models: Iterable[ModelIdentity | None]) -> list[str]:
    """The different weights among these models."""
    return list(dict.fromkeys(str(one.weights_digest) for one in models if one is not None))
