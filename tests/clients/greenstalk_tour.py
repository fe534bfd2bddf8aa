"""A tour of a server with greenstalk: every method of its client, binary bodies included.

Usage: greenstalk_tour.py PORT [MEMBERS]
"""

import sys

import greenstalk

ADDRESS = ("127.0.0.1", int(sys.argv[1]))
# How many members are behind the port: each counts for itself what it refuses.
MEMBERS = int(sys.argv[2]) if len(sys.argv) > 2 else 1
EVERY_BYTE = bytes(range(256)) + b"\r\n" + bytes(range(256))


def expect(error, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except error:
        return
    raise AssertionError(f"{call.__name__}{arguments} did not raise {error.__name__}")


def text_goes_round():
    with greenstalk.Client(ADDRESS) as queue:
        id = queue.put("grüße\r\n", priority=5, ttr=60)
        job = queue.reserve(timeout=0)
        assert (job.id, job.body) == (id, "grüße\r\n"), job
        queue.touch(job)
        queue.delete(job)
        expect(greenstalk.NotFoundError, queue.delete, job)
        expect(greenstalk.TimedOutError, queue.reserve, timeout=0)


def bytes_go_round():
    with greenstalk.Client(ADDRESS, encoding=None) as queue:
        for body in (b"", b"\r\n", b"\0", EVERY_BYTE, EVERY_BYTE * 120):
            id = queue.put(body)
            assert queue.peek(id).body == body
            job = queue.reserve()
            assert (job.id, job.body) == (id, body)
            queue.delete(job)
        expect(greenstalk.JobTooBigError, queue.put, b"x" * 65536)
        queue.delete(queue.put(b"x" * 65535))


def a_job_has_its_life():
    with greenstalk.Client(ADDRESS, use="life", watch="life") as queue:
        first = queue.put("first", priority=7, delay=1000)
        second = queue.put("second", priority=3)
        assert queue.peek_delayed().id == first
        assert queue.peek_ready().id == second
        expect(greenstalk.NotFoundError, queue.peek_buried)
        job = queue.reserve()
        assert job.id == second
        stats = queue.stats_job(job)
        assert (stats["state"], stats["tube"], stats["pri"]) == ("reserved", "life", 3), stats
        queue.bury(job, priority=9)
        assert queue.peek_buried().id == second
        assert queue.kick(10) == 1
        queue.kick_job(first)
        job = queue.reserve()
        assert job.id == first
        queue.release(job, priority=1, delay=1000)
        assert queue.stats_job(first)["state"] == "delayed"
        job = queue.reserve_job(first)
        expect(greenstalk.NotFoundError, queue.reserve_job, first)
        queue.release(job)
        stats = queue.stats_job(first)
        assert (stats["releases"], stats["kicks"], stats["reserves"]) == (2, 1, 2), stats
        stats = queue.stats_tube("life")
        assert (stats["name"], stats["current-jobs-ready"], stats["total-jobs"]) == ("life", 2, 2)
        queue.delete(first)
        queue.delete(second)


def tubes_are_used_watched_and_paused():
    with greenstalk.Client(ADDRESS) as queue:
        assert (queue.using(), queue.watching()) == ("default", ["default"])
        queue.use("one")
        assert queue.watch("two") == 2
        assert queue.ignore("default") == 1
        expect(greenstalk.NotIgnoredError, queue.ignore, "two")
        assert (queue.using(), queue.watching()) == ("one", ["two"])
        assert {"default", "one", "two"} <= set(queue.tubes())
        queue.use("two")
        queue.put("late")
        queue.pause_tube("two", 1000)
        expect(greenstalk.TimedOutError, queue.reserve, timeout=0)
        queue.pause_tube("two", 0)
        queue.delete(queue.reserve(timeout=10))
        expect(greenstalk.NotFoundError, queue.pause_tube, "nowhere", 1)


def deadlines_are_announced():
    with greenstalk.Client(ADDRESS, use="soon", watch="soon") as queue:
        job = queue.reserve_job(queue.put("hurry", ttr=1))
        expect(greenstalk.DeadlineSoonError, queue.reserve)
        queue.delete(job)


def the_server_tells_of_itself():
    with greenstalk.Client(ADDRESS) as queue:
        stats = queue.stats()
        refused = stats["cmd-put"] - stats["total-jobs"]
        assert refused == 1 or (MEMBERS > 1 and refused == 0), stats
        assert stats["current-jobs-ready"] == 0, stats
        assert len(stats) == 51, len(stats)


text_goes_round()
bytes_go_round()
a_job_has_its_life()
tubes_are_used_watched_and_paused()
deadlines_are_announced()
the_server_tells_of_itself()
