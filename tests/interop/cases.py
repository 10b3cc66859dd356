"""The transcripts that this program produces: a whole conversation in each suite, and records crafted by a dishonest client."""

import hashlib

import sordino as s
from transcript import format_words

PRELUDE = """\
sordino transcript 1
{title}
# Produced by tests/interop/replay.py, an implementation written from docs/PROTOCOL.md alone.

real client server
suite {suite}
"""


def seed(label, size):
    """Seeds that anybody can make again: SHAKE-256 of a label."""
    return hashlib.shake_256(b"sordino transcript: " + label.encode()).digest(size)


def settings(suite_number, title):
    """The settings of a file with both sides real and one static key, which the client holds already."""
    suite = s.SUITES[suite_number]
    n = str(suite_number)
    server_static = s.clamp(suite, seed(f"server static {n}", suite.xlen))
    values = [
        (["client", "device-key"], s.clamp(suite, seed(f"client device {n}", suite.xlen))),
        (["client", "random", "r"], seed(f"client r {n}", 32)),
        (["server", "root-key"], seed("server root", 32)),
        (["client", "server-key"], s.public(suite, server_static)),
        (["server", "static-key", n], server_static),
        (["server", "random", "r"], seed(f"server r {n}", 32)),
        (["server", "random", "connection-id"], seed(f"connection id {n}", 16)),
    ]
    lines = [format_words(words, value) for words, value in values]
    lines += ["client counter 1", "server counter 1", "server statement 1 1790000000", "server time 1790000000000"]
    return PRELUDE.format(title=title, suite=n) + "\n".join(lines) + "\n"


HANDSHAKE = """
connection
client start
server admit
"""
FIRST_CONTACT = HANDSHAKE.replace("client start", "client ask\nclient start")

LOGIN = """
# Alice logs in with her password.
at 100
client send AUTH
  method    02
  username  05 "alice"
  email     00
  password  1c "correct horse battery staple"
  invite    00
  code      00
  label     06 "laptop"
  zeros     00*462
server send AUTH_RESULT
  code         00
  retry-after  00000000
  device-id    0000000000000007
  pending      00000001
  username     05 "alice"
  zeros        00*101
"""

CHAT = """
# A direct message to bob, and its way back to the sender: accepted, then delivered.
at 200
client send SEND
  id      000102030405060708090a0b0c0d0e0f
  target  01 03 "bob"
  format  00
  body    000c "Hello, Bob.!"
server send ACCEPTED
  id      000102030405060708090a0b0c0d0e0f
  number  000000000000002a
  time    000001a0c4506cc8
server send DELIVERED
  id    000102030405060708090a0b0c0d0e0f
  time  000001a0c4506cfa

# Alice takes up to 16 messages at once, and gets the one that waited.
at 300
client send RECEIVE
  window  0010
server send DELIVER
  number  000000000000002b
  id      101112131415161718191a1b1c1d1e1f
  time    000001a0c4505c38
  sender  03 "bob"
  target  01 05 "alice"
  format  00
  total   0003
  offset  0000
  part    0003 "Hi!"
client send ACK
  number  000000000000002b

# A room: joining, seeing carol come, a message to it, a message in it, who is there, leaving.
at 400
client send JOIN
  tag   00000001
  room  05 "lobby"
server send DONE
  tag          00000001
  code         00
  retry-after  00000000
server send ROOM_EVENT
  event     01
  room      05 "lobby"
  username  05 "carol"
client send SEND
  id      202122232425262728292a2b2c2d2e2f
  target  02 05 "lobby"
  format  00
  body    000d "Hello, lobby!"
server send ACCEPTED
  id      202122232425262728292a2b2c2d2e2f
  number  000000000000002c
  time    000001a0c4506d90
server send DELIVER
  number  000000000000002d
  id      303132333435363738393a3b3c3d3e3f
  time    000001a0c4506d91
  sender  05 "carol"
  target  02 05 "lobby"
  format  00
  total   000c
  offset  0000
  part    000c "Hello, alice"
client send ACK
  number  000000000000002d
client send LIST_MEMBERS
  tag    00000002
  room   05 "lobby"
  after  00
server send USERS
  tag       00000002
  more      00
  count     0002
  username  05 "alice"
  online    01
  username  05 "carol"
  online    01
client send LEAVE
  tag   00000003
  room  05 "lobby"
server send DONE
  tag          00000003
  code         00
  retry-after  00000000

at 500
client close 1
"""


def conversation(suite_number):
    title = f"# Suite {suite_number}: first contact, login, a direct message, a room, and good-bye."
    return settings(suite_number, title) + FIRST_CONTACT + LOGIN + CHAT


# Inner plaintexts with the final byte, each wrong in one point.
CRAFTED = [
    ("the last byte is 02, not 01", "02 0008 1122334455667788 00*52 02"),
    ("padding that is not zero", "02 0008 1122334455667788 00*51 01 01"),
    ("a body length beyond the record", "02 003d 00*60 01"),
    ("a bucket larger than needed", "02 0008 1122334455667788 00*116 01"),
    ("a size that is no bucket: 80 bytes", "02 0008 1122334455667788 00*68 01"),
    ("an unknown type", "7f 0000 00*60 01"),
    ("a type of the other direction: NOTICE", "14 0006 00 0003 4f6821 00*54 01"),
    ("a type of the phase Ready: WHO", "36 0005 00000001 00 00*55 01"),
    ("a body that is too short: PING with 7 bytes", "02 0007 11223344556677 00*53 01"),
    ("a body that is too long: GET_POLICY with a byte", "12 0001 00 00*59 01"),
    ("AUTH of 507 bytes", "10 01fb 03 00*506 00 01"),
    ("AUTH with an unknown method", "10 01fc 09 00*507 01"),
    ("AUTH with a byte in its zeros", "10 01fc 03 00*506 01 01"),
]


def crafted(suite_number):
    title = f"# Suite {suite_number}: records with a right tag that are wrong inside."
    text = settings(suite_number, title)
    text += f"\nscene handshake{HANDSHAKE}done\n"
    for at, (what, inner) in enumerate(CRAFTED):
        text += "\nagain handshake\n" if at else "\n"
        text += f"# {what}\nclient craft\n  inner  {inner}\n"
    return text
