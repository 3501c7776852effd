"""Media types, annotation keys and format names: every word that a manifest spells."""

from typing import Final

from lopd_store.digest import Digest

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYOUT_VERSION: Final = "1.0.0"

EMPTY_DATA: Final = b"{}"  # what the OCI empty media type stands for
EMPTY_DIGEST: Final = Digest.of(EMPTY_DATA)

ARTIFACT: Final = "application/vnd.lopd.artifact.v1+json"
IDENTITY: Final = "application/vnd.lopd.identity.v1+json"
TOKENIZER: Final = "application/vnd.lopd.tokenizer.v1+zstd"
SHARD: Final = "application/vnd.lopd.shard.v1+parquet"
SKIPPED: Final = "application/vnd.lopd.skipped.v1+jsonl"
NOISE: Final = "application/vnd.lopd.noise.v1+json"
SIGNATURE: Final = "application/vnd.lopd.signature.v1+json"

LAYER_ORDER: Final = (IDENTITY, TOKENIZER, SHARD, SKIPPED)

KINDS: Final = ("sft", "rollouts", "signal")
NOISE_TYPE: Final = "application/vnd.lopd.noise.v1"
SIGNATURE_TYPE: Final = "application/vnd.lopd.signature.v1"

IN_TOTO: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
SIGNED: Final = "urn:lopd:signature:v1"  # the predicate: the signer stands behind the subject

ROWS: Final = "dev.lopd.rows"
TOKENS: Final = "dev.lopd.tokens"
IDENTITY_DIGEST: Final = "dev.lopd.identity"
REF_NAME: Final = "org.opencontainers.image.ref.name"

IDENTITY_FORMAT: Final = "lopd.identity.v1"
ARTIFACT_FORMAT: Final = "lopd.artifact.v1"
STAMP_FORMAT: Final = "lopd.stamp.v1"
NOISE_FORMAT: Final = "lopd.noise.v1"

FOOTER_KEY: Final = b"lopd.identity"  # key of the identity document in a shard's Parquet footer
STAMP_FILE: Final = "lopd.json"  # file name of a stamp beside a checkpoint's weights


def artifact_type(kind: str) -> str:
    """The `artifactType` of a manifest of this kind; evidence has kinds too, such as `noise`."""
    return f"application/vnd.lopd.{kind}.v1"


def kind_of(artifact_type: str) -> str:
    """The kind that an `artifactType` of ours names; other types come back unchanged."""
    return artifact_type.removeprefix("application/vnd.lopd.").removesuffix(".v1")
