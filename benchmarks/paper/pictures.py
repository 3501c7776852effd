"""Pictures of the page, from the results alone; the same results give the same bytes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.paper.methods import ONLINE
from benchmarks.paper.plan import MORE_SFT
from benchmarks.paper.results import Answer, Over, Results, finals
from benchmarks.paper.tables import NAMES

STYLE: Final = {
    "svg.hashsalt": "lopd",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.4,
}
COLOURS: Final = {
    MORE_SFT: "#9467bd",
    "online": "#222222",
    "weighted": "#1f77b4",
    "weighted+centred": "#17becf",
    "paper": "#d62728",
    "centred": "#ff7f0e",
    "state-centred": "#2ca02c",
}
SHADES: Final = ("#9e9ac8", "#3690c0", "#238b45", "#fe9929", "#cb181d", "#000000")
"""Of rates, the largest the warmest."""
MEASURES: Final = {
    "accuracy": "right on tuning problems",
    "log_ratio_std": "spread of log ratio, nats",
    "sequence_ess": "effective share of responses",
}


def over_looks(answers: Sequence[Answer], what: str) -> tuple[list[float], list[Over]]:
    """Steps, and a measure at each over seeds."""
    steps = [look["step"] for look in answers[0]["looks"]]
    values = [
        Over.of(answer["looks"][place][what] for answer in answers) for place in range(len(steps))
    ]
    return steps, values


def curves(results: Results) -> Figure:
    """Accuracy, drift and effective sample size against steps, for every method and rate."""
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    axes = figure.subplots(len(MEASURES), len(NAMES), sharex=True, sharey="row")
    for column, method in enumerate(NAMES):
        axes[0][column].set_title(method, fontsize=9)
        for row, what in enumerate(MEASURES):
            for rate, shade in zip(results.size["rates"], SHADES, strict=False):
                _line(axes[row][column], results.at(method, rate), what, shade, f"{rate:g}")
        axes[-1][column].set_xlabel("steps")
    for row, label in enumerate(MEASURES.values()):
        axes[row][0].set_ylabel(label)
    axes[0][0].legend(title="learning rate", fontsize=7, title_fontsize=7)
    return figure


def costs(results: Results) -> Figure:
    """The same against CPU seconds at each method's best rate; the store's cost is paid first."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    axes = figure.subplots(1, len(MEASURES))
    for axis, (what, label) in zip(axes, MEASURES.items(), strict=True):
        for method in (ONLINE, "weighted", "paper", "centred"):
            runs, spent = results.tuned(method), results.cost(method)
            before = 0.0
            if method != ONLINE:
                before = spent["rollouts"].mean + spent["scoring"].mean
            _, seconds = over_looks(runs, "cpu_seconds")
            _, values = over_looks(runs, what)
            times = [before + one.mean for one in seconds]
            colour = COLOURS[method]
            axis.plot(times, [one.mean for one in values], color=colour, label=NAMES[method])
            if method == "weighted":
                axis.plot(
                    [one.mean for one in seconds],
                    [one.mean for one in values],
                    color=colour,
                    linestyle=":",
                    label="the same, signal reused",
                )
        axis.set_xlabel("CPU seconds, rollouts and scoring included")
        axis.set_ylabel(label)
    axes[0].legend(fontsize=7)
    return figure


def reasons(results: Results) -> Figure:
    """At one rate: the paper's update gets nearer to its own aim and further from the teacher."""
    what = {
        "half_square": "mean ½A²: what the paper's update descends",
        "kl": "KL to the teacher, whole vocabulary, nats",
        "wrong": "probability of tokens implausible to the teacher",
        "sampled_logprob": "mean log-prob of sampled tokens",
    }
    rate = results.common_rate
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    axes = figure.subplots(1, len(what))
    for axis, (measure, label) in zip(axes, what.items(), strict=True):
        for method, name in NAMES.items():
            _line(axis, results.at(method, rate), measure, COLOURS[method], name)
        axis.set_title(label, fontsize=8)
        axis.set_xlabel(f"steps at rate {rate:g}")
    axes[0].legend(fontsize=6)
    return figure


def consistency(results: Results) -> Figure:
    """What OPD adds, against how far its teacher is from the one of the SFT data."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for method in (ONLINE, "weighted", "paper"):
        xs: list[float] = []
        ys: list[float] = []
        for student in ("A", "B"):
            start = results.start(f"student {student}")
            for teacher in ("A", "B", "M"):
                gain = finals(results.pair(method, student, teacher)) - start
                delta = results.distance(student, teacher, "mean_abs")
                xs += delta.values
                ys += [100 * value for value in gain.values]
        axis.scatter(xs, ys, s=18, color=COLOURS[method], label=NAMES[method], alpha=0.8)
    axis.axhline(0, color="#888888", linewidth=0.8)
    axis.set_xlabel("mean |Δ| between SFT teacher and OPD teacher, nats a token")
    axis.set_ylabel("gain over SFT, points")
    axis.legend(fontsize=7)
    return figure


PICTURES: Final[Mapping[str, Callable[[Results], Figure]]] = {
    "curves": curves,
    "costs": costs,
    "reasons": reasons,
    "consistency": consistency,
}


def draw(results: Results, folder: Path) -> None:
    """Write every picture as SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, make in PICTURES.items():
            make(results).savefig(folder / f"{name}.svg", metadata={"Date": None})


def _line(axis: Any, answers: Sequence[Answer], what: str, colour: str, label: str) -> None:
    """The mean over seeds, and the seeds' range as a band."""
    steps, values = over_looks(answers, what)
    axis.plot(steps, [one.mean for one in values], color=colour, label=label)
    low, high = [min(one.values) for one in values], [max(one.values) for one in values]
    axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
