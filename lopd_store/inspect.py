"""What is in a store, as plain values to print: ls, show, log, diff."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lopd_store.artifacts import Artifact, load
from lopd_store.common_samples import attached
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.skipped import parse_skipped
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import FormatError, IntegrityError, LopdError, NotFoundError
from lopd_store.identity.compare import same_teacher
from lopd_store.rows.columns import LOGPROB_COLUMNS
from lopd_store.store import Store


def ls(store: Store) -> list[dict[str, Any]]:
    """One entry a ref, in name order; a ref whose artifact cannot be read says why."""
    return [_entry(store, name, ref.digest) for name, ref in store.refs.list().items()]


def _entry(store: Store, name: str, digest: Digest) -> dict[str, Any]:
    try:
        artifact = load(store, str(digest))
    except LopdError as error:
        return {"ref": name, "id": str(digest), "error": str(error)}
    document = artifact.document
    return {
        "ref": name,
        "id": str(digest),
        "kind": document.kind,
        "rows": document.rows,
        "tokens": document.tokens,
        "bytes": sum(layer.size for layer in artifact.manifest.layers),
        "teacher": _short_name(artifact.identities[0], "teacher"),
        "policy": _short_name(artifact.identities[0], "policy"),
    }


def _short_name(identity: Identity, role: str) -> str | None:
    """A model in a few words; a question mark stands after what is only asserted."""
    known = identity.models.get(role)
    model = known or identity.claimed(role)
    if model is None:
        imported = identity.imported
        return "unknown" if imported and role in imported.not_known else None
    source = f"{model.source.repo}@{model.source.commit[:12]} " if model.source else ""
    return f"{source}{model.weights_digest.short}{'' if known else '?'}"


def show(store: Store, name: str) -> dict[str, Any]:
    """Everything an artifact says of itself. Raises as `artifacts.load` does."""
    artifact = load(store, name)
    document, identity = artifact.document, artifact.identities[0]
    models = {role: model.to_json() for role, model in identity.models.items()}
    return {
        "id": str(artifact.id),
        "refs": [ref for ref, at in store.refs.list().items() if at.digest == artifact.id],
        "kind": document.kind,
        "rows": document.rows,
        "tokens": document.tokens,
        "prompt_tokens": document.prompt_tokens,
        "duplicates": document.duplicates,
        "skipped": dict(document.skipped),
        "content_digest": str(document.content_digest),
        "teacher": models.get("teacher"),
        "policy": models.get("policy"),
        "sft_teacher": sft_teacher(artifact.identities),
        "tokenizer": identity.tokenizer.to_json() if identity.tokenizer else None,
        "sampling": identity.sampling.to_json() if identity.sampling else None,
        "scorings": {name: scoring.to_json() for name, scoring in identity.scorings.items()},
        "precision": identity.precision,
        "policy_stamp": identity.policy_stamp.json if identity.policy_stamp else None,
        "imported": identity.imported.to_json() if identity.imported else None,
        "identities": [str(digest) for digest in document.identities],
        "columns": [column.to_json() for column in document.columns],
        "lineage": [link.to_json() for link in document.lineage],
        "shards": _shards(artifact),
        "evidence": [
            {"type": found.artifact_type, "digest": str(found.digest)}
            for found in store.evidence(artifact.id)
        ],
    }


def sft_teacher(identities: Sequence[Identity]) -> str | None:
    """Whether the teacher that scored also wrote the SFT data of the policy, in one line.

    None in kind sft, whose rows no student wrote. Without a teacher that scored, who wrote the
    SFT data, as far as the stamp says.
    """
    answers = [_sft_teacher(identity) for identity in identities if identity.kind != "sft"]
    return "; ".join(dict.fromkeys(answers)) or None


def _sft_teacher(identity: Identity) -> str:
    stamp = identity.policy_stamp
    if stamp is None:
        missing = "carries no stamp" if "policy" in identity.models else "is not known"
        return f"unknown: the policy {missing}"
    teachers, scored_by = stamp.sft_teachers, identity.teacher
    named = ", ".join(teacher.weights_digest.short for teacher in teachers)
    said = f"(stamp {stamp.how}{_trained_since(stamp)})"
    if not teachers:
        return f"unknown: the policy's stamp names no SFT data {said}"
    if scored_by is None:
        return f"{named} {said}"
    if any(same_teacher(teacher, scored_by) for teacher in teachers):
        return f"ANOTHER: {named} {said}"
    return f"same as the scoring teacher {said}"


def _trained_since(stamp: Stamp) -> str:
    if not stamp.opd:
        return ""
    inconsistent = sum(bool(run.inconsistent) for run in stamp.opd)
    return f"; OPD runs since: {len(stamp.opd)}, inconsistent: {inconsistent}"


def skipped(store: Store, name: str) -> list[dict[str, Any]]:
    """The rows of the source that an artifact left out: row, reason and detail.

    Raises as `artifacts.load` does.
    """
    layer = load(store, name).manifest.skipped
    if layer is None:
        return []
    data = store.blobs.get(layer.digest, size=layer.size)
    return [row.to_json() for row in parse_skipped(data)]


def kind_of(store: Store, artifact: Digest) -> str | None:
    """The kind that an artifact's manifest says; None where no manifest can be read."""
    try:
        return Manifest.parse(store.blobs.get(artifact)).kind
    except (FormatError, IntegrityError, NotFoundError):
        return None


def _shards(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        {
            "digest": str(layer.digest),
            "rows": layer.rows,
            "tokens": layer.tokens,
            "bytes": layer.size,
            "path": str(artifact.store.blobs.path(layer.digest)),
        }
        for layer in artifact.shards
    ]


def log(store: Store, ref: str) -> list[dict[str, Any]]:
    """How a ref moved, newest first; a ref that was removed keeps its history.

    Raises NotFoundError for a ref that never was.
    """
    entries = store.refs.history(ref)
    if not entries and store.refs.get(ref) is None:
        raise NotFoundError(f"no ref {ref!r} in {store.root}, and none was there before")
    return [entry.to_json() for entry in reversed(entries)]


def diff(store: Store, left: str, right: str) -> dict[str, Any]:
    """What two artifacts do not share: documents, samples, and numbers on common samples.

    Raises as `artifacts.load` does; every blob read is checked first. FormatError where shards are
    no shards, or a sample has the name of another.
    """
    a, b = load(store, left), load(store, right)
    return {
        "same": a.id == b.id,
        "same_content": a.document.content_digest == b.document.content_digest,
        "documents": _changed(_facts(a), _facts(b)),
        **_rows_that_differ(a, b),
    }


def _facts(artifact: Artifact) -> dict[str, Any]:
    identity = artifact.identities[0].json
    return {"artifact": artifact.document.json, "identity": identity}


def _changed(left: Any, right: Any, where: str = "") -> list[dict[str, Any]]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return [
            change
            for key in sorted(left.keys() | right.keys())
            for change in _changed(left.get(key), right.get(key), f"{where}/{key}")
        ]
    return [] if left == right else [{"where": where, "left": left, "right": right}]


def _rows_that_differ(a: Artifact, b: Artifact) -> dict[str, Any]:
    with attached(a, b) as pair:
        both, only_left, only_right = pair.answer(_COUNTS)
        left, right = pair.columns
        numbers = {
            name: dict(zip(_MEASURES, pair.answer(query), strict=True))
            for name, query in _GAPS.items()
            if name in left & right
        }
    rows = {"common": both, "only_left": only_left, "only_right": only_right}
    return {"rows": rows, "columns": numbers}


_COUNTS: Final = """
    select count(*) filter (a.sample_id is not null and b.sample_id is not null),
           count(*) filter (b.sample_id is null),
           count(*) filter (a.sample_id is null)
    from (select sample_id from a.signals) a
    full join (select sample_id from b.signals) b using (sample_id)
"""
_MEASURES: Final = ("tokens", "differing", "mean_abs", "max_abs")
# A column cannot be a parameter of a statement: each query is spelled out of our own constants.
_GAPS: Final = {
    column: f"""
    with pairs as (
        select unnest(a.{column}) as x, unnest(b.{column}) as y
        from a.signals a join b.signals b using (sample_id)
    )
    select count(*), count(*) filter (x is distinct from y),
           coalesce(avg(abs(x::double - y::double)), 0.0),
           coalesce(max(abs(x::double - y::double)), 0.0)
    from pairs
    """  # noqa: S608 - constants only, see above
    for column in LOGPROB_COLUMNS
}
