"""Artifacts of the Hub, brought into a store: checked before they get their names.

    pull(store, HubName.parse("org/name@v1"))

Everything is staged outside the blobs until all of an artifact is there and is what its manifest
says. What is not is removed, and the store stays as it was; what was interrupted goes on.
"""

from lopd_store.pulling.run import Pulled, pull

__all__ = ["Pulled", "pull"]
