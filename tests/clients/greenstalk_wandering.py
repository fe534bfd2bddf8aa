"""A producer or a worker that goes on at another member by the recipe for greenstalk.

Usage: greenstalk_wandering.py put|work ADDRESS,..

`put` puts each line of its input as a job, and repeats it when a member has it. `work` says of each job
that it holds it, deletes it, and says so if the job was still there; it ends with the job `end`.
"""

import sys

import greenstalk
from recipes.greenstalk_members import Members

ADDRESSES = [address.split(":") for address in sys.argv[2].split(",")]


def put():
    members = Members(ADDRESSES, use="lasting")
    for line in sys.stdin:
        number = line.strip()
        members.put(number, key=number, ttr=5)
        print(number, flush=True)


def work():
    members = Members(ADDRESSES, watch="lasting")
    while (job := reserved(members)).body != "end":
        print("held", job.body, job.id, flush=True)
        if is_deleted(members, job):
            print("deleted", job.body, job.id, flush=True)
    members.run(lambda queue: queue.delete(job))


def reserved(members):
    while True:
        try:
            return members.run(lambda queue: queue.reserve(timeout=2))
        except greenstalk.TimedOutError:
            pass


def is_deleted(members, job):
    try:
        members.run(lambda queue: queue.delete(job))
        return True
    except greenstalk.NotFoundError:
        # The connection that held it is lost, or it was deleted and the reply was lost.
        return False


{"put": put, "work": work}[sys.argv[1]]()
