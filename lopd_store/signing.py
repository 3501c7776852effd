"""Signatures on artifacts: made with a private key, attached as evidence, told by a public one.

Every digest of an artifact can be computed by anybody, so a chain made up with care passes every
other check. A signature says who stands behind one artifact; whether it is true, it cannot say.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from lopd_store.artifacts import load
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.documents.signature import Signature, Statement, to_sign
from lopd_store.errors import FormatError, Problem
from lopd_store.keys import PrivateKey, PublicKey
from lopd_store.store import Store

MAX_ENVELOPE_BYTES: Final = 64 << 10  # one signature takes 600 bytes; more may stand beside it
_NAMED_KEYS: Final = 3


def sign(store: Store, name: str, key: PrivateKey) -> Descriptor:
    """Attach to an artifact the statement that the key's owner stands behind it.

    The same key signs the same artifact in the same bytes, so that signing again changes nothing.

    Args:
        store: where the artifact lies.
        name: a ref, an id or the beginning of one. Its rows are not looked at: `verify` does that.
        key: whose statement it is.

    Returns:
        The descriptor of the evidence.

    Raises:
        NotFoundError, IntegrityError, FormatError: as `artifacts.load`.
        StoreError: the store cannot be written.
    """
    artifact = load(store, name)
    envelope = signature_of(artifact.manifest, key)
    evidence = Manifest.of(
        artifact_type=media.SIGNATURE_TYPE,
        config=Descriptor.of(media.EMPTY_DATA, media_type=media.OCI_EMPTY),
        layers=[Descriptor.of(envelope.encode(), media_type=media.SIGNATURE)],
        subject=artifact.manifest.descriptor(),
    )
    for blob in (media.EMPTY_DATA, envelope.encode(), evidence.encode()):
        store.blobs.put(blob)
    store.refs.attach(evidence.descriptor())
    return evidence.descriptor()


def signature_of(manifest: Manifest, key: PrivateKey) -> Signature:
    """The envelope in which a key says that it stands behind the artifact of this manifest."""
    statement = Statement.of(manifest)
    signed = key.sign(to_sign(statement.encode()))
    return Signature.of(statement, key=key.public.id, signature=signed)


def envelopes(store: Store, artifact: Digest) -> Iterator[bytes]:
    """The signatures attached to an artifact, unread; whose they are, only a key can tell.

    Raises:
        NotFoundError, IntegrityError, FormatError: evidence that is missing, damaged or too large.
    """
    for evidence in store.evidence(artifact, media.SIGNATURE_TYPE):
        manifest = Manifest.parse(store.blobs.get(evidence.digest, size=evidence.size))
        for layer in manifest.layers_of(media.SIGNATURE):
            yield store.blobs.get(layer.digest, size=layer.size, limit=MAX_ENVELOPE_BYTES)


def signers(envelopes: Sequence[bytes]) -> tuple[str, ...]:
    """The ids of the keys that envelopes name, once each, in order: names, of which none is proved.

    Raises FormatError for an envelope that is none.
    """
    found = (key for envelope in envelopes for key in _parsed(envelope).signatures)
    return tuple(sorted(set(found)))


def signatures_problems(
    artifact: Digest, envelopes: Sequence[bytes], key: PublicKey
) -> list[Problem]:
    """Why nothing shows that the key's owner stands behind an artifact; empty when that is shown.

    One good signature is enough, whatever stands beside it: anybody can attach a bad one.

    Args:
        artifact: the id.
        envelopes: the signatures that came with it, from anywhere.
        key: whose signature is wanted.

    Returns:
        `bad-signature` for each envelope that says it is the key's, or cannot be read; `unsigned`
        when there is none such.
    """
    bad, others = [], set[str]()
    for envelope in envelopes:
        where = f"signature {Digest.of(envelope).short}"
        try:
            signature = _parsed(envelope)
            if str(key.id) not in signature.signatures:
                others.update(signature.signatures)
                continue
            wrong = _wrong(signature, artifact, key)
        except FormatError as error:
            wrong = ("a DSSE envelope of a statement", _first(error))
        if wrong is None:
            return []
        bad.append(Problem("bad-signature", where, *wrong))
    return bad or [
        Problem("unsigned", f"artifact {artifact.short}", f"a signature by {key.id}", _only(others))
    ]


def _parsed(envelope: bytes) -> Signature:
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise FormatError(f"expected at most {MAX_ENVELOPE_BYTES} bytes, found {len(envelope)}")
    return Signature.parse(envelope)


def _wrong(signature: Signature, artifact: Digest, key: PublicKey) -> tuple[str, str] | None:
    """Expected and found; the statement is parsed only once the key vouches for its bytes."""
    if not key.signed(signature.signatures[str(key.id)], signature.to_sign):
        return f"a signature by {key.id}", "one that this key did not make of these bytes"
    said = Statement.parse(signature.payload, what="statement").artifact
    return None if said == artifact else (f"a statement about {artifact}", f"one about {said}")


def _first(error: FormatError) -> str:
    return str(error.problems[0]) if error.problems else str(error)


def _only(keys: set[str]) -> str:
    if not keys:
        return "none"
    named = ", ".join(sorted(keys)[:_NAMED_KEYS])
    more = f" and {len(keys) - _NAMED_KEYS} more" if len(keys) > _NAMED_KEYS else ""
    return f"only signatures that name {named}{more}"
