"""Signatures: a DSSE envelope, and the in-toto statement in it that a key has signed."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.document import Document
from lopd_store.documents.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement(Document):
    """What is signed: that the signer stands behind one artifact.

    Attributes:
        data: the canonical bytes.
        artifact: the artifact's id, which is the digest of its manifest.
    """

    SCHEMA: ClassVar[str] = "signature#statement"

    artifact: Digest = field(compare=False)

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The statement about the artifact of this manifest; nothing in it differs by run."""
        document = {
            "_type": media.STATEMENT,
            "subject": [
                {"digest": {"sha256": manifest.digest.hex}, "mediaType": media.OCI_MANIFEST}
            ],
            "predicateType": media.SIGNED,
            "predicate": {"artifactType": manifest.artifact_type},
        }
        return cls.from_json(document, what="statement")

    @classmethod
    def _read(cls, data: bytes, document: Mapping[str, Any]) -> Self:
        (subject,) = document["subject"]
        return cls(data=data, artifact=Digest.from_hex(subject["digest"]["sha256"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature(Document):
    """Evidence of who stands behind an artifact. Nothing in it was checked with a key.

    Attributes:
        data: the canonical bytes.
        payload: what was signed: the bytes of a `Statement`, if the key says so.
        signatures: signature bytes by the id of the key that is said to have made them.
    """

    SCHEMA: ClassVar[str] = "signature"

    payload: bytes = field(compare=False, repr=False)
    signatures: Mapping[str, bytes] = field(compare=False, repr=False)

    @classmethod
    def of(cls, statement: Statement, *, key: Digest, signature: bytes) -> Self:
        """The envelope of a statement and its one signature, which is over `to_sign`."""
        document = {
            "payloadType": media.IN_TOTO,
            "payload": base64.b64encode(statement.data).decode(),
            "signatures": [{"keyid": str(key), "sig": base64.b64encode(signature).decode()}],
        }
        return cls.from_json(document)

    @classmethod
    def _read(cls, data: bytes, document: Mapping[str, Any]) -> Self:
        signatures = document["signatures"]
        return cls(
            data=data,
            payload=base64.b64decode(document["payload"]),
            signatures={one["keyid"]: base64.b64decode(one["sig"]) for one in signatures},
        )

    @property
    def to_sign(self) -> bytes:
        """The bytes that a signature is over."""
        return to_sign(self.payload)


def to_sign(payload: bytes) -> bytes:
    """DSSE's encoding of a payload with its type: what is signed for one use fits no other."""
    kind = media.IN_TOTO.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
