"""How exactly log-probs are kept: `exact`, or rounded to a grid with a stated largest error."""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.errors import UsageError
from lopd_store.rows import flat

_GRAMMAR: Final = re.compile(r"2\^-([1-9]|1[0-9]|2[0-4])")
_EXACT: Final = "exact"


@dataclass(frozen=True, slots=True)
class Precision:
    """Either `exact` or a largest absolute error in nats, a power of two from 2^-1 to 2^-24.

    `Precision.parse(p.text) == p`.

    Attributes:
        exponent: n of the largest error 2^-n; None means exact.
    """

    exponent: int | None

    def __post_init__(self) -> None:
        if self.exponent is not None and self.exponent not in range(1, 25):
            raise UsageError(f"expected an exponent from 1 to 24, found {self.exponent!r}")

    @classmethod
    def parse(cls, text: str) -> "Precision":
        """Read `exact` or `2^-12`. Raises UsageError on anything else."""
        if text == _EXACT:
            return cls(None)
        if match := _GRAMMAR.fullmatch(text):
            return cls(int(match[1]))
        raise UsageError(
            f"expected a precision of exact, or a largest error from 2^-1 to 2^-24 such as 2^-12; "
            f"found {text!r}"
        )

    @property
    def text(self) -> str:
        """What `parse` reads: `exact` or `2^-12`."""
        return _EXACT if self.exponent is None else f"2^-{self.exponent}"

    @property
    def max_error(self) -> float:
        """The largest absolute error in nats; 0.0 when exact."""
        return 0.0 if self.exponent is None else 2.0**-self.exponent

    def round(self, logprobs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Round to the nearest multiple of twice the largest error; never write -0.0.

        float32, any shape, nats; a new array. `|rounded - x| <= max_error` for every finite x,
        `x <= 0` gives a result `<= 0`, and rounding again changes nothing. Where float32 itself is
        coarser than the grid, x is a multiple of the step already and stays as it is.
        NaN and infinities stay what they are: checks refuse them elsewhere.
        """
        if self.exponent is None:
            return np.asarray(logprobs + np.float32(0.0), np.float32)
        steps = np.ldexp(logprobs.astype(np.float64), self.exponent - 1)
        rounded = np.ldexp(np.rint(steps), 1 - self.exponent)
        return np.asarray(rounded + 0.0, np.float32)

    def strays(self, logprobs: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Bool of the same shape: which finite values rounding would change."""
        changed: npt.NDArray[np.bool_] = self.round(logprobs) != logprobs
        return np.isfinite(logprobs) & changed

    def round_lists(self, logprobs: flat.ListArray) -> flat.ListArray:
        """`round` over a list<float32> column."""
        rounded = self.round(flat.lists(logprobs).values)
        return flat.lists_of(pa.array(rounded), like=logprobs)


EXACT: Final = Precision(None)
