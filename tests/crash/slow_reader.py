"""More waits for somebody than his connection takes at once, and he is slow, or stops reading and is gone: he is not cut
off, what was never written to him comes to his next session, and his other client does not wait for it."""

import asyncio

from xmpp import GROUPCHAT, Client, Failure

COUNT = 4000
BODY = "a" * 4000  # 16 MB in all: more than the write queue may hold, and more than the kernel's buffers
PATIENCE = 300


class Reader:
    def __init__(self, server, resource):
        self.client = Client("verona.example", "slow-romeo", "rosemary", ca=server.ca, port=server.port,
                             tls_port=server.tls_port, resource=resource, tls="direct", mechanism="SCRAM-SHA-1")
        self.client.on_stanza = self.on_stanza
        self.got, self.changed = [], asyncio.Event()

    def on_stanza(self, e):
        if e.name != "message":
            return False
        self.got.append(int(e.get("id")))
        self.changed.set()
        return True

    async def come(self, priority=0):
        await self.client.login()
        self.client.send("<presence><priority>%d</priority></presence>" % priority)

    async def wait_for(self, number, patience=PATIENCE):
        """Until that message has come."""
        while not self.got or self.got[-1] < number:
            self.changed.clear()
            if self.client.is_over:
                raise Failure("the connection ended after message %s" % self.got[-1:])
            try:
                await asyncio.wait_for(self.changed.wait(), patience)
            except asyncio.TimeoutError:
                raise Failure("message %d did not come; the last one was %s" % (number, self.got[-1:])) from None

    def check(self, first, end):
        if self.got != list(range(first, end)):
            wrong = next((i for i, n in enumerate(self.got) if n != first + i), len(self.got))
            raise Failure("%s came where %d was due" % (self.got[wrong:wrong + 3], first + wrong))


async def send(juliet, first, end):
    for n in range(first, end):
        juliet.write("<message to='slow-romeo@verona.example' type='chat' id='%d'><body>%s</body></message>" % (n, BODY))
        await juliet.writable.wait()
    await asyncio.wait_for(juliet.fence(GROUPCHAT, "slow-romeo@verona.example"), PATIENCE)


async def play(server):
    for name in ("slow-romeo", "slow-juliet"):
        server.add_account(name, "verona.example", "rosemary")
    juliet = Client("verona.example", "slow-juliet", "rosemary", ca=server.ca, port=server.port,
                    tls_port=server.tls_port, resource="r", tls="direct", mechanism="SCRAM-SHA-1")
    await juliet.login()

    # He is slow: all of it comes, in order.
    await send(juliet, 0, COUNT)
    slow = Reader(server, "slow")
    await slow.come()
    await slow.wait_for(0)
    slow.client.transport.pause_reading()
    await asyncio.sleep(1)
    slow.client.transport.resume_reading()
    await slow.wait_for(COUNT - 1)
    slow.check(0, COUNT)
    await slow.client.close()

    # He stops reading; what comes meanwhile reaches his other client.
    await send(juliet, COUNT, 2 * COUNT)
    stuck, desk, later = Reader(server, "stuck"), Reader(server, "desk"), Reader(server, "later")
    await stuck.come()
    await stuck.wait_for(COUNT)
    stuck.client.transport.pause_reading()
    await asyncio.sleep(7)
    await desk.come(priority=5)
    await send(juliet, 2 * COUNT, 2 * COUNT + 1)
    await desk.wait_for(2 * COUNT)
    # What the stuck one had in its queue comes back, and goes to the other.
    read = len(stuck.got)
    stuck.client.drop()
    await asyncio.wait_for(juliet.fence(GROUPCHAT, "slow-romeo@verona.example"), PATIENCE)
    await desk.client.close()
    await later.come()
    give_up = asyncio.get_running_loop().time() + PATIENCE
    while 2 * COUNT - 1 not in desk.got + later.got:  # the last that he had not read
        if asyncio.get_running_loop().time() > give_up:
            raise Failure("message %d did not come back: %s" % (2 * COUNT - 1, later.got[-1:]))
        await asyncio.sleep(0.05)
    seen = sorted(set(stuck.got) | set(desk.got) | set(later.got))
    lost = [n for n in range(COUNT, 2 * COUNT + 1) if n not in set(seen)]
    if lost != list(range(lost[0], lost[0] + len(lost))) if lost else False:
        raise Failure("messages are missing in the middle: %s ..." % lost[:20])
    if lost and lost[0] != COUNT + read:
        raise Failure("%d was read last, but %d is missing" % (COUNT + read - 1, lost[0]))
    for reader in (desk, later):
        if len(set(reader.got)) != len(reader.got):
            raise Failure("a message came twice in one session")
    await later.client.close()
    await juliet.close()
    return "%d messages of 4 kB to a slow reader; %d of %d were in a dead connection's kernel buffers" % (
        COUNT, len(lost), COUNT)
