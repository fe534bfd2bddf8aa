"""A producer or a worker that goes on until it is told, and knows nothing of losses: any error ends it.

Usage: greenstalk_lasting.py put|work PORT

`put` puts each line of its input as a job, and repeats it when the server has it. `work` says of each
job that it holds it, deletes it, and says so; it ends with the job `end`.
"""

import sys

import greenstalk

ADDRESS = ("127.0.0.1", int(sys.argv[2]))


def put():
    with greenstalk.Client(ADDRESS, use="lasting") as queue:
        for line in sys.stdin:
            number = line.strip()
            queue.put(number)
            print(number, flush=True)


def work():
    with greenstalk.Client(ADDRESS, watch="lasting") as queue:
        while True:
            job = queue.reserve()
            if job.body == "end":
                return queue.delete(job)
            print("held", job.body, job.id, flush=True)
            queue.delete(job)
            print("deleted", job.body, job.id, flush=True)


{"put": put, "work": work}[sys.argv[1]]()
