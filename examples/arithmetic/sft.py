"""Fine-tune the student's base on what the teacher wrote.

python -m examples.arithmetic.sft .demo/student-base .demo/store demo/sft .demo/student
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from examples.arithmetic.shards import shard_files
from examples.arithmetic.training import Recipe, Row, fit
from lopd_store.artifacts import load
from lopd_store.identity.model import fingerprint
from lopd_store.stamping import write_stamp
from lopd_store.store import Store

RECIPE: Final = Recipe(steps=300, batch=32, learning_rate=2e-3, seed=2)


def teacher_rows(files: Sequence[Path]) -> list[Row]:
    """The exact token ids of every row in the Parquet shards `files`."""
    rows: list[Row] = []
    for file in files:
        table = pq.read_table(file, columns=["prompt_ids", "response_ids"])
        columns = (table[name].to_pylist() for name in table.column_names)
        rows += [Row(prompt, response) for prompt, response in zip(*columns, strict=True)]
    return rows


def fine_tune(base: Path, files: Sequence[Path], folder: Path) -> None:
    """Train `base` on the rows of `files` and save it with its tokenizer in `folder`."""
    model = AutoModelForCausalLM.from_pretrained(base)
    fit(model, teacher_rows(files), RECIPE, name="sft")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)


def stamp(base: Path, store: Store, ref: str, folder: Path) -> None:
    """Write into `folder` which artifact taught it, so that its rollouts can say so too."""
    artifact = load(store, ref)
    write_stamp(
        folder,
        how="made",
        base=fingerprint(str(base), cache=store.fingerprints).model,
        manifest=artifact.manifest,
        artifact=artifact.document,
        identities=artifact.identities,
        cache=store.fingerprints,
    )


if __name__ == "__main__":
    logging.disable_progress_bar()
    base, root, ref, folder = sys.argv[1:]
    fine_tune(Path(base), shard_files(Path(root), ref), Path(folder))
    stamp(Path(base), Store.open(Path(root)), ref, Path(folder))
