"""What rollouts, scoring and training cost, measured by themselves: nothing is looked at meanwhile.

python -m benchmarks.paper.cost full 0 FOLDER

CPU seconds of one thread, engines warm: loading vLLM says nothing about a method.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.paper import data, offline, online
from benchmarks.paper.places import Places
from benchmarks.paper.runs import Question
from benchmarks.paper.sizes import Size
from benchmarks.paper.stage import Call
from lopd_store import Store

RATE: Final = 1e-5
"""Any rate costs the same."""
METHODS: Final = ("paper", "weighted", "centred")


def measure(size: Size, seed: int, places: Places) -> dict[str, dict[str, float]]:
    """CPU seconds of each part: of the store, of online OPD, and of each offline method."""
    blind = replace(size, looks=(), final=1)
    with tempfile.TemporaryDirectory() as scratch:
        built = _build(size, seed, places, Path(scratch))
    found = {
        "store": {"rollouts": built["train rollouts"], "scoring": built["train scoring A"]},
        "online": _spent(online.answer(blind, seed, places, _question("online"))),
    }
    for method in METHODS:
        found[method] = _spent(offline.answer(blind, seed, places, _question(method)))
    return found


def _build(size: Size, seed: int, places: Places, scratch: Path) -> dict[str, float]:
    """Rollouts and signals once more, into a store of their own."""
    for name in ("teachers", "students"):
        (scratch / name).symlink_to((places.folder / name).resolve())
    Store.open(scratch / "store", create=True)
    spent: dict[str, float] = data.make_signals(size, seed, Places(scratch), "A")["cpu_seconds"]
    return spent


def _question(method: str) -> Question:
    return Question(method=method, student="A", teacher="A", rate=RATE)


def _spent(answer: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = answer["cpu_seconds"]
    return found


if __name__ == "__main__":
    call = Call.read()
    call.report("cost", measure(call.size, call.seed, call.places))
