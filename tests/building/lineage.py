"""Whole chains without an engine: SFT data, a stamped student, its rollouts, a signal."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lopd_store.artifacts import load
from lopd_store.documents.identity import HubSource, Identity
from lopd_store.documents.stamp import Stamp
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.stamping import write_stamp
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import build_signal, identity_of, publish, random_rows

COMMITS = ("1" * 40, "2" * 40)


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """A chain: refs `sft`, `rollouts` and `signal` of a store, and the student's folder."""

    store: Store
    student: Path
    stamp: Stamp

    @property
    def identity(self) -> Identity:
        """Who made the signal."""
        return load(self.store, "signal").identities[0]

    def fingerprint(self) -> Fingerprint:
        """The student as it lies there now."""
        return fingerprint(str(self.student))


def make_lineage(
    root: Path,
    *,
    wrote: Fingerprint,
    student: Path,
    scored: Fingerprint | None = None,
    how: Literal["made", "asserted"] = "made",
    stamped: bool = True,
) -> Lineage:
    """The chain of a copy of `student`, taught by data that `wrote` wrote; honest by default."""
    store = Store.open(root / "store", create=True, sync=no_sync)
    folder = Path(shutil.copytree(student, root / "student"))
    stamp = stamp_by(store, wrote, folder, how=how)
    model = fingerprint(str(folder))
    assert model.tokenizer_blob is not None
    rolled = identity_of("rollouts", model, policy_stamp=stamp if stamped else None)
    publish(store, "rollouts", rolled, [random_rows(12)], tokenizer_blob=model.tokenizer_blob)
    build_signal(store, scored or wrote)
    return Lineage(store=store, student=folder, stamp=stamp)


def stamp_by(
    store: Store,
    wrote: Fingerprint,
    folder: Path,
    *,
    how: Literal["made", "asserted"] = "made",
    ref: str = "sft",
) -> Stamp:
    """SFT data by a teacher under `ref`, and the stamp of a checkpoint that they taught."""
    assert wrote.tokenizer_blob is not None
    sft = identity_of("sft", wrote)
    publish(store, ref, sft, [random_rows(5, seed=7)], tokenizer_blob=wrote.tokenizer_blob)
    artifact = load(store, ref)
    return write_stamp(
        folder,
        how=how,
        base=None,
        manifest=artifact.manifest,
        artifact=artifact.document,
        identities=artifact.identities,
        cache=None,
    )


def from_hub(model: Fingerprint, commit: str, *, repo: str = "org/teacher") -> Fingerprint:
    """The same model, as if it had come from the Hub."""
    source = HubSource(repo=repo, commit=commit)
    return replace(model, model=replace(model.model, source=source))


def edited(identity: Identity, edit: Callable[[dict[str, Any]], None]) -> Identity:
    """An identity document after an edit, as a hostile or careless hand would make it."""
    document = identity.json
    edit(document)
    return Identity.from_json(document)
