"""Ctrl-C ends the command, whatever blocks it."""

import os
import signal
import socket
import sys
import threading
import time

from segue_client.commands.output import INTERRUPTED

GRACE_S = 1.5  # for the command to say what was done


def end_soon() -> None:
    """From now on the process ends GRACE_S after a Ctrl-C, even while a call (a name look-up, say) holds Python up."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, writer), daemon=True).start()


def _watch(reader: socket.socket, _kept_open: socket.socket) -> None:
    while reader.recv(1) != bytes([signal.SIGINT]):
        pass
    time.sleep(GRACE_S)
    os.write(sys.stderr.fileno(), b"stopped; the same command again goes on\n")
    os._exit(INTERRUPTED)


def end_now(code: int) -> None:
    """Without waiting for the threads that still send or fetch."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
