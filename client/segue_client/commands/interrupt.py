"""Ctrl-C ends the command even while a call blocks."""

import os
import signal
import socket
import sys
import threading
import time

from segue_client.commands.output import INTERRUPTED

GRACE_S = 1.5  # time for the command to print its report


def end_soon() -> None:
    """From now on, end the process GRACE_S after a Ctrl-C, even while a call, such as a name lookup, blocks."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, writer), daemon=True).start()


def _watch(reader: socket.socket, _kept_open: socket.socket) -> None:
    while reader.recv(1) != bytes([signal.SIGINT]):
        pass
    time.sleep(GRACE_S)
    os.write(sys.stderr.fileno(), b"stopped; run the same command again to continue\n")
    os._exit(INTERRUPTED)


def end_now(code: int) -> None:
    """Exit without waiting for threads that still send or fetch."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
