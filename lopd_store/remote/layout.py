"""Where an artifact's blobs lie in a repository on the Hub: paths made of digests, never read.

See schemas/hub.md.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import UsageError
from lopd_store.hub.names import CONFIG, SPLIT

CARD: Final = "README.md"
INDEX: Final = "index.json"
COLUMNS: Final = "columns.json"
HISTOGRAM: Final = "histogram.svg"
OVERRIDE: Final = ".huggingface.yaml"
"""Another place for the card's YAML: `datasets` takes what it says instead."""

_INDEX_PATH: Final = re.compile(rf"lopd/({CONFIG})/({SPLIT})/{re.escape(INDEX)}", re.ASCII)
_NAMES: Final = {
    media.OCI_MANIFEST: ("manifest", ".json"),
    media.ARTIFACT: ("artifact", ".json"),
    media.IDENTITY: ("identity", ".json"),
    media.TOKENIZER: ("tokenizer", ".zst"),
    media.SKIPPED: ("skipped", ".jsonl"),
    media.NOISE: ("noise", ".json"),
    media.SIGNATURE: ("signature", ".json"),
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in a repository an artifact is.

    Attributes:
        config: as `datasets` has it: one of several artifacts in a repository.
        split: as `datasets` has it: one of several artifacts with the same columns.
    """

    config: str = "default"
    split: str = "train"

    def __post_init__(self) -> None:
        for what, grammar, found in (("config", CONFIG, self.config), ("split", SPLIT, self.split)):
            if not re.fullmatch(grammar, found, re.ASCII):
                raise UsageError(
                    f"expected a {what} of letters, digits{', . _ -' * (what == 'config')}"
                    f"{' and _' * (what == 'split')}, at most 64, found {found[:100]!r}"
                )

    def __str__(self) -> str:
        return f"{self.config}/{self.split}"

    @property
    def folder(self) -> str:
        """Where everything lies but the shards and the card."""
        return f"lopd/{self.config}/{self.split}"

    @property
    def index(self) -> str:
        """The path of the index."""
        return f"{self.folder}/{INDEX}"

    @property
    def shards(self) -> str:
        """The glob of the shards."""
        return f"data/{self.config}/{self.split}-*.parquet"

    def selects(self, path: str) -> bool:
        """Whether the glob of the shards selects a file, this artifact's or not."""
        before, after = self.shards.split("*")
        among = path.startswith(before) and path.endswith(after)
        return among and len(path) >= len(before + after) and "/" not in path[len(before) :]

    def shard(self, number: int, digest: Digest) -> str:
        """The path of a shard by its place among the rows."""
        return f"data/{self.config}/{self.split}-{number:05d}-{_short(digest)}.parquet"

    def blob(self, descriptor: Descriptor, *, evidence: bool = False) -> str:
        """The path of any other blob; `evidence` for a manifest that is about the artifact."""
        name, suffix = _NAMES.get(descriptor.media_type, ("blob", ""))
        if evidence and descriptor.media_type == media.OCI_MANIFEST:
            name = "evidence"
        return f"{self.folder}/{name}-{_short(descriptor.digest)}{suffix}"

    def owns(self, path: str) -> bool:
        """Whether a file of the repository is this artifact's, of this version or another."""
        shard = rf"data/{re.escape(self.config)}/{self.split}-\d{{5,}}-[0-9a-f]{{12}}\.parquet"
        return path.startswith(f"{self.folder}/") or re.fullmatch(shard, path) is not None


def places(paths: Iterable[str]) -> Iterator[Place]:
    """The places of the artifacts that a repository with these files has."""
    for path in sorted(paths):
        if found := _INDEX_PATH.fullmatch(path):
            yield Place(found[1], found[2])


def _short(digest: Digest) -> str:
    return digest.hex[:12]
