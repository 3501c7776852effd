"""Which ref an artifact of the Hub gets where nobody says."""

from collections.abc import Sequence

from lopd_store.errors import UsageError
from lopd_store.hub import HubName
from lopd_store.remote.layout import Place
from lopd_store.remote.naming import ref_of
from lopd_store.store import index


def refs_of(
    name: HubName, places: Sequence[Place], ref: str | None, *, columns: Sequence[str] | None
) -> list[str]:
    """A ref for each of the places.

    Args:
        name: as it was typed.
        places: those that it means.
        ref: the name that a person chose, for exactly one.
        columns: those that a person chose, if they did.

    Raises:
        UsageError: one name for several; none for some columns; or no ref can be spelled like this
            name.
    """
    if ref is None and columns is not None:
        raise UsageError(
            f"{name}: expected a name for a part of the columns, which is another artifact, found"
            " none: give one with -o REF"
        )
    if ref is None:
        return [ref_of(name.repo, place, name.revision) for place in places]
    if len(places) > 1:
        found = ", ".join(f"{name.repo}/{place}" for place in places)
        raise UsageError(
            f"{name}: expected one artifact to be called {ref}, found {len(places)}: name one of"
            f" {found}, or leave out -o"
        )
    return [index.check_name(ref)]
