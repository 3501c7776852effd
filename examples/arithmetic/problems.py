"""Addition problems with worked columns: deterministic, endless, and checkable.

The solution works from the last digit to the first; each line is
`digit+digit+carry=` and a two-digit sum, whose first digit is the next carry:

    Add 481 and 952.
    1+2+0=03
    8+5+0=13
    4+9+1=14
    Answer: 1433
"""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Split = Literal["train", "prompts", "held-out"]

DIGITS: Final = 3
_SHARE_OF_TEN: Final[dict[Split, range]] = {
    "train": range(8),
    "prompts": range(8, 9),
    "held-out": range(9, 10),
}
_ANSWER: Final = re.compile(r"Answer: (\d+)$")


@dataclass(frozen=True, slots=True)
class Problem:
    """Two addends of at most `DIGITS` digits."""

    left: int
    right: int

    @property
    def question(self) -> str:
        """What the user asks."""
        return f"Add {self.left} and {self.right}."

    @property
    def answer(self) -> str:
        """The sum, in decimal."""
        return str(self.left + self.right)

    @property
    def solution(self) -> str:
        """The worked columns and the answer, as a good assistant writes them."""
        lines, carry = [], 0
        for column in range(DIGITS):
            left, right = self.left // 10**column % 10, self.right // 10**column % 10
            total = left + right + carry
            lines.append(f"{left}+{right}+{carry}={total:02d}")
            carry = total // 10
        return "\n".join([*lines, f"Answer: {self.answer}"])

    @property
    def split(self) -> Split:
        """The one split this problem belongs to, whatever seed drew it."""
        digest = hashlib.sha256(f"{self.left}+{self.right}".encode()).digest()
        share = int.from_bytes(digest[:8], "little") % 10
        return next(split for split, shares in _SHARE_OF_TEN.items() if share in shares)

    def accepts(self, response: str) -> bool:
        """Whether `response` ends in the right answer; the steps are not judged."""
        found = _ANSWER.search(response.strip())
        return found is not None and found.group(1) == self.answer


def ask(question: str) -> list[dict[str, str]]:
    """The messages of one user turn."""
    return [{"role": "user", "content": question}]


def problems(split: Split, *, seed: int, count: int) -> list[Problem]:
    """`count` different problems of one split; the same seed draws the same ones."""
    draws = _draws(random.Random(f"{split}/{seed}"))  # noqa: S311  # exercise, not secrets
    chosen: dict[Problem, None] = {}
    while len(chosen) < count:
        if (problem := next(draws)).split == split:
            chosen[problem] = None
    return list(chosen)


def _draws(source: random.Random) -> Iterator[Problem]:
    low, high = 10 ** (DIGITS - 1), 10**DIGITS - 1
    while True:
        yield Problem(source.randint(low, high), source.randint(low, high))
