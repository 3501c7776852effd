"""Counts and times of a server, as Prometheus reads them."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the buckets of times."""


@dataclass(slots=True)
class Metrics:
    """What has happened since the start. Belongs to one event loop.

    Attributes:
        rows: stored rows that are served.
        requests: by protocol and status.
        sequences: by what became of them: `stored`, `missing` or `scored` (by a live teacher).
        times: for each bucket of `SECONDS` and the one beyond, requests that took so long.
        seconds: of all requests together.
    """

    rows: int
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    sequences: Counter[str] = field(default_factory=Counter)
    times: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    seconds: float = 0.0

    def finished(self, protocol: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests[protocol, status] += 1
        self.times[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds

    def text(self) -> str:
        """The text format of Prometheus."""
        return "\n".join((*self._lines(), ""))

    def _lines(self) -> Iterator[str]:
        yield from _metric("rows", "gauge", "Stored rows.", [("", self.rows)])
        yield from _metric(
            "requests_total",
            "counter",
            "Requests answered.",
            (
                (f'{{protocol="{protocol}",status="{status}"}}', count)
                for (protocol, status), count in sorted(self.requests.items())
            ),
        )
        yield from _metric(
            "sequences_total",
            "counter",
            "Sequences asked for.",
            ((f'{{outcome="{name}"}}', count) for name, count in sorted(self.sequences.items())),
        )
        yield from self._histogram()

    def _histogram(self) -> Iterator[str]:
        name = "lopd_request_seconds"
        yield f"# HELP {name} Time from a request's head to its reply."
        yield f"# TYPE {name} histogram"
        ends = (*map(str, SECONDS), "+Inf")
        for end, count in zip(ends, accumulate(self.times), strict=True):
            yield f'{name}_bucket{{le="{end}"}} {count}'
        yield f"{name}_sum {self.seconds:.6f}"
        yield f"{name}_count {sum(self.times)}"


def _metric(name: str, kind: str, says: str, samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield f"# HELP lopd_{name} {says}"
    yield f"# TYPE lopd_{name} {kind}"
    for labels, value in samples:
        yield f"lopd_{name}{labels} {value}"
