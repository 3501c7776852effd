"""The card's picture: how log-probs are spread, as SVG written by hand.

The same counts give the same bytes. It brings its own background, so that it is readable on pages
of any colour, and is dark where the reader's system is.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from lopd_store.publishing.card.statistics import BIN, BINS, Logprobs, Statistics

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 56, 48
_STEP: Final = (_WIDTH - _LEFT - _RIGHT) / (BINS + 1)
_MOST_DECADES: Final = 6
_TICK_NATS: Final = 2

_STYLE: Final = """\
<title>Histogram of log-probs in nats</title>
<style>
.back{fill:#fff}.text{fill:#333;font:12px sans-serif}.name{font-weight:bold}
.grid{stroke:#ddd}.bar{fill:#4878b0}.line{fill:none;stroke:#c44e20;stroke-width:1.8}
@media (prefers-color-scheme:dark){.back{fill:#16181d}.text{fill:#ddd}.grid{stroke:#3a3d44}
.bar{fill:#6c9bd2}.line{stroke:#f08a5d}}
</style>
"""


def draw(statistics: Statistics) -> bytes | None:
    """The histograms of all measured columns in one picture; None where there are none.

    The first column (the teacher's, where there is one) is bars, the second a line over them. The
    scale of shares is logarithmic: most tokens are near 0, and what training is about is the rest.
    """
    if not statistics.logprobs:
        return None
    shown = statistics.logprobs[:2]
    decades = _decades(shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">\n',
        _STYLE,
        f'<rect class="back" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>\n',
        *_shares(decades),
        *_bars(shown[0], decades),
        *(_line(one, decades) for one in shown[1:]),
        *_nats(),
        *_legend(shown),
        "</svg>\n",
    ]
    return "".join(parts).encode()


def _decades(shown: Sequence[Logprobs]) -> int:
    """How many powers of ten the scale goes down from 1, so that every bin has a height."""
    lowest = min(count / one.tokens for one in shown for count in one.bins if count)
    return min(math.floor(-math.log10(lowest)) + 1, _MOST_DECADES)


def _y(share: float, decades: int) -> float:
    """Where a share stands; those below the scale, and 0, at its bottom."""
    height = _HEIGHT - _TOP - _BOTTOM
    down = decades if share == 0 else min(-math.log10(share), decades)
    return round(_TOP + height * down / decades, 1)


def _left(place: int) -> float:
    """Where a bin begins: bin 0, nearest to 0 nats, is the rightmost."""
    return round(_WIDTH - _RIGHT - (place + 1) * _STEP, 1)


def _shares(decades: int) -> Iterator[str]:
    for decade in range(decades + 1):
        y = _y(10.0**-decade, decades)
        label = f"{100 / 10**decade:g} %"
        yield f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>\n'
        yield (
            f'<text class="text" x="{_LEFT - 8}" y="{round(y + 4, 1)}" text-anchor="end">{label}'
            "</text>\n"
        )


def _bars(one: Logprobs, decades: int) -> Iterator[str]:
    bottom = _HEIGHT - _BOTTOM
    for place, count in enumerate(one.bins):
        if count:
            y = _y(count / one.tokens, decades)
            yield (
                f'<rect class="bar" x="{_left(place)}" y="{y}" width="{round(_STEP - 1, 1)}"'
                f' height="{round(bottom - y, 1)}"/>\n'
            )


def _line(one: Logprobs, decades: int) -> str:
    steps = [
        f"{_y(count / one.tokens, decades)}H{_left(place)}" for place, count in enumerate(one.bins)
    ]
    return f'<path class="line" d="M{_WIDTH - _RIGHT} {"V".join(steps)}"/>\n'


def _nats() -> Iterator[str]:
    bottom = _HEIGHT - _BOTTOM + 16
    for place in range(0, BINS + 1, round(_TICK_NATS / BIN)):
        x, nats = round(_left(place) + _STEP, 1), -place * BIN
        anchor = "middle" if place else "end"
        yield f'<text class="text" x="{x}" y="{bottom}" text-anchor="{anchor}">{nats:g}</text>\n'
    middle = (_LEFT + _WIDTH - _RIGHT) // 2
    yield (
        f'<text class="text" x="{middle}" y="{bottom + 22}" text-anchor="middle">log-prob of the'
        f" token, nats (left of {-BIN * BINS:g}: all that are lower)</text>\n"
    )


def _legend(shown: Sequence[Logprobs]) -> Iterator[str]:
    yield f'<text class="text" x="{_LEFT}" y="22">share of tokens, logarithmic</text>\n'
    for number, one in enumerate(shown):
        x = _LEFT + 280 * number
        mark = f"M{x} 40h18" if number else f"M{x} 34h18v10h-18z"
        kind = "line" if number else "bar"
        yield f'<path class="{kind}" d="{mark}"/>\n'
        yield (
            f'<text class="text name" x="{x + 24}" y="44">{one.column}, mean {one.mean:.3f}'
            "</text>\n"
        )
