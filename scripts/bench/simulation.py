"""A discrete-event simulation (SimPy) of an image's way through Segue.

The way is: web process, object store, Redis, the queue, worker, Redis, web process, object store. It
spends CPU milliseconds that `make bench` measured on processes that have one core each; on one
machine they also share its cores. Nothing fails, networks and disks cost no time, and a worker's
micro-batch ends when its last image does.
"""

import statistics
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import simpy
from figures import Row, percentile

SLICE_MS = 5.0  # a process that needs a core for longer lets others in between
WARM_UP = 0.25  # of the images; they are left out of the figures
Steps = Generator[simpy.Event, simpy.Event, None]


@dataclass(frozen=True)
class Costs:
    """CPU milliseconds per image, by kind of process."""

    web: float
    workers: float
    s3: float
    redis: float
    housekeeper: float

    @classmethod
    def of(cls, row: Row) -> "Costs":
        return cls(**{kind: row.figures[f"cpu_ms.{kind}"] for kind in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Plant:
    """The processes. `cores`: they share one machine with so many; None: each has its own core.

    `shards`: Redis servers, each with one housekeeper; images are spread over them evenly.
    """

    workers: int
    webs: int = 1
    s3: int = 1
    shards: int = 1
    cores: int | None = None
    micro_batch: int = 16


@dataclass
class Processes:
    """The processes of one kind. Each does one thing at a time; an image goes to the next one in turn."""

    env: simpy.Environment
    count: int
    cores: simpy.Resource | None
    busy_ms: float = 0
    _members: list[simpy.Resource] = field(init=False)
    _next: int = 0

    def __post_init__(self) -> None:
        self._members = [simpy.Resource(self.env) for _ in range(self.count)]

    def spend(self, cpu_ms: float) -> Steps:
        self._next = (self._next + 1) % self.count
        return self.spend_on(self._next, cpu_ms)

    def spend_on(self, member: int, cpu_ms: float) -> Steps:
        while cpu_ms > 0:
            slice_ms = min(cpu_ms, SLICE_MS)
            with self._members[member].request() as turn:
                yield turn
                yield from self._on_a_core(slice_ms)
            self.busy_ms += slice_ms
            cpu_ms -= slice_ms

    def _on_a_core(self, cpu_ms: float) -> Steps:
        if self.cores is None:
            yield self.env.timeout(cpu_ms)
            return
        with self.cores.request() as core:
            yield core
            yield self.env.timeout(cpu_ms)


@dataclass(frozen=True)
class Prediction:
    """`used`: the share of its time for which each kind of process is busy."""

    images_per_s: float
    p50_ms: float
    p95_ms: float
    used: dict[str, float]

    @property
    def saturated(self) -> str:
        return max(self.used, key=self.used.__getitem__)


class Simulation:
    """`clients` that each send the next image once the last one has its mask, until `images` have one."""

    def __init__(self, costs: Costs, plant: Plant, clients: int, images: int) -> None:
        self._costs, self._plant = costs, plant
        self._env = simpy.Environment()
        cores = simpy.Resource(self._env, plant.cores) if plant.cores else None
        counts = {"web": plant.webs, "workers": plant.workers, "s3": plant.s3, "redis": plant.shards}
        counts["housekeeper"] = plant.shards
        self._kinds = {kind: Processes(self._env, count, cores) for kind, count in counts.items()}
        self._queue = simpy.Store(self._env)
        self._left = images
        self._waits_ms: list[float] = []
        self._ends_ms: list[float] = []
        self._clients, self._images = clients, images

    def run(self) -> Prediction:
        for worker in range(self._plant.workers):
            self._env.process(self._worker(worker))
        clients = [self._env.process(self._client()) for _ in range(self._clients)]
        self._env.run(until=self._env.all_of(clients))
        cold = int(len(self._ends_ms) * WARM_UP)
        took_s = (self._ends_ms[-1] - self._ends_ms[cold]) / 1000
        warm_ms = self._waits_ms[cold + 1 :]
        used = {kind: group.busy_ms / group.count / self._env.now for kind, group in self._kinds.items()}
        return Prediction(len(warm_ms) / took_s, statistics.median(warm_ms), percentile(warm_ms, 0.95), used)

    def _client(self) -> Steps:
        while self._left > 0:
            self._left -= 1
            began_ms = self._env.now
            ended = self._env.event()
            yield from self._halves("web", "s3", "redis")
            self._queue.put(ended)
            yield ended
            yield from self._halves("web", "s3")
            self._waits_ms.append(self._env.now - began_ms)
            self._ends_ms.append(self._env.now)

    def _halves(self, *kinds: str) -> Steps:
        """One of the two visits of an image to each of `kinds`."""
        for kind in kinds:
            yield from self._kinds[kind].spend(getattr(self._costs, kind) / 2)

    def _worker(self, number: int) -> Steps:
        while True:
            batch = [(yield self._queue.get())]
            while self._queue.items and len(batch) < self._plant.micro_batch:
                batch.append((yield self._queue.get()))
            yield from self._kinds["workers"].spend_on(number, self._costs.workers * len(batch))
            self._env.process(self._finish(batch))

    def _finish(self, batch: Sequence[simpy.Event]) -> Steps:
        for ended in batch:
            yield from self._kinds["redis"].spend(self._costs.redis / 2)
            ended.succeed()
            self._env.process(self._kinds["housekeeper"].spend(self._costs.housekeeper))
