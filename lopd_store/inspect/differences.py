"""How two artifacts of a store differ: what made them, their samples, and their numbers."""

from collections.abc import Mapping
from typing import Any, Final

from lopd_store.artifacts import Artifact, load
from lopd_store.common_samples import attached
from lopd_store.rows.columns import LOGPROB_COLUMNS
from lopd_store.store import Store


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
