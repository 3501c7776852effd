"""Any sequence of calls does to a store on a disk what it does to a dictionary."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import NotFoundError, RefMovedError
from lopd_store.store import Store
from lopd_store.store.durable import no_sync

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NAMES = st.sampled_from(["a", "a:v1", "b/c", "B"])
TEXTS = st.binary(max_size=4)
HOUR = 3600
GRACE = 100 * HOUR


class StoreAgainstModel(RuleBasedStateMachine):
    """The model: bytes by digest with their age, refs by name with their history, evidence."""

    independent: Callable[[str], dict[str, Any]]
    artifacts = Bundle("artifacts")
    evidence = Bundle("evidence")

    @initialize()
    def open(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.store = Store.open(self.root, create=True, sync=no_sync)
        self.data: dict[Digest, bytes] = {}
        self.old: set[Digest] = set()
        self.parts: dict[Digest, list[Digest]] = {}
        self.about: dict[Digest, Digest] = {}
        self.attached: list[Digest] = []
        self.refs: dict[str, Digest] = {}
        self.log: dict[str, list[Digest | None]] = {}

    def put_data(self, data: bytes) -> Descriptor:
        digest = self.store.blobs.put(data)
        self.data[digest] = data
        self.old.discard(digest)
        return Descriptor(media_type="a/b", digest=digest, size=len(data))

    def put_manifest(self, data: bytes, subject: Descriptor | None) -> Descriptor:
        parts = [self.put_data(b"{}"), self.put_data(data)]
        document = {
            "schemaVersion": 2,
            "artifactType": "x/y",
            "config": parts[0].to_json(),
            "layers": [parts[1].to_json()],
        }
        if subject:
            document["subject"] = subject.to_json()
        manifest = self.put_data(json.dumps(document).encode())
        self.parts[manifest.digest] = [part.digest for part in parts]
        if subject:
            self.about[manifest.digest] = subject.digest
        return Descriptor(media_type=MANIFEST, digest=manifest.digest, size=manifest.size)

    @rule(data=TEXTS)
    def put(self, data: bytes) -> None:
        self.put_data(data)

    @rule(data=TEXTS)
    def put_file(self, data: bytes) -> None:
        path = self.root / ".lopd" / "tmp" / "source"
        path.write_bytes(data)
        digest = self.store.blobs.put_file(path)
        self.data[digest] = data
        self.old.discard(digest)
        assert not path.exists()

    @rule(target=artifacts, data=TEXTS)
    def publish(self, data: bytes) -> Descriptor:
        return self.put_manifest(data, None)

    @rule(name=NAMES, artifact=artifacts, right=st.booleans())
    def move(self, name: str, artifact: Descriptor, right: bool) -> None:  # noqa: FBT001 - drawn
        now = self.refs.get(name)
        expected = now if right else Digest.of(b"another")
        whole = self.is_whole(artifact.digest)
        try:
            self.store.refs.move(name, artifact, expected=expected)
        except RefMovedError:
            assert not right
        except NotFoundError:
            assert not whole
        else:
            assert right
            assert whole
            if now != artifact.digest:
                self.log.setdefault(name, []).append(artifact.digest)
            self.refs[name] = artifact.digest

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        try:
            self.store.refs.remove(name)
        except NotFoundError:
            assert name not in self.refs
        else:
            del self.refs[name]
            self.log[name].append(None)

    @rule(target=evidence, subject=artifacts, data=TEXTS)
    def attach(self, subject: Descriptor, data: bytes) -> Descriptor:
        evidence = self.put_manifest(data, subject)
        try:
            self.store.refs.attach(evidence)
        except NotFoundError:
            assert subject.digest not in self.data
            return multiple()  # type: ignore[return-value] # Hypothesis' word for "nothing"
        assert subject.digest in self.data
        if evidence.digest not in self.attached:
            self.attached.append(evidence.digest)
        return evidence

    @rule(evidence=consumes(evidence))
    def detach(self, evidence: Descriptor) -> None:
        try:
            self.store.refs.detach(evidence.digest)
        except NotFoundError:
            assert evidence.digest not in self.attached
        else:
            self.attached.remove(evidence.digest)

    @rule()
    def time_passes(self) -> None:
        for path in self.store.blobs.folder.iterdir():
            then = path.stat().st_mtime - 2 * GRACE
            os.utime(path, (then, then))
        self.old = set(self.data)

    @rule(dry_run=st.booleans())
    def gc(self, dry_run: bool) -> None:  # noqa: FBT001 - drawn
        report = self.store.gc(grace_seconds=GRACE, dry_run=dry_run)
        live = self.live()
        gone = set(self.data) - live
        assert set(report.removed) == gone
        assert set(report.evidence) == set(self.attached) - live
        if not dry_run:
            for digest in gone:
                del self.data[digest]
            self.attached = [digest for digest in self.attached if digest in live]

    def live(self) -> set[Digest]:
        live: set[Digest] = set()
        todo = [*self.refs.values(), *(digest for digest in self.data if digest not in self.old)]
        while todo:
            digest = todo.pop()
            if digest not in live:
                live.add(digest)
                todo += self.parts.get(digest, [])
                todo += [one for one in self.attached if self.about[one] == digest]
        return live

    def is_whole(self, digest: Digest) -> bool:
        return digest in self.data and all(part in self.data for part in self.parts[digest])

    @invariant()
    def both_say_the_same(self) -> None:
        assert set(self.store.blobs.all()) == set(self.data)
        assert all(self.store.blobs.get(d, size=len(b)) == b for d, b in self.data.items())
        assert {name: at.digest for name, at in self.store.refs.list().items()} == self.refs
        for name, moves in self.log.items():
            assert [entry.after for entry in self.store.log.read(name)] == moves
        subjects = set(self.about.values())
        listed = [one.digest for subject in subjects for one in self.store.evidence(subject)]
        assert sorted(listed) == sorted(self.attached)
        assert list(self.store.tmp.iterdir()) == []

    def teardown(self) -> None:
        assert self.store.fsck() == []
        assert self.independent(str(self.root))["problems"] == []
        shutil.rmtree(self.root)


def test_a_store_does_what_a_dictionary_does(
    independent: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreAgainstModel, "independent", staticmethod(independent), raising=False)
    run_state_machine_as_test(
        StoreAgainstModel,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None),
    )
