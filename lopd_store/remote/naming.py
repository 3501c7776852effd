"""What an artifact of the Hub is called in a store."""

from lopd_store.errors import UsageError
from lopd_store.remote.layout import Place
from lopd_store.remote.resolving import MAIN
from lopd_store.store import index


def ref_of(repo: str, place: Place, revision: str | None) -> str:
    """`org/name`, then the config and the split where they are not the usual ones, `:revision`.

    Without a revision `:main`, so that a name without `:` is never a ref that hides the Hub's.

    Raises UsageError where no ref can be called so.
    """
    usual = Place()
    parts = [repo]
    if place != usual:
        parts.append(place.config)
    if place.split != usual.split:
        parts.append(place.split)
    name = f"{'/'.join(parts)}:{revision or MAIN}"
    if not index.is_name(name):
        raise UsageError(f"no ref can be called {name!r}: choose its name with -o REF")
    return name
