"""The figures of a run, step by step: JSON lines, TensorBoard, and W&B where asked."""

import json
import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol, Self

from lopd_store.errors import FormatError, UsageError
from lopd_store.store import durable, regular
from lopd_store.store.durable import explained
from lopd_store.store.regular import open_descriptor
from lopd_train.progress import INCONSISTENT

JSONL: Final = "metrics.jsonl"
TENSORBOARD: Final = "tensorboard"
_WANDB_ID: Final = "wandb-run"
_MAX_ID_BYTES: Final = 64
_ID: Final = re.compile(r"[0-9a-z]{1,64}")

Value = float | int | str | bool | None


class Sink(Protocol):
    """A place for figures."""

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Take the figures of a step; steps ascend. Raises StoreError when they cannot be kept."""

    def close(self) -> None:
        """Bring everything out. Nothing is written afterwards."""


class Metrics:
    """Gives the figures of each step to every sink."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        done: int = 0,
        tensorboard: bool = True,
        wandb: str | None = None,
        inconsistent: bool = False,
    ) -> Self:
        """`metrics.jsonl`, and `tensorboard/` beside it, in a folder that is made if missing.

        Args:
            folder: of this run.
            done: steps done when the run starts or resumes; later ones found here are forgotten.
            tensorboard: write for it.
            wandb: the W&B project to report to.
            inconsistent: the teacher is not the student's; every line of metrics.jsonl says so.

        Raises:
            UsageError: W&B is asked for and not installed.
            FormatError: metrics.jsonl is something else.
            IntegrityError: it is a link, a folder or a device.
            StoreError: the folder cannot be written.
        """
        with explained("cannot write", folder):
            folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:  # closes the others where one cannot be opened
            sinks: list[Sink] = [JsonLines(folder / JSONL, done=done, inconsistent=inconsistent)]
            opened.callback(sinks[0].close)
            if wandb is not None:
                sinks.append(WeightsAndBiases(folder, project=wandb))
                opened.callback(sinks[-1].close)
            if tensorboard:
                sinks.append(TensorBoard(folder / TENSORBOARD, done=done))
            opened.pop_all()
        return cls(sinks)

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """See Sink."""
        for sink in self._sinks:
            sink.write(step, values)

    def close(self) -> None:
        """See Sink."""
        with ExitStack() as stack:  # every one, even when one fails
            for sink in self._sinks:
                stack.callback(sink.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class JsonLines:
    """One object a line: `step` and the figures; null stands for what is not finite."""

    def __init__(self, path: Path, *, done: int, inconsistent: bool = False) -> None:
        """Open for appending after step `done`; a last line that a kill cut short goes, too."""
        self._path = path
        self._head = {"warning": INCONSISTENT.lower()} if inconsistent else {}
        with explained("cannot write", path), ExitStack() as opened:
            descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            self._file = opened.enter_context(os.fdopen(descriptor, "ab"))
            self._file.truncate(_kept_bytes(path, done))
            opened.pop_all()

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """See Sink."""
        line = {**self._head, "step": step, **{name: _finite(one) for name, one in values.items()}}
        with explained("cannot write", self._path):
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """See Sink."""
        with explained("cannot write", self._path):
            self._file.close()


def _finite(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _kept_bytes(path: Path, done: int) -> int:
    """The size of the lines up to step `done`."""
    size = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                step = json.loads(line)["step"]
                if step > done:
                    break
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise FormatError(
                    f"{path} line {number}: expected a JSON object with a step, found {line[:80]!r}"
                ) from error
            size += len(line)
    return size


class TensorBoard:
    """Scalars by name for TensorBoard; what is text is left out."""

    def __init__(self, folder: Path, *, done: int) -> None:
        """Open after step `done`: TensorBoard shows no later ones that a killed run wrote."""
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        with explained("cannot write", folder):
            self._writer: Any = SummaryWriter(str(folder), purge_step=done + 1)

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """See Sink."""
        with explained("cannot write", self._folder):
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See Sink."""
        with explained("cannot write", self._folder):
            self._writer.close()


class WeightsAndBiases:
    """A W&B run, the same one when training resumes.

    W&B keeps the first figures it was given for a step: where a killed run had gone on after its
    last checkpoint, those stay.
    """

    def __init__(self, folder: Path, *, project: str) -> None:
        """Open the run that `folder` names, or a new one.

        Raises:
            UsageError: the package is not installed.
        """
        try:
            from wandb import init
        except ImportError as error:
            raise UsageError(
                "expected the package wandb, found none: pip install wandb, or do not ask for it"
            ) from error
        path = folder / _WANDB_ID
        with explained("cannot write", path):
            if not os.path.lexists(path):
                durable.write(path, secrets.token_hex(8).encode(), tmp=folder)
            identifier = regular.read(path, limit=_MAX_ID_BYTES).decode("ascii", "replace")
        if not _ID.fullmatch(identifier):  # it is sent: a stranger may have put another file here
            raise FormatError(f"{path}: expected the id of a W&B run, found something else")
        self._run: Any = init(project=project, id=identifier, resume="allow", dir=str(folder))

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """See Sink."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """See Sink."""
        self._run.finish()
