"""From the name that a person gives to what it says: of the store first, else on the Hub."""

from pathlib import Path
from typing import Any

from lopd_store import hub
from lopd_store.errors import NotFoundError
from lopd_store.hub import HubName
from lopd_store.inspect import published, stored
from lopd_store.store import Store


def show_named(name: str, *, root: Path) -> dict[str, Any]:
    """Everything an artifact says of itself.

    Args:
        name: a ref or an id in the store; else
            `org/name[/config[/split]][@revision][@sha256:…]` on the Hub.
        root: the store's folder; without one, only the Hub is asked.

    Raises as `stored.show` or `published.show` does.
    """
    if (asked := _on_hub(name, root)) is not None:
        return published.show(asked, Store.find(root))
    return stored.show(Store.open(root), name)


def skipped_named(name: str, *, root: Path) -> list[dict[str, Any]]:
    """The rows of the source that an artifact left out: `show_named` says of what."""
    if (asked := _on_hub(name, root)) is not None:
        return published.skipped(asked, Store.find(root))
    return stored.skipped(Store.open(root), name)


def _on_hub(name: str, root: Path) -> HubName | None:
    """The name, if it can only be one on the Hub."""
    if not hub.is_artifact_name(name):
        return None
    try:
        Store.open(root).refs.resolve(name)
    except NotFoundError:
        return HubName.parse(name)
    return None
