"""The limit of open files is raised as far as each kind of system grants it."""

from __future__ import annotations

import math

import pytest

from autobatcher.server.file_limit import FileRoom, limits_to_try, raise_file_limit, room_for_clients

UNLIMITED = 2**63 - 1


class System:
    """The `resource` module of a system that grants no more than `most`."""

    RLIMIT_NOFILE = 8
    RLIM_INFINITY = UNLIMITED

    def __init__(self, soft: int, hard: int, most: int) -> None:
        self.soft, self.hard, self.most = soft, hard, most

    def getrlimit(self, which: int) -> tuple[int, int]:
        assert which == self.RLIMIT_NOFILE
        return self.soft, self.hard

    def setrlimit(self, which: int, limits: tuple[int, int]) -> None:
        assert which == self.RLIMIT_NOFILE
        soft, hard = limits
        if soft > self.most or soft > hard or hard != self.hard:
            raise ValueError("current limit exceeds maximum limit")
        self.soft = soft


@pytest.mark.parametrize(
    ("soft", "hard", "most", "then"),
    [
        pytest.param(1024, 1_048_576, UNLIMITED, 1_048_576, id="Linux"),
        pytest.param(1024, 4096, UNLIMITED, 4096, id="a container with a low limit"),
        pytest.param(256, UNLIMITED, 10_240, 10_240, id="macOS"),
        pytest.param(256, UNLIMITED, 245_760, 65_536, id="macOS whose kernel was told to grant more"),
        pytest.param(256, 500_000, 10_240, 10_240, id="macOS with a limit that its kernel does not grant"),
        pytest.param(20_000, UNLIMITED, 10_240, 20_000, id="nothing higher is granted"),
        pytest.param(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, id="no limit"),
    ],
)
def test_the_limit_becomes_the_highest_that_is_granted(soft: int, hard: int, most: int, then: int) -> None:
    system = System(soft, hard, most)
    limit = raise_file_limit(system)
    assert (system.soft, system.hard) == (then, hard)
    assert limit == (math.inf if then == UNLIMITED else then)


def test_only_higher_limits_are_tried_and_the_highest_first() -> None:
    tried = list(limits_to_try(10_240, 100_000, unlimited=UNLIMITED))
    assert tried == [100_000, 65_536]


@pytest.mark.parametrize(
    ("limit", "room"),
    [
        (math.inf, FileRoom()),
        (1_048_576, FileRoom(1_048_512, 1_048_012)),
        (1024, FileRoom(960, 840)),
        (100, FileRoom(50, 44)),
        (40, FileRoom(20, 18)),
    ],
)
def test_some_files_are_reserved_and_some_connections_are_for_requests_that_are_refused(
    limit: float, room: FileRoom
) -> None:
    assert room_for_clients(limit) == room
