"""What was made of a blob before, so that it is not made again."""

from typing import Final

from lopd_store.building.work import Work
from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import FormatError
from lopd_store.remembered import FileState, Records
from lopd_store.store import Store
from lopd_store.store.regular import require_folder

_FOLDER: Final = "derived"  # in .lopd; may be lost at any time


class Derived:
    """Source blob and a key for what is done to it → the blob that came of it.

    Nothing is believed for longer than the source's file stays what it was; see `remembered`.
    """

    def __init__(self, store: Store, work: Work) -> None:
        """Raises IntegrityError where a link stands in the folder's place."""
        folder = store.work / _FOLDER
        require_folder(folder)
        self._records = Records(folder)
        self._store = store
        self._work = work

    def state(self, source: Digest) -> FileState:
        """The state of a source before it is read."""
        return FileState.of(self._store.blobs.path(source))

    def recall(self, source: Digest, key: str) -> Descriptor | None:
        """What came of a blob, if its file is still there and so will stay; unread."""
        made = self._known(source).get(key)
        return made if made is not None and self._work.claim(made.digest) else None

    def remember(self, source: Digest, key: str, made: Descriptor, *, state: FileState) -> None:
        """For the next run."""
        known = self._known(source) | {key: made}
        entries = {name: one.to_json() for name, one in known.items()}
        self._records.remember(self._store.blobs.path(source), state, {"derived": entries})

    def _known(self, source: Digest) -> dict[str, Descriptor]:
        match self._records.recall(self._store.blobs.path(source)):
            case {"derived": dict(entries)}:
                try:
                    return {key: Descriptor.from_json(entry) for key, entry in entries.items()}
                except FormatError:  # of another version of lopd
                    return {}
        return {}
