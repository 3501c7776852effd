"""Every pair of teachers at one rate, the same for all methods, as the paper's Table 4 has it.

python -m benchmarks.paper.common full 0 FOLDER METHOD

At its own best rate a method that runs away is one that hardly moves, and then no teacher matters.
"""

from benchmarks.paper.sizes import Size
from benchmarks.paper.stage import Call
from benchmarks.paper.sweep import pairs, run


def common_rate(size: Size) -> float:
    """The middle of the sweep, where methods part."""
    return sorted(size.rates)[len(size.rates) // 2]


if __name__ == "__main__":
    call = Call.read()
    (method,) = call.words
    asked = pairs(method, common_rate(call.size))
    call.report(f"common-{method}", run(call.size, call.seed, call.places, asked))
