"""The growth rule, driven by hand: no threads, no clock."""

from __future__ import annotations

import itertools

from netd.core.pool_size import LOOK_INTERVAL, Growth, Sample


class Pool:
    """A simulated pool that is never idle: *rate* and *cpu* say what its threads achieve."""

    def __init__(self, maximum: int = 100) -> None:
        self.growth = Growth(maximum)
        self.threads = 1
        self.now = self.cpu = self.accepted = 0.0
        self.changes: list[tuple[float, int]] = []

    def run(self, seconds: float, *, per_thread: float, ceiling: float, cpu_share: float) -> None:
        """Let it serve: each thread *per_thread* a second, all together *ceiling* at most."""
        end = self.now + seconds
        while self.now < end:
            self.now += LOOK_INTERVAL
            self.cpu += cpu_share * LOOK_INTERVAL
            self.accepted += min(self.threads * per_thread, ceiling) * LOOK_INTERVAL
            change = self.growth.look(Sample(self.now, int(self.accepted), self.cpu), self.threads)
            if change:
                self.threads += change
                self.changes.append((self.now, self.threads))


class TestGrowth:
    def test_waiting_handlers_get_threads_at_once(self) -> None:
        """Handlers that never return are joined by others within a tenth of a second."""
        pool = Pool(maximum=2500)
        pool.run(0.15, per_thread=0, ceiling=0, cpu_share=0.1)
        assert pool.threads >= 2000

    def test_the_first_look_only_remembers(self) -> None:
        """Nothing is decided before there is something to compare with."""
        assert Growth(100).look(Sample(0.0, 0, 0.0), 1) == 0

    def test_never_above_the_maximum(self) -> None:
        """The configured number of threads is a bound, also when everybody waits."""
        pool = Pool(maximum=7)
        pool.run(5, per_thread=0, ceiling=0, cpu_share=0)
        assert pool.threads == 7

    def test_short_waits_are_found_by_trial(self) -> None:
        """Handlers that wait 2 ms always take something, yet the pool grows as it must."""
        pool = Pool()
        pool.run(4, per_thread=450, ceiling=9000, cpu_share=0.5)
        assert min(pool.threads * 450, 9000) >= 7000

    def test_handlers_that_burn_cpu_stay_few(self) -> None:
        """Threads that bring nothing are taken back, and the next trial comes later."""
        pool = Pool()
        pool.run(20, per_thread=500, ceiling=500, cpu_share=1.0)
        assert pool.threads <= 2
        tries = [at for at, threads in pool.changes if threads == 2]
        gaps = [later - sooner for sooner, later in itertools.pairwise(tries)]
        assert gaps == sorted(gaps)
        assert gaps[-1] >= 2.5

    def test_nothing_taken_under_full_load_is_not_waiting(self) -> None:
        """One handler that computes for a second does not fill the pool with threads."""
        pool = Pool()
        pool.run(0.09, per_thread=0, ceiling=0, cpu_share=1.0)
        assert pool.threads == 1

    def test_rest_forgets_a_trial(self) -> None:
        """An idle thread ends a trial: what it added is not taken back, the idle time-out does."""
        growth = Growth(100)
        for look in range(30):
            growth.look(Sample(look * LOOK_INTERVAL, look * 10, look * LOOK_INTERVAL), 1)
        growth.rest()
        changes = [
            growth.look(Sample(1 + look * LOOK_INTERVAL, 300 + look, 1.0), 2) for look in range(20)
        ]
        assert min(changes) >= 0

    def test_threads_too_many_are_taken_back(self) -> None:
        """Threads that came in a moment of waiting do not stay when the handlers only compute."""
        pool = Pool()
        pool.threads = 8
        pool.run(30, per_thread=500, ceiling=500, cpu_share=1.0)
        assert pool.threads <= 2

    def test_threads_that_are_needed_come_back(self) -> None:
        """A busy pool whose handlers also wait tries fewer threads, and undoes that."""
        pool = Pool()
        pool.run(30, per_thread=450, ceiling=9000, cpu_share=0.9)
        served = pool.accepted
        pool.run(10, per_thread=450, ceiling=9000, cpu_share=0.9)
        assert pool.accepted - served >= 0.93 * 10 * 9000

    def test_clients_that_are_only_arriving_prove_nothing(self) -> None:
        """A rate that rises by itself is not taken for the success of a trial."""
        pool = Pool()
        for tenth in range(1, 4):
            pool.run(0.1, per_thread=100 * tenth, ceiling=300, cpu_share=1.0)
        pool.run(5, per_thread=300, ceiling=300, cpu_share=1.0)
        assert pool.threads <= 2
