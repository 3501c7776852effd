"""What every stage's program has in common: how it is called, and where its report goes.

python -m benchmarks.paper.PROGRAM SIZE SEED FOLDER [WORD ...]
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import logging

from benchmarks.paper.learning import settle
from benchmarks.paper.places import Places
from benchmarks.paper.sizes import SIZES, Size


@dataclass(frozen=True, slots=True)
class Call:
    """What a program was asked for."""

    size: Size
    seed: int
    places: Places
    words: tuple[str, ...]

    @classmethod
    def read(cls) -> "Call":
        """From the command line; the process is made repeatable."""
        logging.disable_progress_bar()
        settle()
        size, seed, folder, *words = sys.argv[1:]
        return cls(SIZES[size], int(seed), Places(Path(folder)), tuple(words))

    def report(self, name: str, found: Any) -> None:
        """Keep what was found; the last thing a program does."""
        file = self.places.report(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
