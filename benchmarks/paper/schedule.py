"""Stages that wait for each other, two at a time, each skipped when its result is there.

A stage is `examples.arithmetic.stages.Stage`: a command, digests of what it depends on, and the
digest of what it leaves behind.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from examples.arithmetic.stages import Runner, Stage
from lopd_store.digest import Digest, tagged

SOURCES = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A stage that is made when what it needs has run.

    Attributes:
        name: unique.
        needs: names of nodes whose results the stage depends on.
        make: digests of the results of all nodes so far → the stage.
    """

    name: str
    needs: Sequence[str]
    make: Callable[[Mapping[str, str]], Stage]


def run_all(nodes: Sequence[Node], runner: Runner, *, workers: int) -> dict[str, str]:
    """Run every node after those it needs; the digests of the results by name.

    When one fails, those that run are waited for, and no other is begun.
    """
    done: dict[str, str] = {}
    left = {node.name: node for node in nodes}
    running: dict[Future[str], str] = {}
    with ThreadPoolExecutor(workers) as pool:
        while left or running:
            for node in [n for n in left.values() if done.keys() >= set(n.needs)]:
                inputs = {name: done[name] for name in node.needs}
                running[pool.submit(runner.run, left.pop(node.name).make(inputs))] = node.name
            if not running:
                raise ValueError(f"expected nodes that can run, found a circle: {sorted(left)}")
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                try:
                    done[running.pop(future)] = future.result()
                except SystemExit:
                    pool.shutdown(cancel_futures=True)
                    raise
    return done


def meaning_digest(*modules: str) -> str:
    """A digest over what the named modules of this package do: neither comments nor docstrings."""
    parts = [_meaning((SOURCES / f"{module}.py").read_text()).encode() for module in modules]
    return str(tagged("lopd.benchmark.paper.meaning.v1", *parts))


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def tree_digest(folder: Path) -> str | None:
    """A digest over the names and bytes of all files under `folder`; None when it is not there."""
    if not folder.is_dir():
        return None
    parts: list[bytes] = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts += [str(file.relative_to(folder)).encode(), str(Digest.of_file(file)).encode()]
    return str(tagged("lopd.benchmark.paper.tree.v1", *parts))
