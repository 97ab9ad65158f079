"""Events of a training elsewhere, played to the journal and the progress that wait for it."""

import json
from typing import Any

import pytest

from tenfold.core.errors import BadData, Stopped, TenfoldError
from tenfold.core.progress import Event, Progress
from tenfold.core.stage import Check, Made, Note
from tenfold.ops import relay


class Diary:
    """Keeps what a journal is told, by network."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def network(self, variant: str, seed: int, params: Any) -> "Page":
        self.told.append(("network", variant, seed, params))
        return Page(self, variant)


class Page:
    def __init__(self, diary: Diary, name: str) -> None:
        self.diary, self.name = diary, name

    def epoch(self, epoch: int, metrics: Any) -> None:
        self.diary.told.append((self.name, epoch, metrics))

    def done(self, metrics: Any) -> None:
        self.diary.told.append((self.name, "done", metrics))


def story(journal: Any, progress: Progress) -> None:
    progress.stage("networks", 2)
    first = journal.network("", 0, {"shots": 5})
    second = journal.network("shots=5", 1, {})
    first.epoch(1, {"train/loss": 0.1 + 0.2})
    second.epoch(1, {"train/loss": float("nan")})
    progress.advance()
    progress.say("half")
    progress.stage("networks", 2)  # begun again
    progress.advance(2)
    first.done({"best/loss": 1e-300})
    progress.stage("maps")


def seen(events: list[Event]) -> list[tuple[str, int, int | None, str]]:
    return [(event.stage, event.done, event.total, event.text) for event in events]


def test_what_is_told_elsewhere_is_what_arrives() -> None:
    here, there = Diary(), Diary()
    events_here: list[Event] = []
    events_there: list[Event] = []
    story(here, Progress(events_here.append))
    player = relay.Relay(Progress(events_there.append), there)
    remote = relay.Remote(lambda event: player.line(json.dumps(event) + "\n"))
    story(remote, remote.progress)
    assert repr(there.told) == repr(here.told)  # NaN is not equal to itself
    assert seen(events_there) == seen(events_here)


def test_the_result_arrives() -> None:
    player = relay.Relay(Progress(), Diary())
    made = Made([Note("n", "float", float("nan"))], [Check("c", True, "warn", "text")], {"networks": [1, 2]})
    player.line(json.dumps(relay.finished(made)))
    assert repr(player.result()) == repr(made)


@pytest.mark.parametrize("error", [BadData("part 3"), Stopped("after 4 of 8"), TenfoldError("odd")])
def test_an_error_is_raised_again(error: TenfoldError) -> None:
    player = relay.Relay(Progress(), Diary())
    player.line(json.dumps(relay.failed(error)))
    with pytest.raises(type(error), match=str(error)) as caught:
        player.result()
    assert type(caught.value) is type(error)


def test_no_result_and_unknown_events_are_errors() -> None:
    player = relay.Relay(Progress(), Diary())
    with pytest.raises(TenfoldError, match="without a result"):
        player.result()
    with pytest.raises(ValueError, match="'dance'"):
        player({"event": "dance"})
