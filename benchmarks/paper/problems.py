"""Additions with worked columns in two styles: two teachers can be equally right and still differ.

Each column is written in one of two ways, each word of them a symbol:

    481+952:  1+2+0=03;8+5+0=13;4+9+1=14;#1433     style 1
    481+952:  [210>30][580>31][941>41]#1433        style 2: other order of operands and digits
"""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

Split = Literal["train", "sft", "opd", "probe", "stopping", "tuning", "final"]

SPLITS: Final[tuple[Split, ...]] = get_args(Split)
DIGITS: Final = 3
ANSWER: Final = "#"
_ANSWERED: Final = re.compile(rf"{ANSWER}(\d+)$")


@dataclass(frozen=True, slots=True)
class Problem:
    """Two addends of `DIGITS` digits."""

    left: int
    right: int

    @property
    def question(self) -> str:
        """The prompt."""
        return f"{self.left}+{self.right}:"

    @property
    def split(self) -> Split:
        """The one split this problem belongs to, whatever seed drew it."""
        digest = hashlib.sha256(f"{self.left}+{self.right}".encode()).digest()
        share = int.from_bytes(digest[:8], "little") % 20
        return "train" if share >= len(SPLITS) else SPLITS[share]

    def solution(self, *, first_style: float, source: random.Random) -> str:
        """A right answer whose columns are each in style 1 with probability `first_style`."""
        written, carry = [], 0
        for column in range(DIGITS):
            left, right = self.left // 10**column % 10, self.right // 10**column % 10
            total = left + right + carry
            if source.random() < first_style:
                written.append(f"{left}+{right}+{carry}={total:02d};")
            else:
                written.append(f"[{right}{left}{carry}>{total % 10}{total // 10}]")
            carry = total // 10
        return "".join(written) + f"{ANSWER}{self.left + self.right}"

    def accepts(self, response: str) -> bool:
        """Whether `response` ends in the right answer; the columns are not judged."""
        found = _ANSWERED.search(response)
        return found is not None and int(found.group(1)) == self.left + self.right


def problems(split: Split, *, seed: int, count: int) -> list[Problem]:
    """`count` different problems of one split; the same seed draws the same ones."""
    draws = _draws(random.Random(f"{split}/{seed}"))  # noqa: S311 - exercise, not secrets
    chosen: dict[Problem, None] = {}
    while len(chosen) < count:
        if (problem := next(draws)).split == split:
            chosen[problem] = None
    return list(chosen)


def _draws(source: random.Random) -> Iterator[Problem]:
    low, high = 10 ** (DIGITS - 1), 10**DIGITS - 1
    while True:
        yield Problem(source.randint(low, high), source.randint(low, high))
