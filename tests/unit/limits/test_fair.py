"""Fair queuing: nobody waits longer than its share, no seat is lost, queues are bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.fair import LONGEST, FairQueue, Flow, Waiter


@dataclass(eq=False)
class Job:
    flow: Flow
    width: int
    waiter: Waiter | None = None
    running: bool = False


@dataclass
class Play:
    """A queue and what was made of it."""

    queue: FairQueue
    jobs: list[Job] = field(default_factory=list)
    started: list[Flow] = field(default_factory=list)

    def ask(self, flow: Flow, width: int = 1, cost: float = 1.0) -> Job | None:
        job = Job(flow, width)

        def start() -> None:
            assert not job.running
            job.running = True
            self.started.append(flow)

        if self.queue.take(flow, width):
            start()
        else:
            job.waiter = self.queue.wait(flow, width, cost, start)
            if job.waiter is None:
                return None
        self.jobs.append(job)
        return job

    def end(self, job: Job) -> None:
        """It is answered, or its client goes while it waits."""
        self.jobs.remove(job)
        if job.waiter is None or not self.queue.leave(job.waiter):
            assert job.running
            self.queue.give(job.flow, job.width)

    def check(self) -> None:
        """What holds at any time."""
        running = [job for job in self.jobs if job.running]
        waiting = [job for job in self.jobs if not job.running]
        assert self.queue.taken == sum(job.width for job in running)
        assert self.queue.waiting == len(waiting)
        assert len(running) == 1 or self.queue.taken <= self.queue.seats
        for flow in {job.flow for job in self.jobs}:
            own = [job for job in running if job.flow is flow]
            assert flow.taken == sum(job.width for job in own)
            assert len(own) <= 1 or flow.taken <= flow.most, "what has been taken alone may be kept"
            assert len(flow.queue) <= flow.longest
        # No seat stays empty that somebody could have: not the next of all, at least.
        fits = [
            all(not self.queue.room(flow, next(iter(flow.queue)).width) for flow in {job.flow for job in waiting}),
            any(self.queue.taken + job.width > self.queue.seats for job in waiting),
        ]
        assert not waiting or any(fits)


def test_seats_are_taken_at_once_while_there_are_some() -> None:
    play = Play(FairQueue(4))
    one, two = Flow(2, 9), Flow(4, 9)
    jobs = [play.ask(flow) for flow in (one, one, two, two)]
    assert [job.running for job in jobs if job] == [True] * 4
    play.check()


def test_a_flow_has_a_bound_of_its_own() -> None:
    play = Play(FairQueue(4))
    greedy, modest = Flow(2, 9), Flow(2, 9)
    jobs = [play.ask(greedy) for _ in range(5)]
    assert [job.running for job in jobs if job] == [True, True, False, False, False]
    job = play.ask(modest)
    assert job is not None
    assert job.running, "nothing of the other has to end first"
    play.check()


def test_a_flow_has_less_room_while_others_ask() -> None:
    play = Play(FairQueue(8))
    greedy, modest = Flow(4, 9, few=1), Flow(4, 9, few=1)
    play.queue.asks(greedy, 0.0)
    play.queue.asks(greedy, 2.0)
    jobs = [play.ask(greedy) for _ in range(5)]
    assert [job.running for job in jobs if job] == [True] * 4 + [False]
    play.queue.asks(modest, 2.9)
    for job in jobs[:3]:
        assert job is not None
        play.end(job)
    assert greedy.taken == 1
    assert jobs[4] is not None
    assert not jobs[4].running
    assert play.ask(modest) is not None
    assert modest.taken == 1
    play.queue.asks(greedy, 2.6)
    play.queue.asks(greedy, 4.0)
    assert play.ask(greedy) is not None
    assert jobs[3] is not None
    play.end(jobs[3])
    assert greedy.taken == 2, "the other has been silent for a second"
    play.check()


def test_a_flow_whose_requests_wait_asks_however_long_ago_they_came() -> None:
    play = Play(FairQueue(8))
    greedy, modest = Flow(4, 9, few=1), Flow(4, 9, few=1)
    play.queue.asks(greedy, 0.0)
    jobs = [play.ask(greedy) for _ in range(7)]
    for now in (2.0, 2.5, 9.0, 9.5):
        play.queue.asks(modest, now)
        assert play.queue.competition
    for job in jobs[:6]:
        assert job is not None
        play.end(job)
    assert greedy.taken == 1
    play.queue.asks(modest, 9.9)
    assert not play.queue.competition, "nothing of the other has waited, or come, for a second"
    play.check()


def test_what_is_wider_than_a_flow_may_have_is_paid_for_by_rest() -> None:
    play = Play(FairQueue(16))
    queue, wide, other = play.queue, Flow(16, 9, few=2), Flow(16, 9, few=2)
    queue.asks(wide, 0.0)
    assert queue.rest(wide, 4, 0.5) == 0.0, "nobody else asks"
    queue.asks(other, 0.1)
    job, following = play.ask(wide, 4), play.ask(wide, 1)
    assert job is not None
    assert following is not None
    assert job.running
    assert [queue.rest(wide, width, 0.5) for width in (1, 2, 3, 4)] == [0.0, 0.0, 0.25, 0.5]
    assert queue.rest(wide, 4, 60.0) == LONGEST
    play.jobs.remove(job)
    queue.give(wide, 4, rests=True)
    assert (queue.taken, wide.taken, following.running) == (0, 4, False)
    for _ in range(2):
        assert play.ask(other) is not None
    assert play.started[1:] == [other] * 2, "it is its own rest"
    queue.rested(wide, 4)
    assert following.running
    play.check()


def test_a_queue_has_an_end() -> None:
    play = Play(FairQueue(1))
    flow, other = Flow(1, 3), Flow(1, 3)
    assert [play.ask(flow) is not None for _ in range(6)] == [True] * 4 + [False] * 2
    assert play.ask(other) is not None


def test_whoever_asks_for_little_is_next() -> None:
    play = Play(FairQueue(1))
    greedy, modest = Flow(1, 1000), Flow(1, 1000)
    running = play.ask(greedy)
    for _ in range(100):
        play.ask(greedy)
    play.ask(modest)
    assert running is not None
    play.end(running)
    first = next(job for job in play.jobs if job.running)
    play.end(first)
    assert modest in play.started[1:3]


def test_shares() -> None:
    play = Play(FairQueue(1))
    double, single = Flow(1, 1000, shares=2), Flow(1, 1000)
    for _ in range(100):
        play.ask(double)
        play.ask(single)
    for _ in range(90):
        play.end(next(job for job in play.jobs if job.running))
    served = play.started[1:91]
    assert abs(served.count(double) - 60) <= 1


def test_no_credit_for_silence() -> None:
    play = Play(FairQueue(1))
    silent, steady = Flow(1, 1000), Flow(1, 1000)
    for _ in range(101):
        play.ask(steady)
    for _ in range(50):
        play.end(next(job for job in play.jobs if job.running))
    for _ in range(50):
        play.ask(silent)
    before = len(play.started)
    for _ in range(20):
        play.end(next(job for job in play.jobs if job.running))
    assert abs(play.started[before:].count(silent) - 10) <= 1


def test_a_wide_one_is_not_passed_by_for_ever() -> None:
    play = Play(FairQueue(4))
    narrow, wide = Flow(4, 1000), Flow(4, 1000)
    for _ in range(50):
        play.ask(narrow)
    job = play.ask(wide, 4, 4.0)
    assert job is not None
    for _ in range(10):
        play.end(next(other for other in play.jobs if other.running))
    assert job.running


def test_more_than_there_is_comes_alone() -> None:
    play = Play(FairQueue(2))
    flow, other = Flow(8, 9), Flow(8, 9)
    small = play.ask(other)
    huge = play.ask(flow, 8)
    assert small is not None
    assert huge is not None
    assert not huge.running
    play.end(small)
    assert huge.running
    play.check()


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=5),
    st.lists(st.tuples(st.booleans(), st.integers(0, 99), st.integers(1, 4), st.floats(0.5, 50)), max_size=120),
)
def test_no_seat_is_lost_whatever_comes_and_goes(
    seats: int, bounds: list[tuple[int, int]], events: list[tuple[bool, int, int, float]]
) -> None:
    play = Play(FairQueue(seats))
    flows = [Flow(most, longest) for most, longest in bounds]
    for comes, which, width, cost in events:
        if comes:
            flow = flows[which % len(flows)]
            play.ask(flow, min(width, flow.most), cost)
        elif play.jobs:
            play.end(play.jobs[which % len(play.jobs)])
        play.check()
    while play.jobs:
        before = len(play.jobs)
        play.end(next((job for job in play.jobs if job.running), play.jobs[0]))
        play.check()
        assert len(play.jobs) == before - 1
    assert (play.queue.taken, play.queue.waiting) == (0, 0)


@given(
    st.lists(st.lists(st.floats(1, 20), min_size=1, max_size=30), min_size=2, max_size=6),
)
def test_nobody_gets_less_than_its_share(costs: list[list[float]]) -> None:
    """While two flows wait, what they were served differs by no more than their two dearest requests."""
    play = Play(FairQueue(1))
    holder = Flow(1, 9)
    held = play.ask(holder)
    flows = [Flow(1, 1000) for _ in costs]
    left = {id(flow): list(own) for flow, own in zip(flows, costs, strict=True)}
    for flow, own in zip(flows, costs, strict=True):
        for cost in own:
            assert play.ask(flow, 1, cost) is not None
    assert held is not None
    play.end(held)
    served = dict.fromkeys(map(id, flows), 0.0)
    seen = 1
    while play.jobs:
        for flow in play.started[seen:]:
            served[id(flow)] += left[id(flow)].pop(0)
        seen = len(play.started)
        backlogged = [flow for flow in flows if left[id(flow)]]
        for one in backlogged:
            for other in backlogged:
                at_most = max(costs[flows.index(one)]) + max(costs[flows.index(other)])
                assert abs(served[id(one)] - served[id(other)]) <= at_most + 1e-6
        play.end(next(job for job in play.jobs if job.running))
