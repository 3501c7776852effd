"""Which ref an artifact of the Hub gets where nobody says."""

from collections.abc import Sequence

from lopd_store.errors import UsageError
from lopd_store.hub import HubName
from lopd_store.remote.layout import Place
from lopd_store.remote.naming import ref_of
from lopd_store.remote.resolving import MAIN
from lopd_store.store import index


def refs_of(name: HubName, places: Sequence[Place], ref: str | None) -> list[str]:
    """A ref for each of the places.

    Args:
        name: as it was typed.
        places: those that it means.
        ref: the name that a person chose, for exactly one.

    Raises:
        UsageError: one name for several; or no ref can be spelled like this name.
    """
    if ref is None:
        revision = None if name.revision == MAIN else name.revision
        return [ref_of(name.repo, place, revision) for place in places]
    if len(places) > 1:
        found = ", ".join(f"{name.repo}/{place}" for place in places)
        raise UsageError(
            f"{name}: expected one artifact to be called {ref}, found {len(places)}: name one of"
            f" {found}, or leave out -o"
        )
    return [index.check_name(ref)]
