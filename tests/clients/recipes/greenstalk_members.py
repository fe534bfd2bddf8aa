"""greenstalk over several members: goes on at the next one when the connection to one is lost.

What was held is not held any more then, and somebody gets the job again: workers have to bear that. A
put is made again, and its key keeps it from being a second job.
"""

import socket
import time

import greenstalk

CONNECT_SECONDS = 1
# Longer than any reserve waits. A frozen member is not noticed before.
READ_SECONDS = 5
# Between two members, when none takes connections.
PAUSE_SECONDS = 0.1


class Members:
    def __init__(self, addresses, **tubes):
        self.addresses, self.tubes, self.queue = list(addresses), tubes, None

    def run(self, work):
        """What `work` gives for a client.

        It is called again with others until a member has answered: it should do nothing but talk to
        its client.
        """
        while True:
            try:
                self.queue = self.queue or self.connected()
                return work(self.queue)
            # What greenstalk raises for a silence, an end, and an end in the middle of a line.
            except (OSError, AssertionError):
                self.leave()

    def put(self, body, key, **options):
        def put_with_key(queue):
            queue._send_cmd(b"key " + key.encode(), b"KEYED")
            return queue.put(body, **options)

        return self.run(put_with_key)

    def connected(self):
        connection = socket.create_connection(self.addresses[0], timeout=CONNECT_SECONDS)
        connection.settimeout(READ_SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return greenstalk.Client(connection, **self.tubes)

    def leave(self):
        if self.queue:
            self.queue.close()
        self.queue = None
        self.addresses.append(self.addresses.pop(0))
        time.sleep(PAUSE_SECONDS)
