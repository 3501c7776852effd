"""The teacher signal of on-policy distillation as a versioned, verifiable artifact.

    from pathlib import Path
    from lopd_store import open_signal

    signal = open_signal("demo/signal", root=Path(".demo/store"))
    signal.sql("select avg(advantage) from tokens where position < 10").fetchall()
    rows = signal.open_rows(where="finish_reason = 'stop'")
    rows[0]["teacher_logprobs"]

Importing this imports neither torch, vllm, transformers, ray nor DuckDB; what needs them imports
them when it is asked.
"""

from lopd_store.adapters.exporting import Exported, export
from lopd_store.artifacts import Artifact, load
from lopd_store.build import build
from lopd_store.building.options import EngineOptions, JobOptions
from lopd_store.building.outcome import Built
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity, ModelIdentity, Sampling, TokenizerIdentity
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import (
    ConsistencyError,
    EngineError,
    FormatError,
    HubError,
    IntegrityError,
    LopdError,
    NotFoundError,
    Problem,
    StoreError,
    UsageError,
)
from lopd_store.generate import generate
from lopd_store.hub import HubName
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.importing import Claims, Import, NamedTokenizer, import_file
from lopd_store.inputs.prompts import prompts_from_file
from lopd_store.inputs.rollouts import (
    open_rollouts,
    rollouts_from_file,
    rollouts_from_store,
)
from lopd_store.inputs.text import ModelRenderer
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.merge import Merged, merge
from lopd_store.publishing.prepare import PushOptions, push
from lopd_store.publishing.pushed import Pushed
from lopd_store.pulling.run import Pulled, pull
from lopd_store.rows.precision import Precision
from lopd_store.signal_difference import SignalDifference, compare_signals
from lopd_store.signals import Signal, open_signal
from lopd_store.stamping import read_stamp, write_opd_stamp, write_stamp
from lopd_store.store import Store
from lopd_store.verify.consistency import Chain, check_chain
from lopd_store.verify.report import Report
from lopd_store.verify.target import (
    Depth,
    verify_artifact,
    verify_file,
    verify_store,
    verify_target,
)

__all__ = [
    "Artifact",
    "Built",
    "Chain",
    "Claims",
    "ConsistencyError",
    "DecodedRows",
    "Depth",
    "Digest",
    "EngineError",
    "EngineOptions",
    "Exported",
    "Fingerprint",
    "FormatError",
    "HubError",
    "HubName",
    "Identity",
    "Import",
    "IntegrityError",
    "JobOptions",
    "LopdError",
    "Manifest",
    "Merged",
    "ModelIdentity",
    "ModelRenderer",
    "NamedTokenizer",
    "NotFoundError",
    "Precision",
    "Problem",
    "Pulled",
    "PushOptions",
    "Pushed",
    "Report",
    "Sampling",
    "Signal",
    "SignalDifference",
    "Stamp",
    "Store",
    "StoreError",
    "TokenizerIdentity",
    "UsageError",
    "build",
    "check_chain",
    "compare_signals",
    "export",
    "fingerprint",
    "generate",
    "import_file",
    "load",
    "merge",
    "open_rollouts",
    "open_signal",
    "prompts_from_file",
    "pull",
    "push",
    "read_stamp",
    "rollouts_from_file",
    "rollouts_from_store",
    "verify_artifact",
    "verify_file",
    "verify_store",
    "verify_target",
    "write_opd_stamp",
    "write_stamp",
]
