"""The database refuses what one message needs: its sender is told, nobody receives it, and the messages around it, in
the same transactions, go their way in their order."""

import asyncio
import sqlite3

from server import PostgreSQL
from xmpp import Failure
from held_commit import log_in

COUNT, POISON = 400, 57   # every POISONth is refused
PATIENCE = 300

SQLITE = """create trigger poison before insert on record when new.stanza like '%poison%'
            begin select raise(abort, 'poison'); end"""
POSTGRESQL = """create function poison() returns trigger language plpgsql as $$begin
                if new.stanza like '%poison%' then raise exception 'poison'; end if; return new; end$$;
                create trigger poison before insert on record for each row execute function poison()"""


def is_poisoned(n):
    return n % POISON == POISON - 1


def poison(server):
    if server.conninfo:
        PostgreSQL.query(server.conninfo, POSTGRESQL)
        return
    with sqlite3.connect(server.store["path"], timeout=10) as db:
        db.execute(SQLITE)


async def play(server):
    juliet, romeo = await log_in(server, "refused-juliet"), await log_in(server, "refused-romeo")
    got, refused, changed = [], [], asyncio.Event()

    def on_stanza(e):
        if e.name != "message":
            return False
        error = e.find("jabber:client", "error")
        if error is None:
            got.append(int(e.get("id")))
        else:
            refused.append((int(e.get("id")), error.elements()[0].name))
        changed.set()
        return True

    romeo.on_stanza = juliet.on_stanza = on_stanza
    await asyncio.to_thread(poison, server)
    for n in range(COUNT):
        juliet.write("<message to='refused-romeo@verona.example' type='chat' id='%d'><body>%s %d</body></message>"
                     % (n, "poison" if is_poisoned(n) else "food", n))
        if n % 20 == 0:
            await asyncio.sleep(0.001)
    give_up = asyncio.get_running_loop().time() + PATIENCE
    while len(got) + len(refused) < COUNT:
        changed.clear()
        try:
            await asyncio.wait_for(changed.wait(), give_up - asyncio.get_running_loop().time())
        except asyncio.TimeoutError:
            raise Failure("%d delivered and %d refused of %d" % (len(got), len(refused), COUNT)) from None
    for c in (juliet, romeo):
        await c.close()
    if got != [n for n in range(COUNT) if not is_poisoned(n)]:
        raise Failure("delivered: %s" % got)
    if sorted(refused) != [(n, "internal-server-error") for n in range(COUNT) if is_poisoned(n)]:
        raise Failure("refused: %s" % refused)
    left = server.query("select (select count(*) from transit), (select count(*) from record)")[0]
    if [int(n) for n in left] != [0, len(got)]:
        raise Failure("in transit, and on record: %s" % left)
    return "%d delivered, %d refused" % (len(got), len(refused))
