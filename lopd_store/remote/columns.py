"""The digests of an artifact's columns: with them, some columns are verified without the others.

They stand beside the artifact on the Hub. Nobody has to trust them: together they make the
`content_digest` of the artifact document, which the artifact's id covers.
"""

from collections.abc import Mapping
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.errors import FormatError, IntegrityError, Problem
from lopd_store.rows.content import joined

FORMAT: Final = "lopd.columns.v1"
MAX_BYTES: Final = 4 << 20


def encode(column_digests: Mapping[str, Digest]) -> bytes:
    """The file `columns.json`, in canonical JSON."""
    digests = {name: str(digest) for name, digest in column_digests.items()}
    return canonical.encode({"format": FORMAT, "columns": digests})


def parse(data: bytes, document: ArtifactDocument, *, what: str) -> dict[str, Digest]:
    """Column name → digest, once they are known to be those of the artifact.

    Raises:
        FormatError: not such a file.
        IntegrityError: the digests of other columns.
    """
    value = canonical.decode(data, what=what)
    digests = value.get("columns") if isinstance(value, dict) else None
    if not isinstance(digests, dict) or value.get("format") != FORMAT:
        raise FormatError(f"{what}: expected an object of format {FORMAT}")
    found = {name: _digest(text, what) for name, text in digests.items()}
    content = joined(document.rows, found)
    if content != document.content_digest:
        expected = str(document.content_digest)
        problem = Problem("content-digest-differ", what, expected, str(content))
        raise IntegrityError(str(problem), problems=[problem])
    return found


def _digest(text: Any, what: str) -> Digest:
    if not isinstance(text, str):
        raise FormatError(f"{what}: expected digests, found {text!r:.80}")
    return Digest.parse(text)
