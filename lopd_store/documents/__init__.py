"""The JSON documents of an artifact as frozen types. The spec is `schemas/README.md`.

    Document     canonical bytes, digest, `parse`, `of`
    ├── Identity           who made these rows
    ├── ArtifactDocument   what came out
    ├── Manifest           the parts, by digest
    ├── Stamp              who taught a checkpoint
    ├── Noise              how far a re-score moves
    ├── Signature          who stands behind an artifact
    └── Statement          what is signed
    Part         an object inside a document: ModelIdentity, Scoring, Descriptor, …

Reading is canonical JSON, then the schema, then the rules between fields; an error lists every
problem found. Fields that this version does not know are kept.
"""

from lopd_store.documents.artifact import ArtifactDocument, Column, Lineage
from lopd_store.documents.document import Document
from lopd_store.documents.identity import (
    Adapter,
    Asserted,
    HubSource,
    Identity,
    Imported,
    ModelIdentity,
    Prompts,
    Sampling,
    Scoring,
    SignalColumn,
    SpecialIds,
    TokenizerIdentity,
)
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.documents.model import BaseModel
from lopd_store.documents.noise import Noise
from lopd_store.documents.opd_run import OpdRun, SignalUsed
from lopd_store.documents.part import Part
from lopd_store.documents.signature import Signature, Statement
from lopd_store.documents.skipped import SkippedRow, encode_skipped, parse_skipped
from lopd_store.documents.stamp import Stamp

__all__ = [
    "Adapter",
    "ArtifactDocument",
    "Asserted",
    "BaseModel",
    "Column",
    "Descriptor",
    "Document",
    "HubSource",
    "Identity",
    "Imported",
    "Lineage",
    "Manifest",
    "ModelIdentity",
    "Noise",
    "OpdRun",
    "Part",
    "Prompts",
    "Sampling",
    "Scoring",
    "SignalColumn",
    "SignalUsed",
    "Signature",
    "SkippedRow",
    "SpecialIds",
    "Stamp",
    "Statement",
    "TokenizerIdentity",
    "encode_skipped",
    "parse_skipped",
]
