"""What a run trains on and starts from: opened, fingerprinted, and named by digests."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store.errors import FormatError, UsageError
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.signals import Signal, open_signal
from lopd_store.store import Store
from lopd_train.rows import Rows

RECORD_FORMAT: Final = "lopd.run.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A signal or sft artifact, and the checkpoint to train.

    Attributes:
        signal: where the rows come from.
        student: the checkpoint.
        cache: remembered file digests; None where there is no store.
    """

    signal: Signal
    student: Fingerprint
    cache: Path | None

    @classmethod
    def open(cls, name: str, model: str, *, root: Path | None, kind: str) -> "Material":
        """Open both by the names a person typed.

        Raises:
            NotFoundError: no such signal or model.
            FormatError: another kind of artifact.
            UsageError: a LoRA adapter.
        """
        cache = _cache(root)
        signal = open_signal(name, root=root)
        if signal.kind != kind:
            raise FormatError(f"{name}: expected an artifact of kind {kind}, found {signal.kind}")
        student = fingerprint(model, cache=cache)
        if student.model.adapter is not None:
            raise UsageError(
                f"{model}: expected a whole model to train, found a LoRA adapter: merge it into its"
                " base, and train and roll out with the merged checkpoint"
            )
        return cls(signal=signal, student=student, cache=cache)

    @property
    def start(self) -> Path:
        """The checkpoint's folder."""
        return Path(self.student.folder)

    def record(self, rows: Rows) -> dict[str, Any]:
        """Which model and which rows, by digests; no path and no name."""
        model = self.student.model
        return {
            "format": RECORD_FORMAT,
            "model": {
                "weights_digest": str(model.weights_digest),
                "config_digest": str(model.config_digest),
            },
            "rows": {
                "count": len(rows),
                "left_out": rows.left_out,
                "digest": _rows_digest(rows),
            },
        }


def _cache(root: Path | None) -> Path | None:
    """Where there is no store, nothing is remembered: training from a file must not make one."""
    if root is None:
        return None
    store = Store(root)
    return store.fingerprints if store.work.is_dir() else None


def _rows_digest(rows: Rows) -> str:
    """SHA-256 over the decoded columns, so that a run knows its rows in any packaging."""
    found = hashlib.sha256(b"lopd.run.rows.v1\n")
    for column in (
        rows.prompt_offsets,
        rows.prompt_ids,
        rows.response_offsets,
        rows.response_ids,
        rows.trained,
        rows.teacher_logprobs,
        rows.rollout_logprobs,
    ):
        size = -1 if column is None else column.nbytes
        found.update(size.to_bytes(8, "little", signed=True))
        if column is not None:
            found.update(column.data)
    return f"sha256:{found.hexdigest()}"
