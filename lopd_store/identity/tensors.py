"""What weights_digest is: one name for a set of tensors, whatever files hold them.

SHA-256 over `lopd.weights.v1`, a newline, and the canonical JSON of
`[[name, dtype, [sizes...], "sha256:<digest of the bytes>"], ...]`, sorted by the UTF-8 bytes of
the name.

Covered: every tensor's name, dtype, shape and bytes. Not covered: file names, sharding, the
order of tensors in a file, `__metadata__`, unused files in the folder. An output embedding
equal in dtype, shape and bytes to the input embedding is left out: tied and untied copies of
one model agree. Rows that pad the vocabulary are bytes like others: a padded re-save has another
weights_digest, and `--same-teacher` can assert that it is the same.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.errors import FormatError

WEIGHTS_TAG: Final = b"lopd.weights.v1\n"

_OUTPUTS: Final = ("lm_head.weight", "embed_out.weight")
_INPUTS: Final = (
    "embed_tokens.weight",
    "wte.weight",
    "embed_in.weight",
    "word_embeddings.weight",
    "tok_embeddings.weight",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDigest:
    """What counts of one tensor.

    Attributes:
        name: as in the checkpoint.
        dtype: in safetensors spelling, such as BF16.
        shape: sizes, outermost first.
        digest: of its bytes, row-major and little-endian.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: Digest

    def to_json(self) -> list[Any]:
        """`[name, dtype, [sizes], digest]`, as it is hashed."""
        return [self.name, self.dtype, list(self.shape), str(self.digest)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """All tensors of a model, read and named.

    Attributes:
        digest: the weights_digest.
        tensors: those it covers, sorted by name.
        own_output_embedding: whether an output embedding of its own is among them.
        vocab_rows: rows of the input embedding; None where none is recognised.
    """

    digest: Digest
    tensors: tuple[TensorDigest, ...]
    own_output_embedding: bool
    vocab_rows: int | None


def weigh(tensors: Sequence[TensorDigest]) -> Weights:
    """Put the tensors of all files together.

    Raises:
        FormatError: none, or two of one name.
    """
    ordered = sorted(tensors, key=lambda tensor: tensor.name.encode())
    for before, after in itertools.pairwise(ordered):
        if before.name == after.name:
            raise FormatError(f"expected each tensor once, found {after.name!r} twice")
    if not ordered:
        raise FormatError("expected a checkpoint with tensors, found none")
    inputs = [tensor for tensor in ordered if tensor.name.endswith(_INPUTS)]
    kept = tuple(tensor for tensor in ordered if not _is_tied(tensor, inputs))
    rows = {tensor.shape[0] for tensor in inputs if tensor.shape}
    return Weights(
        digest=Digest.of(WEIGHTS_TAG + canonical.encode([tensor.to_json() for tensor in kept])),
        tensors=kept,
        own_output_embedding=has_output_embedding(tensor.name for tensor in kept),
        vocab_rows=rows.pop() if len(rows) == 1 else None,
    )


def has_output_embedding(names: Iterable[str]) -> bool:
    """Whether an output embedding is among tensors of these names, a copy of the input or not."""
    return any(name.endswith(_OUTPUTS) for name in names)


def _is_tied(tensor: TensorDigest, inputs: Sequence[TensorDigest]) -> bool:
    if not tensor.name.endswith(_OUTPUTS):
        return False
    what = (tensor.dtype, tensor.shape, tensor.digest)
    return any(what == (source.dtype, source.shape, source.digest) for source in inputs)
