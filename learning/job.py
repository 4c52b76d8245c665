"""Does one training on a machine that has only this code, and the object store's address and credentials.

    segue train pets --elsewhere                  # prints the command for the run that it submits
    S3_URL=… S3_ACCESS_KEY=trainer S3_SECRET_KEY=… python -m learning.job run_0197…

The same command continues a run whose machine was lost. It needs neither Redis nor SQL; see docs/teach-it.md.
"""

import argparse
import logging
import os
import signal
import socket
import sys
import threading

from learning.runs import train
from learning.steps import Place
from learning.trainer import Trainer
from storage.connection import connect
from storage.problems import Unavailable
from storage.settings import Settings
from storage.training.runs import Kind, Status
from telemetry import logs

LATER = 75  # EX_TEMPFAIL of sysexits.h


def do(trainer: Trainer, run_id: str) -> int:
    """Start or continue the run. Returns the exit code.

    0: published; 1: the run failed or was cancelled; 2: not such a run; 75 (EX_TEMPFAIL): it can continue later.
    """
    storage = trainer.storage
    spec = storage.runs.spec(run_id)
    if spec is None or spec.kind is not Kind.TRAIN or not spec.elsewhere:
        print(f"{run_id} is not a training that was submitted with --elsewhere", file=sys.stderr)
        return 2
    trainer.remove_leftovers()
    (step,) = train.steps(Place(storage, trainer.folder / run_id), spec)
    if not step.done():
        trainer.do(spec, step, trainer.watch(spec, step, lease=None))
    outcome = storage.runs.outcome(run_id)
    if outcome is None:
        return LATER
    print(f"{run_id} {outcome.status}: {outcome.reason or outcome.result['candidate']}")
    return 0 if outcome.status is Status.SUCCEEDED else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="id of a run that was submitted with --elsewhere")
    options = parser.parse_args()
    settings, stopping = Settings(), threading.Event()
    logs.configure(settings.log_level, settings.log_format)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    trainer = Trainer(connect(settings), socket.gethostname(), settings.training_folder, stopping.is_set)
    try:
        code = do(trainer, options.run)
    except Unavailable as error:
        print(f"not available: {error}", file=sys.stderr)
        code = LATER
    logging.shutdown()
    sys.stdout.flush()
    # A training that was stopped leaves threads of TensorFlow, which abort an interpreter that waits for its end.
    os._exit(code)


if __name__ == "__main__":
    main()
