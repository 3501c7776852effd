"""Where a seed keeps what, and under which refs of its store."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """The folder of one seed of one size.

    Students are named for the teacher of their SFT data: `A`, `B`, and `A+` for one that was
    trained on A's data to a higher accuracy.
    """

    folder: Path

    @property
    def store(self) -> Path:
        """The store of everything that is data."""
        return self.folder / "store"

    @property
    def base(self) -> Path:
        """The student before SFT."""
        return self.folder / "base"

    def teacher(self, name: str) -> Path:
        """The checkpoint of a teacher."""
        return self.folder / "teachers" / name

    def student(self, name: str) -> Path:
        """The checkpoint of a student after SFT."""
        return self.folder / "students" / name

    def report(self, name: str) -> Path:
        """What a stage found, as JSON."""
        return self.folder / "reports" / f"{name}.json"


def sft_ref(teacher: str) -> str:
    """The SFT data that a teacher wrote."""
    return f"paper/sft-{teacher}"


def rollouts_ref(what: str, student: str) -> str:
    """What a student sampled: `train` to learn from, `probe` to look at."""
    return f"paper/rollouts-{what}-{_plain(student)}"


def signal_ref(what: str, student: str, teacher: str) -> str:
    """The same, scored by a teacher."""
    return f"paper/signal-{what}-{_plain(student)}-{teacher}"


def _plain(student: str) -> str:
    return student.replace("+", "-strong")
