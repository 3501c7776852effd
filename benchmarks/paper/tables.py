"""Tables of the page, from the results alone."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from benchmarks.paper import toy
from benchmarks.paper.data import SCORERS, WRITERS
from benchmarks.paper.methods import ONLINE
from benchmarks.paper.plan import COMMON_PAIRS, MORE_SFT, STRONG, STRONG_METHODS, TUNED_PAIRS
from benchmarks.paper.results import Answer, Over, Results, finals, last

NAMES: Final = {
    "online": "online OPD",
    "paper": "Lightning OPD, the paper's update",
    "weighted": "Lightning OPD, weighted",
    "centred": "Lightning OPD, centred",
    "weighted+centred": "Lightning OPD, weighted and centred",
    MORE_SFT: "control: no OPD, SFT going on",
    "state-centred": "diagnosis: the paper's, centred in every state",
}
EXACT: Final = {
    "exact-paper": "diagnosis: the paper's, without noise",
    "exact-online": "diagnosis: weighted, without noise",
}
PEOPLE: Final = {"teacher A": "teacher A", "base": "student before SFT", "student A": "after SFT"}


def percent(over: Over) -> str:
    """A share of every seed: mean ± half width of the 95 % interval, then the seeds."""
    each = " ".join(f"{100 * value:.1f}" for value in over.values)
    return f"{_with_interval(over, 100, 1)} | {each}"


def points(over: Over) -> str:
    """A difference of shares, in points."""
    return _with_interval(over, 100, 1, sign="+")


def accuracy(results: Results) -> str:
    """Matched teacher A: who is right how often."""
    start = results.start("student A")
    online = finals(results.tuned(ONLINE))
    lines = [
        "| | right, % | seeds | gain over SFT | against online | rate of each seed |",
        "|---|---:|---|---:|---:|---|",
    ]
    for who, name in PEOPLE.items():
        lines.append(f"| {name} | {percent(results.start(who))} | | | |")
    for method, name in NAMES.items():
        tuned = results.tuned(method)
        rates = " ".join(f"{answer['rate']:g}" for answer in tuned)
        found = finals(tuned)
        gains = f"{points(found - start)} | {points(found - online)}"
        lines.append(f"| {name} | {percent(found)} | {gains} | {rates} |")
    return "\n".join(lines)


def rates(results: Results) -> str:
    """The sweep: accuracy on the final problems at every rate."""
    swept: Sequence[float] = results.size["rates"]
    lines = [
        "| | " + " | ".join(f"{rate:g}" for rate in swept) + " |",
        "|---|" + "---:|" * len(swept),
    ]
    for method, name in NAMES.items():
        cells = [_with_interval(finals(results.at(method, rate)), 100, 1) for rate in swept]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pairs(results: Results) -> str:
    """SFT teacher by OPD teacher: what OPD adds to the student's own start."""
    ways: dict[str, Callable[[str, str], list[Answer]]] = {
        f"{method} at {results.common_rate:g}": partial(results.pair, method)
        for method in COMMON_PAIRS
    }
    ways |= {f"{method}, tuned": partial(results.tuned_pair, method) for method in TUNED_PAIRS}
    lines = [
        "| SFT teacher | OPD teacher | mean abs. Δ | after SFT | " + " | ".join(ways) + " |",
        "|---|---|---:|---:|" + "---:|" * len(ways),
    ]
    for student in WRITERS:
        start = results.start(f"student {student}")
        for teacher in (student, *(name for name in SCORERS if name != student)):
            delta = results.distance(student, teacher, "mean_abs")
            found = [finals(way(student, teacher)) for way in ways.values()]
            cells = [f"{100 * one.mean:.1f} ({points(one - start)})" for one in found]
            begin = f"{student} | {teacher} | {delta.mean:.3f} | {100 * start.mean:.1f}"
            lines.append(f"| {begin} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def distances(results: Results) -> str:
    """Δ between the SFT teacher and another, on the student's rollouts."""
    measures = {
        "mean_abs": "mean abs. Δ",
        "std": "spread of Δ",
        "over_one_nat": "share over 1 nat",
        "sigma": "sigma",
    }
    lines = [
        "| rollouts of | SFT teacher | other | " + " | ".join(measures.values()) + " |",
        "|---|---|---|" + "---:|" * len(measures),
    ]
    for student in WRITERS:
        for teacher in SCORERS:
            cells = [
                _with_interval(results.distance(student, teacher, what), 1, 3) for what in measures
            ]
            lines.append(
                f"| student {student} | {student} | {teacher} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines)


def cost(results: Results) -> str:
    """CPU seconds of equal steps: the first run, and each further one on the same signal."""
    parts = ("rollouts", "scoring", "training")
    lines = [
        "| | rollouts | scoring | training | first run | each further run |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for method in (ONLINE, "weighted", "paper", "centred"):
        spent = results.cost(method)
        first = Over.of(map(sum, zip(*(spent[part].values for part in parts), strict=True)))
        further = first if method == ONLINE else spent["training"]
        cells = [*(spent[part] for part in parts), first, further]
        shown = " | ".join(_with_interval(cell, 1, 1) for cell in cells)
        lines.append(f"| {NAMES[method]} | {shown} |")
    return "\n".join(lines)


def diagnosis(results: Results, *, rate: float) -> str:
    """At one rate, at the end: what each update did to whole distributions."""
    measures: dict[str, tuple[str, float, int]] = {
        "half_square": ("mean ½A²", 1, 3),
        "kl": ("KL to the teacher", 1, 3),
        "sampled_logprob": ("log-prob of sampled", 1, 3),
        "mean_advantage": ("mean A", 1, 3),
        "wrong": ("implausible mass, %", 100, 2),
        "leaked": ("of it, nobody's, %", 100, 2),
        "log_ratio_std": ("spread of log ratio", 1, 3),
        "sequence_ess": ("effective share, %", 100, 1),
    }
    lines = [
        "| | right on tuning, % | " + " | ".join(name for name, *_ in measures.values()) + " |",
        "|---|---:|" + "---:|" * len(measures),
    ]
    online = results.at(ONLINE, rate)
    first: list[Answer] = [{"looks": [answer["looks"][0]]} for answer in online]
    rows = {"at the start": first}
    rows |= {name: results.at(method, rate) for method, name in NAMES.items()}
    rows |= {name: results.exact(method, rate) for method, name in EXACT.items()}
    for name, answers in rows.items():
        cells = [_with_interval(last(answers, "accuracy"), 100, 1)]
        cells += [
            _with_interval(last(answers, what), scale, digits)
            for what, (_, scale, digits) in measures.items()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def strong(results: Results) -> str:
    """A student that was trained longer before OPD."""
    swept: Sequence[float] = results.size["rates"]
    start = results.start(f"student {STRONG}")
    lines = [
        f"after longer SFT: {_with_interval(start, 100, 1)} % right",
        "",
        "| | " + " | ".join(f"{rate:g}" for rate in swept) + " |",
        "|---|" + "---:|" * len(swept),
    ]
    for method in (*STRONG_METHODS, MORE_SFT):
        cells = [_with_interval(finals(results.at(method, rate, STRONG)), 100, 1) for rate in swept]
        lines.append(f"| {NAMES[method]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def warnings(results: Results) -> str:
    """Of each seed: the look at which a run was right most often, and when the gauge warned."""
    swept: Sequence[float] = results.size["rates"]
    lines = [
        "| | " + " | ".join(f"{rate:g}" for rate in swept) + " |",
        "|---|" + "---:|" * len(swept),
    ]
    for method in ("paper", "centred", "weighted"):
        cells = [
            " ".join(f"{_peak(answer)}/{answer['warned'] or 'never'}" for answer in answers)
            for answers in (results.at(method, rate) for rate in swept)
        ]
        lines.append(f"| {NAMES[method]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _peak(answer: Answer) -> int:
    best = max(answer["looks"], key=lambda look: look["accuracy"])
    return int(best["step"])


def tables(results: Results) -> dict[str, str]:
    """Every table of the page by its name."""
    made: Mapping[str, Callable[[Results], str]] = {
        "accuracy": accuracy,
        "rates": rates,
        "pairs": pairs,
        "distances": distances,
        "cost": cost,
        "diagnosis": lambda found: diagnosis(found, rate=found.common_rate),
        "strong": strong,
        "warnings": warnings,
        "toy": lambda _: toy.table(),
    }
    return {name: make(results) for name, make in made.items()}


def _with_interval(over: Over, scale: float, digits: int, *, sign: str = "") -> str:
    half = over.half_width
    spread = "" if half is None else f" ± {scale * half:.{digits}f}"
    return f"{scale * over.mean:{sign}.{digits}f}{spread}"
