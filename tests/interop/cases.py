"""The transcripts that this program produces: a whole conversation in each suite, and records crafted by a dishonest client."""

import hashlib

import sordino as s
from transcript import format_bytes, format_words, parse_bytes

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
    return settings(suite_number, title) + FIRST_CONTACT + "at 100\n" + LOGIN + CHAT


BUNDLES = """
# Several messages in one record, in both directions; what the application sees is each by itself.
client send BUNDLE
  type    20
  length  0021
  id      505152535455565758595a5b5c5d5e5f
  target  01 03 "bob"
  format  00
  body    0009 "Hello Bob"
  type    20
  length  001d
  id      606162636465666768696a6b6c6d6e6f
  target  02 05 "lobby"
  format  00
  body    0003 "all"
  type    02
  length  0008
  token   1122334455667788
server send BUNDLE
  type    21
  length  0020
  id      505152535455565758595a5b5c5d5e5f
  number  000000000000002a
  time    000001a0c4506d90
  type    22
  length  0015
  id      606162636465666768696a6b6c6d6e6f
  code    02
  retry-after  00000000
  type    25
  length  0039
  number  000000000000002b
  id      303132333435363738393a3b3c3d3e3f
  time    000001a0c4506d91
  sender  05 "carol"
  target  01 05 "alice"
  format  00
  total   0005
  offset  0000
  part    0005 "Hello"
client send ACK
  number  000000000000002b
client close 1
"""


def bundles(suite_number):
    title = f"# Suite {suite_number}: both sides receive bundles."
    both = "client bundles\nserver bundles\n"
    return settings(suite_number, title) + both + HANDSHAKE + "at 100\n" + LOGIN + BUNDLES


def _bad_values(p, dhlen):
    """Public values outside of 1 < Y < p - 1."""
    values = {"0": 0, "1": 1, "p - 1": p - 1, "p": p, "p + 1": p + 1, "all ones": (1 << 8 * dhlen) - 1}
    return [(name, " ".join(format_bytes(s.u(value, dhlen)))) for name, value in values.items()]


def _bad_payloads(number_, own, other, rest):
    """Payloads with one field out of its limits, and two at the end that are unusual and right."""
    def payload(max_record="4000", capabilities="00000000", suites=f"{own} 00*7", rest=rest):
        return f"payload-{number_} {max_record} {capabilities} {suites} {rest}"

    low, high = sorted((own, other))
    return [
        ("max record 0", payload("0000")),
        ("max record 1000, no multiple of 1024", payload("03e8")),
        ("max record 17408, above the limit", payload("4400")),
        ("an empty suite list", payload(suites="00*8")),
        ("a suite list without the suite in use", payload(suites=f"{other} 00*7")),
        ("a suite list that falls", payload(suites=f"{high} {low} 00*6")),
        ("a suite list with a suite twice", payload(suites=f"{own} {own} 00*6")),
        ("a suite list with a gap", payload(suites=f"00 {own} 00*6")),
        ("right: unknown capabilities, reserved bytes and an unknown suite", payload("0400", "ffffffff", f"{own} 7f 00*6", rest.replace("00*", "ff*"))),
    ]


def dishonest_client(suite_number):
    """Handshakes by a client that knows the server's key and breaks one rule each time."""
    suite = s.SUITES[suite_number]
    own, other = f"{suite_number:02x}", f"{3 - suite_number:02x}"
    title = f"# Suite {suite_number}: handshakes with right gates and tags by a client that breaks one rule each time."
    text = settings(suite_number, title)
    crafts = [(f"e = {name}", f"e {value}") for name, value in _bad_values(suite.p, suite.dhlen)]
    crafts += _bad_payloads(1, own, other, "00*17")
    crafts += [(f"device key = {name}", f"device {value} 00*15") for name, value in _bad_values(suite.p, suite.dhlen)]
    device = s.public(suite, s.clamp(suite, seed(f"client device {suite_number}", suite.xlen))).hex()
    crafts.append(("a byte behind the device key that is not zero", f"device {device} 00*14 01"))
    for what, craft in crafts:
        # A value out of range is not even put before the server's limits.
        steps = "client start\n" if craft.startswith("e ") else "client start\nserver admit\n"
        text += f"\n# {what}\nconnection\nclient crafts {craft}\n{steps}client crafts nothing\n"
    return text


def dishonest_server(suite_number):
    """Key answers and handshakes by a server that breaks one rule each time."""
    suite = s.SUITES[suite_number]
    own, other = f"{suite_number:02x}", f"{3 - suite_number:02x}"
    title = f"# Suite {suite_number}: key answers and handshakes by a server that breaks one rule each time."
    text = settings(suite_number, title)
    static = s.public(suite, s.clamp(suite, seed(f"server static {suite_number}", suite.xlen)))
    ident = s.key_id(suite, static).hex()
    head = "00000001 000000006ab13b80"
    statements = [
        ("a statement of no suite", f"statement {head} 00 00*33"),
        ("a statement that counts more suites than it has", f"statement {head} 02 {own} {ident}"),
        ("a statement with a suite twice", f"statement {head} 02 {own} {ident} {own} {ident}"),
        ("a statement with falling suites", f"statement {head} 02 7f {ident} {own} {ident}"),
        ("a statement without the wanted suite", f"statement {head} 01 {other} {ident}"),
        ("a statement with another key for the suite", f"statement {head} 01 {own} 00*32"),
        ("a statement that is one byte longer than its suites", f"statement {head} 01 {own} {ident} 00"),
    ]
    bad = _bad_values(suite.p, suite.dhlen) + [("no square modulo p", " ".join(format_bytes(s.u(suite.p - 4, suite.dhlen))))]
    for what, craft in statements:
        text += f"\n# {what}\nconnection\nserver crafts {craft}\nclient ask\nserver crafts nothing\n"
    for what, value in bad:
        named = f"statement {head} 01 {own} {s.key_id(suite, parse_bytes(value)).hex()}"
        text += f"\n# static key: {what}\nconnection\nserver crafts {named}\nserver crafts static {value}\n"
        text += "client ask\nserver crafts nothing\n"
    crafts = [(f"e = {name}", f"e {value}") for name, value in _bad_values(suite.p, suite.dhlen)]
    crafts += _bad_payloads(2, own, other, "11*16 000001a0c4506c00 00*9")
    for what, craft in crafts:
        text += f"\n# {what}\nconnection\nserver crafts {craft}\nclient start\nserver admit\nserver crafts nothing\n"
    return text


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
    ("AUTH with a username that isn't UTF-8", "10 01fc 02 01 ff 00*505 01"),
    ("AUTH with a username of 33 bytes", "10 01fc 02 21 61*33 00*473 01"),
    ("right: CLOSE with an unknown reason", "01 0009 63 0000000000000000 00*51 01"),
    ("a CLOSE without the count: never answered", "01 0001 01 00*59 01"),
]


# The same after the login.
CRAFTED_READY = [
    ("SEND to a target of kind 3", "20 001a 11*16 03 03 626f62 00 0002 4869 00*34 01"),
    ("SEND to a name that is none", "20 001a 11*16 01 03 426f62 00 0002 4869 00*34 01"),
    ("SEND to a user with a name of 2 characters", "20 0019 11*16 01 02 626f 00 0002 4869 00*35 01"),
    ("SEND whose body ends early", "20 001a 11*16 01 03 626f62 00 0003 4869 00*34 01"),
    ("RECEIVE with a window of 257", "24 0002 0101 00*58 01"),
    ("JOIN of a room without a name", "30 0005 00000001 00 00*55 01"),
    ("AUTH in the phase Ready", "10 01fc 03 00*507 01"),
]


# Records of a dishonest server, before and after the login.
CRAFTED_SERVER = [
    ("the last byte is 00", "02 0008 1122334455667788 00*52 00"),
    ("padding that is not zero", "02 0008 1122334455667788 01 00*51 01"),
    ("AUTH, which only clients send", "10 01fc 03 00*507 01"),
    ("ACCEPTED in the phase Login", "21 0020 11*16 00*16 00*28 01"),
    ("AUTH_RESULT that nobody asked for", "11 007c 01 00*123 01"),
    ("NOTICE of level 2", "14 0005 02 0002 4869 00*55 01"),
    ("NOTICE of 513 bytes", "14 0204 00 0201 61*513 00*504 01"),
    ("NOTICE whose text isn't UTF-8", "14 0005 00 0002 c328 00*55 01"),
    ("POLICY with a registration of 2", "13 000c 02 03 20 08 02 3c00 00 0000 0000 00*48 01"),
    ("POLICY that counts more domains than it has", "13 000c 01 03 20 08 02 3c00 00 0000 0001 00*48 01"),
]
CRAFTED_SERVER_READY = [
    ("REFUSED with code 0", "22 0015 11*16 00 00000000 00*39 01"),
    ("DONE with code 12", "32 0009 00000001 0c 00000000 00*51 01"),
    ("DELIVER with a part beyond the total", "25 0032 00*7 01 11*16 00*8 03626f62 01 03626f62 00 0001 0000 0002 4869 00*10 01"),
    ("ROOMS with a boolean of 2", "34 000c 00000001 00 0001 01 61 0001 02 00*48 01"),
    ("USERS with a name in upper case", "37 000c 00000001 00 0001 03 426f62 01 00*48 01"),
    ("ROOM_EVENT 3", "38 0007 03 01 61 03 626f62 00*53 01"),
    ("AUTH_RESULT in the phase Ready", "11 007c 01 00*123 01"),
]


# Bundles that are wrong inside, to a side that receives them.
PING = "02 0008 1122334455667788"
CRAFTED_BUNDLES = [
    ("an empty bundle", "04 0000 00*60 01"),
    ("a bundle that ends within a head", "04 0002 0200 00*58 01"),
    ("a message longer than the rest of the bundle", "04 000a 02 0008 11223344556677 00*50 01"),
    ("a CLOSE in a bundle: answered, since that has a record of its own", "04 000c 01 0009 01 00*8 00*48 01"),
    ("a bundle in a bundle", f"04 000e 04 000b {PING} 00*46 01"),
]
CRAFTED_BUNDLES_CLIENT = [
    ("a WHO, which is taken, and a byte behind it", "04 0009 36 0005 00000001 00 02 00*51 01"),
    ("a WHO, which is taken, and an unknown type", "04 000b 36 0005 00000001 00 7f 0000 00*49 01"),
    ("a type of the other direction in a bundle: NOTICE", "04 0009 14 0006 00 0003 4f6821 00*51 01"),
    ("AUTH in a bundle", "04 01ff 10 01fc 03 00*507 00*509 01"),
    ("WHO with a byte too many in a bundle", "04 0009 36 0006 00000001 00 00 00*51 01"),
    ("right: a bundle of one WHO", "04 0008 36 0005 00000001 00 00*52 01"),
]
CRAFTED_BUNDLES_SERVER = [
    ("a NOTICE, which is taken, and a byte behind it", "04 000a 14 0006 00 0003 4f6821 02 00*50 01"),
    ("a NOTICE, which is taken, and an unknown type", "04 000c 14 0006 00 0003 4f6821 7f 0000 00*48 01"),
    ("a type of the other direction in a bundle: WHO", "04 0008 36 0005 00000001 00 00*52 01"),
    ("AUTH_RESULT in a bundle", "04 007f 11 007c 01 00*123 00*125 01"),
    ("right: ACCEPTED and DELIVERED", "04 003e 21 0020 11*16 00*16 23 0018 11*16 00*8 00*62 01"),
]


def crafted(suite_number):
    title = f"# Suite {suite_number}: records of a client with a right tag that are wrong inside."
    text = settings(suite_number, title)
    text += _crafted_scenes("client", f"scene handshake{HANDSHAKE}done\n", "handshake", CRAFTED)
    text += _crafted_scenes("client", f"scene login{HANDSHAKE}{LOGIN}done\n", "login", CRAFTED_READY)
    return text + _crafted_bundles("client", "server", CRAFTED_BUNDLES_CLIENT)


def crafted_server(suite_number):
    title = f"# Suite {suite_number}: records of a server with a right tag that are wrong inside."
    text = settings(suite_number, title)
    text += _crafted_scenes("server", f"scene handshake{HANDSHAKE}done\n", "handshake", CRAFTED_SERVER)
    text += _crafted_scenes("server", f"scene login{HANDSHAKE}{LOGIN}done\n", "login", CRAFTED_SERVER_READY)
    return text + _crafted_bundles("server", "client", CRAFTED_BUNDLES_SERVER)


def _crafted_bundles(side, receiver, crafts):
    one = f"04 000b {PING} 00*49 01"
    text = _crafted_scenes(side, "again login\n", "login", [("a bundle that was not announced", one)])
    text += f"\n{receiver} bundles"
    text += _crafted_scenes(side, f"scene early{HANDSHAKE}done\n", "early", [("a bundle in the phase Login", one)])
    return text + _crafted_scenes(side, f"scene ready{HANDSHAKE}{LOGIN}done\n", "ready", CRAFTED_BUNDLES + crafts)


def _crafted_scenes(side, scene, name, crafts):
    text = "\n" + scene
    for at, (what, inner) in enumerate(crafts):
        text += f"\nagain {name}\n" if at else "\n"
        text += f"# {what}\n{side} craft\n  inner  {inner}\n"
    return text


def all_cases():
    """(file name, script, the one side to keep or None) of everything that is produced."""
    for n in (1, 2):
        yield f"python-suite{n}.txt", conversation(n), None
        yield f"python-bundles-suite{n}.txt", bundles(n), None
        yield f"python-crafted-client-suite{n}.txt", crafted(n), "server"
        yield f"python-crafted-server-suite{n}.txt", crafted_server(n), "client"
        yield f"python-dishonest-client-suite{n}.txt", dishonest_client(n), "server"
        yield f"python-dishonest-server-suite{n}.txt", dishonest_server(n), "client"
