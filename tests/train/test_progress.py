import io

import pytest

from lopd_train.progress import Progress, progress_line


class Terminal(io.StringIO):
    """A terminal, and the lines that stand on it."""

    def isatty(self) -> bool:
        return True

    def standing(self) -> list[str]:
        lines = [""]
        for part in self.getvalue().replace("\r\x1b[K", "\x00").replace("\n", "\x01\x00"):
            if part == "\x01":
                lines.append("")
            else:
                lines[-1] = "" if part == "\x00" else lines[-1] + part
        return lines


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(
    stream: io.StringIO, *, steps: int, seconds: float, start: int = 0, **options: bool
) -> None:
    clock = Clock()
    with Progress(steps=steps, done=start, stream=stream, clock=clock, **options) as progress:
        for step in range(start + 1, steps + 1):
            clock.now += seconds
            progress.update(step, tokens=500, loss=0.5, advantage=-0.25, kl=0.125)


def test_the_line_says_what_a_watcher_wants_to_know() -> None:
    assert progress_line(
        step=12,
        steps=1500,
        loss=0.123456,
        advantage=-0.03125,
        kl=0.029,
        tokens_per_second=12345.6,
        seconds_left=250.4,
    ) == ("step 12/1,500  loss 0.1235  advantage -0.0312  KL 0.0290  12,346 tok/s  4:10 left")


def test_what_is_not_known_is_left_out() -> None:
    assert progress_line(step=1, steps=2, loss=3.0) == "step 1/2  loss 3"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00"), (59.6, "1:00"), (3599.4, "59:59"), (3600.0, "1:00:00"), (90061.0, "25:01:01")],
)
def test_time_left_reads_as_on_a_clock(seconds: float, text: str) -> None:
    assert progress_line(step=1, steps=2, loss=0.0, seconds_left=seconds).endswith(f"{text} left")


def test_off_a_terminal_there_is_a_line_at_first_and_at_last_and_now_and_then() -> None:
    stream = io.StringIO()
    run(stream, steps=100, seconds=1.0)
    lines = stream.getvalue().splitlines()
    shown = [line.split()[1] for line in lines]
    assert shown == ["1/100", "31/100", "61/100", "91/100", "100/100"]
    assert lines[1] == "step 31/100  loss 0.5  advantage -0.2500  KL 0.1250  500 tok/s  1:09 left"
    assert "\r" not in stream.getvalue()


def test_on_a_terminal_one_line_is_rewritten_in_place() -> None:
    stream = Terminal()
    run(stream, steps=40, seconds=2.0)
    assert stream.getvalue().count("\r") == 39
    assert stream.standing() == [
        "step 40/40  loss 0.5  advantage -0.2500  KL 0.1250  250 tok/s  0:00 left",
        "",
    ]


def test_a_line_longer_than_the_terminal_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    run(stream, steps=3, seconds=1.0)
    assert stream.standing() == ["step 3/3  loss 0.5 "[:19], ""]


def test_a_message_stands_above_the_line() -> None:
    stream = Terminal()
    progress = Progress(steps=2, stream=stream, clock=Clock())
    progress.update(1, tokens=1, loss=1.0)
    progress.say("first\nsecond")
    assert stream.standing()[:2] == ["first", "second"]
    assert stream.standing()[2].startswith("step 1/2")
    progress.close()


def test_text_of_strangers_moves_no_cursor() -> None:
    stream = io.StringIO()
    Progress(steps=1, stream=stream).say("org/\x1b[2Jname\u202e\r")
    assert stream.getvalue() == "org/\\x1b[2Jname\\u202e\\r\n"


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_every_line_of_an_inconsistent_run_begins_with_a_warning(kind: type[io.StringIO]) -> None:
    stream = kind()
    progress = Progress(steps=9, stream=stream, clock=Clock(), inconsistent=True)
    progress.update(1, tokens=1, loss=1.0)
    progress.say("one\ntwo")
    progress.update(9, tokens=1, loss=1.0)
    progress.close()
    lines = stream.standing() if isinstance(stream, Terminal) else stream.getvalue().split("\n")
    assert len(lines) == (4 if kind is Terminal else 5)
    assert [line for line in lines[:-1] if not line.startswith("INCONSISTENT TEACHER  ")] == []


def test_time_left_goes_by_the_latest_steps() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(steps=100, stream=stream, clock=clock, every=0.0)
    for step in range(1, 51):
        clock.now += 10.0 if step <= 25 else 1.0
        progress.update(step, tokens=100, loss=1.0)
    assert stream.getvalue().splitlines()[-1].endswith("100 tok/s  0:50 left")


def test_a_resumed_run_counts_its_own_steps_only() -> None:
    stream = io.StringIO()
    run(stream, steps=100, seconds=1.0, start=90)
    assert stream.getvalue().splitlines()[0].endswith("500 tok/s  0:09 left")
