"""The parts of the pipeline that all tickets of a process share."""

from storage.connection import Storage
from worker.engines import Engines
from worker.pipeline.engine_reports import EngineReports
from worker.pipeline.inputs import Inputs
from worker.pipeline.memory import Memory
from worker.pipeline.preparing import Preparing
from worker.pipeline.storing import Storing
from worker.pipeline.trials import Trials


class Workplace:
    """Shared by all drains of a process.

    `worker`: the name of this worker in leases and reports.
    """

    def __init__(self, storage: Storage, engines: Engines, worker: str) -> None:
        self.storage, self.engines, self.worker = storage, engines, worker
        memory = Memory(storage.settings.picture_bytes)
        self.preparing, self.storing = Preparing(storage, memory), Storing(storage, memory)
        self.reports, self.inputs = EngineReports(storage.jobs, engines, worker), Inputs(storage)
        self.trials = Trials(storage)
        self.finished_at = 0.0  # when the last micro-batch was finished, in monotonic seconds
