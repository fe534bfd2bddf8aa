"""Hands a socket over as systemd does: from descriptor 3 on, with LISTEN_PID and LISTEN_FDS.

Usage: activate.py tcp|unix|two|datagram DIRECTORY PROGRAM FLAGS...

The address of the first socket is written to DIRECTORY/note.
"""

import os
import socket
import sys

kind, directory, program = sys.argv[1:4]


def listening(family, address):
    made = socket.socket(family)
    made.bind(address)
    made.listen()
    return made


if kind == "unix":
    path = os.path.join(directory, "inherited")
    sockets = [listening(socket.AF_UNIX, path)]
    note = path
elif kind == "datagram":
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
    sockets[0].bind(("127.0.0.1", 0))
    note = ""
else:
    count = 2 if kind == "two" else 1
    sockets = [listening(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(count)]
    note = str(sockets[0].getsockname()[1])

unfinished = os.path.join(directory, "unfinished")
with open(unfinished, "w") as file:
    file.write(note)
os.rename(unfinished, os.path.join(directory, "note"))

# Out of the way first, so that no copy lands on a socket that is still to be copied.
copies = [os.dup(os.dup(os.dup(made.fileno()))) for made in sockets]
high = [os.dup2(copy, 100 + index) for index, copy in enumerate(copies)]
for index, copy in enumerate(high):
    os.dup2(copy, 3 + index, inheritable=True)
    os.close(copy)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(sockets))
os.execv(program, [program] + sys.argv[4:])
