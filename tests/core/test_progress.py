"""Progress: counts, remaining time, and the lines a terminal shows."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.progress import Event, Progress, TerminalSink


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drive(stream: io.StringIO, clock: Clock, steps: int, seconds: float) -> str:
    progress = Progress(TerminalSink(stream, clock), clock=clock)
    progress.stage("features", steps)
    for _ in range(steps):
        clock.now += seconds
        progress.advance()
    return stream.getvalue()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 50), st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_at_an_even_pace_the_time_left_is_exact(skipped: int, steps: list[int]) -> None:
    events: list[Event] = []
    clock = Clock()
    progress = Progress(events.append, clock=clock)
    progress.stage("train", skipped + sum(steps), done=skipped)
    for n in steps:
        clock.now += 2.0 * n
        progress.advance(n)
    assert events[0].eta_s is None
    for event in events[1:]:
        assert event.eta_s == pytest.approx(2.0 * (skipped + sum(steps) - event.done))
    assert events[-1].done == events[-1].total


def test_a_stage_starts_anew_and_words_go_to_every_sink() -> None:
    one: list[Event] = []
    two: list[Event] = []
    clock = Clock()
    progress = Progress(one.append, two.append, clock=clock)
    progress.stage("a", 1)
    progress.advance()
    clock.now += 3
    progress.stage("b")
    clock.now += 1
    progress.say("loaded")
    assert one == two
    assert one[-1] == Event("b", 0, None, 1.0, None, "loaded")


def test_without_sinks_nothing_happens(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.stage("a", 2)
    progress.advance(2)
    progress.say("x")
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_every_five_seconds() -> None:
    lines = drive(io.StringIO(), Clock(), 12, 1.0).splitlines()
    assert lines == ["features 0/12 [0:00]", "features 5/12 [0:05, 0:07 left]", "features 10/12 [0:10, 0:02 left]", "features 12/12 [0:12]"]


def test_a_terminal_gets_one_line_that_changes() -> None:
    shown = drive(Terminal(), Clock(), 3, 3600.0)
    assert shown.count("\n") == 1 and shown.endswith("\n")
    assert shown.split("\r")[2].rstrip() == "features 1/3 [1:00:00, 2:00:00 left]"


def test_a_shorter_line_wipes_the_longer_one_and_words_stand_alone() -> None:
    stream, clock = Terminal(), Clock()
    sink = TerminalSink(stream, clock)
    sink(Event("stage", 123456, None, 1.0, None, ""))
    clock.now += 1
    sink(Event("stage", 7, None, 2.0, None, ""))
    sink(Event("stage", 7, None, 2.0, None, "a word"))
    long, short = stream.getvalue().split("\r")[1:]
    assert short.split("\n")[0] == "stage 7 [0:02]".ljust(len(long))
    assert short.split("\n")[1:] == ["a word", ""]
