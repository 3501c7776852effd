"""An artifact store: an OCI image layout on a disk, safe against crashes, races and strangers.

    STORE/oci-layout              {"imageLayoutVersion":"1.0.0"}
    STORE/index.json              refs and evidence
    STORE/blobs/sha256/<hex>      all bytes, by their SHA-256
    STORE/.lopd/                  tmp, locks, builds, log: ours, not needed to read; and
                                  fingerprints, verified, decoded, derived, hub: which may be
                                  lost at any time

`Store.open` is the way in. Reading takes no lock, and a read-only store works: what may be lost is
then not remembered.
"""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.documents.media import OCI_LAYOUT_VERSION
from lopd_store.errors import FormatError, NotFoundError, Problem, UsageError
from lopd_store.store import durable, fsck, index, regular
from lopd_store.store.blobs import Blobs
from lopd_store.store.gc import DAY, DECODED_SECONDS, Collector, GcReport
from lopd_store.store.locks import exclusive
from lopd_store.store.log import Log
from lopd_store.store.refs import Refs

DEFAULT_ROOT: Final = Path("~/.cache/lopd")
_LAYOUT_FILE: Final = "oci-layout"
_LONGEST_LAYOUT: Final = 4096
_FOLDERS: Final = ("tmp", "locks", "builds", "log", "verified", "decoded", "derived", "hub")
_OURS: Final = frozenset({"blobs", ".lopd", "index.json", _LAYOUT_FILE})


def default_root() -> Path:
    """The store's folder where nobody names one: LOPD_STORE, else ~/.cache/lopd."""
    return Path(os.environ.get("LOPD_STORE") or DEFAULT_ROOT).expanduser()


class Store:
    """A store that is open. Holds no file open and no lock; safe to share between threads.

    Attributes:
        root: the store's folder.
        work: `.lopd`, where everything stands that reading does not need.
        builds: `.lopd/builds`, one folder a build; a file `holds` in it, one digest a line, keeps
            these blobs (and what they name, if they are manifests) from gc.
        fingerprints: `.lopd/fingerprints`, remembered digests of model files (`identity.cache`).
        verified: `.lopd/verified`, which files passed `check_once`.
        decoded: `.lopd/decoded`, rows as flat arrays that loaders map (`loading.decoded`).
        blobs: bytes by digest.
        refs: names of artifacts.
        log: how refs moved.
    """

    def __init__(self, root: Path, *, sync: durable.Sync = os.fsync) -> None:
        """Use `Store.open`, which looks at what is there."""
        self.root = root
        self.work = root / ".lopd"
        self.builds = self.work / "builds"
        self.fingerprints = self.work / "fingerprints"
        self.lock = self.work / "locks" / "index"
        self.tmp = self.work / "tmp"
        self.verified = self.work / "verified"
        self.decoded = self.work / "decoded"
        self.blobs = Blobs(
            root / "blobs" / "sha256",
            tmp=self.tmp,
            lock=self.lock,
            verified=self.verified,
            sync=sync,
        )
        self.log = Log(self.work / "log", sync=sync)
        self.refs = Refs(
            root / "index.json",
            blobs=self.blobs,
            log=self.log,
            lock=self.lock,
            tmp=self.tmp,
            sync=sync,
        )
        self._sync = sync

    @classmethod
    def open(
        cls, root: Path | str, *, create: bool = False, sync: durable.Sync = os.fsync
    ) -> "Store":
        """Open the store at `root`.

        Args:
            root: its folder.
            create: make a store there if there is none; `root` must then be empty or missing.
            sync: see `durable.Sync`.

        Raises:
            NotFoundError: no store there, and `create` is false.
            FormatError: a layout version that this lopd does not know.
            IntegrityError: a link or a pipe stands where a part of the store belongs.
            UsageError: `create`, but the folder has other things in it.
            StoreError: it cannot be made: disk full, read-only or not ours.
        """
        store = cls(Path(root), sync=sync)
        store._refuse_links()
        if not store._has_layout():
            if not create:
                raise NotFoundError(
                    f"no store at {root}: expected a file {_LAYOUT_FILE} in it; `generate`,"
                    " `build`, `import` and `pull` make one; --store or LOPD_STORE name another"
                )
            store._create()
        return store

    @classmethod
    def find(cls, root: Path) -> "Store | None":
        """The store at `root`; None where there is none. Else raises as `open` does."""
        try:
            return cls.open(root)
        except NotFoundError:
            return None

    def evidence(self, subject: Digest, artifact_type: str | None = None) -> list[Descriptor]:
        """The evidence attached to an artifact; see `Refs.evidence`."""
        return self.refs.evidence(subject, artifact_type)

    def gc(
        self,
        *,
        grace_seconds: float = DAY,
        decoded_seconds: float = DECODED_SECONDS,
        dry_run: bool = False,
    ) -> GcReport:
        """Remove what nothing refers to, what crashes left, and decoded rows out of use.

        Args:
            grace_seconds: what changed since then stays: somebody may be about to name it.
            decoded_seconds: decoded rows that were opened since then stay.
            dry_run: only say what would go; works on a read-only store too.

        Raises:
            IntegrityError: a manifest or a build's `holds` cannot be read; nothing was removed.
            StoreError: something could not be removed.
        """
        collector = Collector(
            refs=self.refs,
            blobs=self.blobs,
            builds=self.builds,
            tmp=self.tmp,
            decoded=self.decoded,
            grace_seconds=grace_seconds,
            decoded_seconds=decoded_seconds,
        )
        with nullcontext() if dry_run else exclusive(self.lock):
            return collector.run(dry_run=dry_run)

    def fsck(self) -> list[Problem]:
        """Everything wrong in the store: every blob hashed again, every name followed.

        Changes nothing and raises nothing; the kinds are listed in `lopd_store.store.fsck`.
        """
        return fsck.problems(refs=self.refs, blobs=self.blobs, log=self.log)

    def _refuse_links(self) -> None:
        blobs, work = self.root / "blobs", self.work
        ours = [work / name for name in _FOLDERS]
        for folder in (blobs, blobs / "sha256", work, *ours):
            regular.require_folder(folder)

    def _has_layout(self) -> bool:
        try:
            data = regular.read(self.root / _LAYOUT_FILE, limit=_LONGEST_LAYOUT)
        except (FileNotFoundError, NotADirectoryError):
            return False
        layout = canonical.decode_lenient(data, what=_LAYOUT_FILE)
        version = layout.get("imageLayoutVersion") if isinstance(layout, dict) else None
        if version != OCI_LAYOUT_VERSION:
            raise FormatError(
                f"{_LAYOUT_FILE}: expected imageLayoutVersion {OCI_LAYOUT_VERSION}, "
                f"found {version!r}: a newer spec needs a newer lopd"
            )
        return True

    def _create(self) -> None:
        """Make the layout, its marker last: a crash leaves what the next try goes on from."""
        durable.make_folder(self.root, sync=self._sync)
        with durable.explained("cannot read the folder", self.root):
            strange = sorted({path.name for path in self.root.iterdir()} - _OURS)
        if strange:
            raise UsageError(
                f"{self.root} is not a store and not empty (it has {strange[0]!r}): "
                f"name another folder"
            )
        for folder in (self.blobs.folder, self.tmp, self.builds):
            durable.make_folder(folder, sync=self._sync)
        with exclusive(self.lock):  # another process may be making it, and further than we are
            if not (self.root / "index.json").exists():
                self.refs.write_index(index.empty())
            layout = canonical.encode({"imageLayoutVersion": OCI_LAYOUT_VERSION})
            durable.write(self.root / _LAYOUT_FILE, layout, tmp=self.tmp, sync=self._sync)
