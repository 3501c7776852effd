"""Depth 2 at a distance: a teacher on the Hub by the digests of its files; no weights come here."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from lopd_store import hub
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.documents.model import ModelIdentity
from lopd_store.documents.tokenizer import TokenizerIdentity
from lopd_store.errors import ConsistencyError, FormatError, NotFoundError, Problem
from lopd_store.hub.fetching import fetch_range
from lopd_store.hub.snapshot import Snapshot
from lopd_store.identity import strangers
from lopd_store.identity.adapter import is_adapter
from lopd_store.identity.checkpoint import PLAIN_NAME, WeightFiles, find_weights
from lopd_store.identity.config import config_digest
from lopd_store.identity.model import Fingerprint, fingerprint, refuse_other_weights
from lopd_store.identity.safetensors import MAX_HEADER_BYTES
from lopd_store.identity.source import is_folder, locate_without_weights
from lopd_store.identity.tensors import has_output_embedding
from lopd_store.identity.tokenizer import read_tokenizer
from lopd_store.verify.identity import check_teacher, check_tokenizer, named_teacher
from lopd_store.verify.report import Report

_WEIGHTS: Final = (".safetensors", ".bin")
_MAX_SMALL_WEIGHTS: Final = 64 << 20  # of a file that the Hub keeps in git; its limit is 10 MB
_LENGTH_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTeacher:
    """A model on the Hub at one commit.

    Attributes:
        snapshot: what the Hub lists.
        folder: its small files: config, tokenizer, index.
        files: the weights that a loader would read.
        cache: folder of remembered digests, should the weights be read after all.
    """

    snapshot: Snapshot
    folder: Path
    files: WeightFiles
    cache: Path | None

    def __str__(self) -> str:
        return f"{self.snapshot.repo}@{self.snapshot.commit[:12]}"

    def read(self) -> Fingerprint:
        """Download and read it. Raises as `fingerprint` does."""
        return fingerprint(f"{self.snapshot.repo}@{self.snapshot.commit}", cache=self.cache)

    def weights(self) -> dict[str, Digest]:
        """File name → SHA-256, by the Hub's word."""
        return {path.name: self._listed(path.name) for path in self.files.paths}

    def tokenizer(self) -> TokenizerIdentity | None:
        """Of its files. Raises FormatError where it does not load."""
        try:
            return read_tokenizer(self.folder).identity
        except NotFoundError:
            return None

    def config_is(self, named: ModelIdentity) -> bool:
        """Whether its config gives the named outputs, on the named weights; False if unknown.

        Raises FormatError where it is not a config.
        """
        path = self.folder / "config.json"
        data = strangers.read_bytes(path, limit=strangers.MAX_CONFIG_BYTES)
        if Digest.of(data) == named.files.get("config.json"):
            return True
        config = strangers.parse_object(data, what=str(path))
        names = self._tensor_names()
        if names is None:
            return False
        own = has_output_embedding(names)
        return config_digest(config, own_output_embedding=own) == named.config_digest

    def _listed(self, name: str) -> Digest:
        known = self.snapshot.file(name).sha256
        return known or Digest.of(self.snapshot.read(name, limit=_MAX_SMALL_WEIGHTS))

    def _tensor_names(self) -> Iterable[str] | None:
        """From the index, else from the header of the one file, which is all that comes of it."""
        if self.files.index is not None:
            return self.files.index
        name = self.files.paths[0].name
        if not name.endswith(".safetensors"):
            return None
        first = fetch_range(self.snapshot, name, start=0, length=_LENGTH_BYTES)
        length = int.from_bytes(first, "little")
        if length > MAX_HEADER_BYTES:
            raise FormatError(f"{self} {name}: expected a header of safetensors, found none")
        header = fetch_range(self.snapshot, name, start=_LENGTH_BYTES, length=length)
        return strangers.parse_object(header, what=f"{self} {name}")


def teacher_at(name: str, *, cache: Path | None) -> Fingerprint | RemoteTeacher:
    """A teacher to compare with: on the Hub at a distance, where that can be; else read.

    Args:
        name: a folder, or `org/name[@revision]`.
        cache: see `fingerprint`.

    Raises:
        as `fingerprint` does.
    """
    if is_folder(Path(name)) or not hub.is_name(name) or hub.is_offline():
        return fingerprint(name, cache=cache)
    repo, revision = hub.split_name(name)
    try:
        snapshot = Snapshot.open(repo, revision=revision, what="model")
        folder = locate_without_weights(f"{repo}@{snapshot.commit}")
        files = _weight_files(snapshot, folder)
    except (NotFoundError, FormatError):
        return fingerprint(name, cache=cache)  # the cache may have it; else this says what is wrong
    if files is None:
        return fingerprint(name, cache=cache)
    return RemoteTeacher(snapshot=snapshot, folder=folder, files=files, cache=cache)


def check_remote_teacher(
    identities: Iterable[Identity], teacher: RemoteTeacher, report: Report
) -> None:
    """Compare a model on the Hub with the teacher that each identity names.

    An identity that names no files of its teacher, or an adapter, is compared by the tensors, which
    are downloaded for it.

    Raises UsageError when the artifact has no teacher, as rollouts do not.
    """
    for identity in identities:
        named = identity.teacher or identity.claimed("teacher")
        if named is not None and (named.adapter or not _weights_of(named)):
            report.notes.append(
                f"the identity names no files of its teacher, or an adapter: {teacher} was"
                " downloaded and read"
            )
            check_teacher([identity], teacher.read(), report, rescored=False)
            continue
        named = named_teacher(identity, report, rescored=False)
        if named is not None:
            _compare(named, teacher, report)
        check_tokenizer(identity, teacher.tokenizer(), report)


def _compare(named: ModelIdentity, teacher: RemoteTeacher, report: Report) -> None:
    expected, found = _weights_of(named), teacher.weights()
    problems = [
        Problem(
            "teacher-files",
            f"{teacher} {name}",
            str(expected.get(name, "no such file")),
            str(found.get(name, "no such file")),
        )
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    report.add(ConsistencyError, problems)
    if problems:
        report.notes.append(
            f"other files than the identity names may hold the same tensors: --deep downloads the"
            f" weights of {teacher} and compares tensors, and so does a local folder as --teacher"
        )
        return
    if not teacher.config_is(named):
        where = f"{teacher} config.json"
        problem = Problem(
            "other-config", where, f"config {named.config_digest.short}", "another config"
        )
        report.add(ConsistencyError, [problem])
    report.notes.append(
        f"the {len(found)} weight file(s) of {teacher} are those that the identity names, by the"
        " digests that the Hub lists; tensors were not read (--deep reads them)"
    )


def _weights_of(named: ModelIdentity) -> dict[str, Digest]:
    return {name: digest for name, digest in named.files.items() if name.endswith(_WEIGHTS)}


def _weight_files(snapshot: Snapshot, folder: Path) -> WeightFiles | None:
    """The files that a loader would read, chosen as from a folder; None for an adapter.

    Raises NotFoundError and FormatError as `find_weights` and `fingerprint` do.
    """
    if is_adapter(folder):
        return None
    with TemporaryDirectory() as name:
        place = Path(name)
        for path in snapshot.files:
            if PLAIN_NAME.fullmatch(path):
                small = folder / path
                if small.is_file():
                    (place / path).symlink_to(small.resolve())
                elif path.endswith(_WEIGHTS):
                    (place / path).touch()
        chosen = find_weights(place)
        refuse_other_weights(place, strangers.read_object(place / "config.json"), chosen)
    return chosen
