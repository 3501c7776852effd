"""Which ref an artifact of the Hub gets where nobody says."""

from collections.abc import Sequence

from lopd_store.errors import UsageError
from lopd_store.hub import HubName
from lopd_store.remote.layout import Place
from lopd_store.remote.resolving import MAIN
from lopd_store.store import index

_USUAL = Place()


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
        return [_ref(name, place) for place in places]
    if len(places) > 1:
        found = ", ".join(f"{name.repo}/{place}" for place in places)
        raise UsageError(
            f"{name}: expected one artifact to be called {ref}, found {len(places)}: name one of"
            f" {found}, or leave out -o"
        )
    return [index.check_name(ref)]


def _ref(name: HubName, place: Place) -> str:
    """`org/name[/config[/split]][:revision]`; what is usual is left out."""
    words = [name.repo]
    if place != _USUAL:
        words.append(place.config)
    if place.split != _USUAL.split:
        words.append(place.split)
    revision = "" if name.revision in {None, MAIN} else f":{name.revision}"
    ref = "/".join(words) + revision
    if not index.is_name(ref):
        raise UsageError(f"{name}: no ref can be called {ref!r}: choose its name with -o REF")
    return ref
