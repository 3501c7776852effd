"""What benchmarks do with figures: show a table, keep the JSON, compare pairs of runs."""

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks import machine

Json: TypeAlias = dict[str, Any]

_STATUS: Final = Path("/proc/self/status")


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the question of a benchmark's docstring and the arguments that all have."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there")
    return parser


def show(
    name: str,
    table: str,
    figures: Json,
    arguments: argparse.Namespace,
    *,
    libraries: Sequence[str] = (),
) -> None:
    """Print a benchmark's table, and write what was asked for.

    Args:
        name: the benchmark's name, which is its file's.
        table: Markdown.
        figures: what the table was made of.
        arguments: as `parser` understood them.
        libraries: importable names, on whose versions the figures depend.
    """
    load = f"load average {os.getloadavg()[0]:.1f}"  # of which the benchmark is 1 or 2
    text = f"# {name}\n\n{machine.sentence(libraries)}; {load}.\n\n{table}\n"
    print(text)
    if arguments.table:
        arguments.table.write_text(text, encoding="utf-8")
    if arguments.json:
        kept = {"benchmark": name, "machine": machine.describe(libraries), "figures": figures}
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def paired(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over runs of one way's figure by the other's in the same run."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def cpu_seconds() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    return sum(os.times()[:4])


def peak_mib() -> int:
    """The most memory this process has had, in MiB; 0 where the system does not say."""
    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) >> 10 if found else 0
