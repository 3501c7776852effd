"""The folder of one training run: its record, its checkpoints, and the model at its end.

OUTPUT/                  the trained model; `lopd.json` is written last
OUTPUT/run/run.json      what this run is: start, data, loss, options
OUTPUT/run/lock          held while a process trains here
OUTPUT/run/checkpoints/  what a killed run goes on from; removed at the end
OUTPUT/run/metrics.jsonl one object a step; `tensorboard/` beside it
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import UsageError
from lopd_store.identity import strangers
from lopd_store.stamping import read_stamp
from lopd_store.store import durable, regular
from lopd_store.store.locks import exclusive
from lopd_train.models import save_model
from lopd_train.options import TrainOptions

RUN: Final = "run"
RECORD: Final = "run.json"
CHECKPOINTS: Final = "checkpoints"
LOCK: Final = "lock"
_MODEL: Final = "model"
_TMP: Final = "tmp"  # a kill while run.json is written leaves it
_MAX_RECORD_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a finished run left.

    Attributes:
        folder: of the trained model.
        stamp: its `lopd.json`.
    """

    folder: Path
    stamp: Stamp

    @property
    def weights_digest(self) -> Digest:
        """Of the trained model."""
        return self.stamp.weights_digest

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "folder": str(self.folder),
            "weights_digest": str(self.stamp.weights_digest),
            "config_digest": str(self.stamp.config_digest),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a run keeps what it makes.

    Attributes:
        folder: of the trained model.
        start: the checkpoint that training starts from.
        record: what the run is, as JSON; the same record means the same run.
        stamp: writes `lopd.json` into a folder with the trained model.
        inconsistent: the chain is broken and that was allowed: every line says so.
    """

    folder: Path
    start: Path
    record: Mapping[str, Any]
    stamp: Callable[[Path], object]
    inconsistent: bool = False

    @property
    def run(self) -> Path:
        """The folder of everything but the model."""
        return self.folder / RUN

    @property
    def finished(self) -> bool:
        """Whether the model is there, stamped."""
        return (self.folder / media.STAMP_FILE).is_file()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the folder this run's, or find that it is, and keep every other process out.

        Raises:
            UsageError: the folder holds something else, or the checkpoint training starts from.
            StoreError: another process trains here, or the folder cannot be made.
            IntegrityError: a link or a device where a part of the run belongs.
            FormatError: a record that is none.
        """
        self._look()
        with exclusive(self.run / LOCK, wait=False):
            if not self._look():
                text = json.dumps(self.record, indent=1, sort_keys=True) + "\n"
                durable.write(self.run / RECORD, text.encode(), tmp=self.run / _TMP)
                shutil.rmtree(self.run / _TMP)
            yield

    def _look(self) -> bool:
        """Whether the folder is this run's already. Nothing outside of it is followed to."""
        path = self.run / RECORD
        with durable.explained("cannot look at", self.folder):
            if self.folder.resolve() == self.start.resolve():
                raise UsageError(
                    f"expected an output other than the model itself, found {self.folder}"
                )
            for part in (self.run, self.run / CHECKPOINTS, self.run / _MODEL, self.run / _TMP):
                regular.require_folder(part)
            if path.is_file():
                data = regular.read(path, limit=_MAX_RECORD_BYTES)
                self._compare(strangers.parse_object(data, what=str(path)))
                return True
            ours = {self.run, self.run / LOCK, self.run / _TMP}
            if {*self.folder.glob("*"), *self.run.glob("*")} - ours:
                raise UsageError(
                    f"{self.folder}: expected a new folder, or one of a run to go on with;"
                    f" found files and no {RUN}/{RECORD}"
                )
        return False

    def publish(self, weights: Mapping[str, Any], options: TrainOptions) -> None:
        """Save the model, file by file, each moved into place whole; its stamp last.

        Raises:
            StoreError: it cannot be written; the same call again will do.
        """
        fresh = self.run / _MODEL
        with durable.explained("cannot save the model in", self.folder):
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            save_model(self.start, options, weights, fresh)
            self.stamp(fresh)
            for file in sorted(fresh.iterdir()):
                if file.name != media.STAMP_FILE:
                    self._move(file)
            durable.sync_folder(self.folder)
            self._move(fresh / media.STAMP_FILE)
            durable.sync_folder(self.folder)
        self.tidy()

    def _move(self, file: Path) -> None:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        file.replace(self.folder / file.name)

    def tidy(self) -> None:
        """Remove what only an unfinished run needs."""
        for part in (CHECKPOINTS, _MODEL):
            shutil.rmtree(self.run / part, ignore_errors=True)

    def trained(self) -> Trained:
        """The model that is there. Raises FormatError when its stamp is not one."""
        stamp = read_stamp(self.folder)
        assert stamp is not None  # noqa: S101 - it is written last, and this is called after
        return Trained(folder=self.folder, stamp=stamp)

    def _compare(self, there: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(self.record))
        if there == wanted:
            return
        names = [key for key in sorted({*there, *wanted}) if there.get(key) != wanted.get(key)]
        sides = "; ".join(
            f"{name}: expected {json.dumps(there.get(name))}, found {json.dumps(wanted.get(name))}"
            for name in names
        )
        raise UsageError(f"{self.folder} holds another run, to go on with or to remove: {sides}")
