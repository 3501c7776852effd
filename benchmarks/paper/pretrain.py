"""Teachers and the student's base, from scratch; every seed has its own.

python -m benchmarks.paper.pretrain teachers full 0 FOLDER
python -m benchmarks.paper.pretrain base full 0 FOLDER
"""

import sys
from pathlib import Path
from typing import Final

from transformers.utils import logging

from benchmarks.paper import evaluate
from benchmarks.paper.learning import fit, save, settle, worked
from benchmarks.paper.problems import problems
from benchmarks.paper.sizes import SIZES, Size
from benchmarks.paper.tokenizer import new_tokenizer
from examples.arithmetic.pretrain import new_model

STYLES: Final = {"M": 0.5, "A": 0.9, "B": 0.1}
"""How often each teacher writes a column in style 1."""

PROBLEMS: Final = 20_000


def teachers(size: Size, seed: int, folder: Path) -> None:
    """M from scratch, then A and B from M."""
    tokenizer = new_tokenizer()
    model = new_model(size.teacher, tokenizer, seed=2 * seed)
    settle()
    chosen = problems("train", seed=2 * seed, count=PROBLEMS)
    rows = worked(tokenizer, chosen, first_style=STYLES["M"], seed=seed)
    fit(model, rows, size.teacher_base, seed=2 * seed)
    save(model, tokenizer, folder / "M")
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for name in ("A", "B"):
        model.load_state_dict(start)
        rows = worked(tokenizer, chosen, first_style=STYLES[name], seed=seed + 1000)
        fit(model, rows, size.teacher_style, seed=2 * seed)
        save(model, tokenizer, folder / name)
    for name in STYLES:
        print(name, evaluate.checkpoint(folder / name, "tuning", count=size.tuning, seed=seed))


def base(size: Size, seed: int, folder: Path) -> None:
    """The student before anybody's SFT data: both styles, few right answers."""
    tokenizer = new_tokenizer()
    model = new_model(size.student, tokenizer, seed=2 * seed + 1)
    settle()
    chosen = problems("train", seed=2 * seed + 1, count=PROBLEMS)
    rows = worked(tokenizer, chosen, first_style=STYLES["M"], seed=seed + 2000)
    fit(model, rows, size.student_base, seed=2 * seed + 1)
    save(model, tokenizer, folder)
    print("base", evaluate.checkpoint(folder, "tuning", count=size.tuning, seed=seed))


if __name__ == "__main__":
    logging.disable_progress_bar()
    what, named, number, into = sys.argv[1:]
    {"teachers": teachers, "base": base}[what](SIZES[named], int(number), Path(into))
