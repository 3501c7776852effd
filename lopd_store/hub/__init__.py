"""The Hugging Face Hub through its own client: the one place that speaks to it.

Nothing here knows the format. Everything that comes from the Hub is its word only, until bytes are
compared with a digest that somebody trusts. The client is imported when it is needed.
"""

from lopd_store.hub.cache import bring, download, find, is_offline
from lopd_store.hub.explaining import is_away
from lopd_store.hub.kept import cached_digest
from lopd_store.hub.names import HubName, is_artifact_name, is_commit, is_name, split_name

__all__ = [
    "HubName",
    "bring",
    "cached_digest",
    "download",
    "find",
    "is_artifact_name",
    "is_away",
    "is_commit",
    "is_name",
    "is_offline",
    "split_name",
]
