"""The messages of sections 7 to 9: one table, and a reader that names the fields of a body.

The reader is strict: `fields` raises `BadForm` wherever section 7 wants CLOSE 4.
"""

import re
from dataclasses import dataclass

from sordino import C2S, S2C, number, u

LOGIN, READY = "Login", "Ready"
BOTH = (C2S, S2C)
ANY = (LOGIN, READY)


class BadForm(Exception):
    """A body of another form than section 7 gives it."""


@dataclass(frozen=True)
class Kind:
    number: int
    name: str
    directions: tuple
    phases: tuple
    layout: tuple
    size: int = 0  # bodies that are filled with zeros to one size


def _kind(number_, name, directions, phases, layout="", size=0):
    return Kind(number_, name, directions, phases, tuple(layout.split()), size)


# Layout: name:type, type one of a size in bytes, bool, str8, str16 (with <=N for a limit, ! for bytes
# that aren't text), user, room, target, listN(name:type,...) with a count of N bytes.
KINDS = [
    _kind(1, "CLOSE", BOTH, ANY, "reason:1 received:8"),
    _kind(2, "PING", BOTH, ANY, "token:8"),
    _kind(3, "PONG", BOTH, ANY, "token:8"),
    _kind(4, "BUNDLE", BOTH, (READY,)),
    _kind(
        16, "AUTH", (C2S,), (LOGIN,),
        "method:1 username:str8<=32 email:str8<=254 password:str8<=128 invite:str8<=32 code:str8<=8 label:str8<=32", 508,
    ),
    _kind(17, "AUTH_RESULT", (S2C,), (LOGIN,), "code:1 retry-after:4 device-id:8 pending:4 username:str8<=32", 124),
    _kind(18, "GET_POLICY", (C2S,), ANY),
    _kind(
        19, "POLICY", (S2C,), ANY,
        "registration:bool username-min:1 username-max:1 password-min:1 password-score:1 max-body:2 "
        "server-name:str8 rules:str16 domains:list2(domain:str8)",
    ),
    _kind(20, "NOTICE", (S2C,), ANY, "level:1 text:str16<=512"),
    _kind(21, "WELCOME", (S2C,), (READY,), "owner:user proof:32"),
    _kind(32, "SEND", (C2S,), (READY,), "id:16 target:target format:1 body:str16!"),
    _kind(33, "ACCEPTED", (S2C,), (READY,), "id:16 number:8 time:8"),
    _kind(34, "REFUSED", (S2C,), (READY,), "id:16 code:1 retry-after:4"),
    _kind(35, "DELIVERED", (S2C,), (READY,), "id:16 time:8"),
    _kind(36, "RECEIVE", (C2S,), (READY,), "window:2"),
    _kind(
        37, "DELIVER", (S2C,), (READY,),
        "number:8 id:16 time:8 sender:user target:target format:1 total:2 offset:2 part:str16!",
    ),
    _kind(38, "ACK", (C2S,), (READY,), "number:8"),
    _kind(48, "JOIN", (C2S,), (READY,), "tag:4 room:room"),
    _kind(49, "LEAVE", (C2S,), (READY,), "tag:4 room:room"),
    _kind(50, "DONE", (S2C,), (READY,), "tag:4 code:1 retry-after:4"),
    _kind(51, "LIST_ROOMS", (C2S,), (READY,), "tag:4 after:str8<=32"),
    _kind(52, "ROOMS", (S2C,), (READY,), "tag:4 more:bool rooms:list2(room:room,members:2,joined:bool)"),
    _kind(53, "LIST_MEMBERS", (C2S,), (READY,), "tag:4 room:room after:str8<=32"),
    _kind(54, "WHO", (C2S,), (READY,), "tag:4 after:str8<=32"),
    _kind(55, "USERS", (S2C,), (READY,), "tag:4 more:bool users:list2(username:user,online:bool)"),
    _kind(56, "ROOM_EVENT", (S2C,), (READY,), "event:1 room:room username:user"),
    _kind(64, "ENROL_BOARD", (C2S,), (READY,), "tag:4 board:user lookup:32 proof:32 lifetime:4"),
    _kind(65, "REVOKE_BOARD", (C2S,), (READY,), "tag:4 board:user"),
    _kind(66, "LIST_BOARDS", (C2S,), (READY,), "tag:4 after:str8<=32"),
    _kind(
        67, "BOARDS", (S2C,), (READY,),
        "tag:4 more:bool boards:list2(board:user,state:1,time:8,device:32,proof:32)",
    ),
]
BY_NUMBER = {kind.number: kind for kind in KINDS}
BY_NAME = {kind.name: kind for kind in KINDS}
# The numbers that the document lists, where it doesn't list all; anything else is of another form.
CODES = {
    ("AUTH", "method"): range(1, 5),
    ("AUTH_RESULT", "code"): range(11),
    ("NOTICE", "level"): range(2),
    ("REFUSED", "code"): range(1, 12),
    ("DONE", "code"): range(12),
    ("BOARDS", "state"): range(4),
    ("ROOM_EVENT", "event"): (1, 2),
}
NAME = re.compile(rb"[a-z0-9._-]*")


class _Reader:
    def __init__(self, body):
        self.body, self.at, self.parts = body, 0, []

    def take(self, size):
        if self.at + size > len(self.body):
            raise BadForm("too short")
        part = self.body[self.at : self.at + size]
        self.at += size
        return part

    def string(self, type_):
        opaque = type_.endswith("!")
        kind, _, limit = type_.rstrip("!").partition("<=")
        size = self.take(1 if kind == "str8" else 2)
        text = self.take(number(size))
        if limit and len(text) > int(limit):
            raise BadForm("too long")
        if not opaque:
            try:
                text.decode()
            except UnicodeDecodeError as error:
                raise BadForm("not UTF-8") from error
        return size + text

    def name(self, shortest):
        text = self.string("str8<=32")
        if len(text) <= shortest or not NAME.fullmatch(text[1:]):
            raise BadForm("not a name")
        return text

    def value(self, type_):
        if type_ in ("user", "room"):
            return self.name(3 if type_ == "user" else 1)
        if type_.isdigit():
            return self.take(int(type_))
        if type_ == "bool":
            part = self.take(1)
            if part[0] > 1:
                raise BadForm("a boolean is 0 or 1")
            return part
        if type_ == "target":
            kind = self.take(1)
            if kind[0] not in (1, 2):
                raise BadForm("kind of target")
            return kind + self.name(3 if kind[0] == 1 else 1)
        return self.string(type_)

    def field(self, name, type_):
        if not type_.startswith("list"):
            self.parts.append((name, self.value(type_)))
            return
        count = self.take(int(type_[4]))
        self.parts.append(("count", count))
        inner = [item.split(":") for item in type_[6:-1].split(",")]
        for _ in range(number(count)):
            for inner_name, inner_type in inner:
                self.parts.append((inner_name, self.value(inner_type)))


def unbundle(body):
    """The messages of a bundle, one after the other, as (number, body), or BadForm."""
    reader = _Reader(body)
    while True:
        kind = number(reader.take(1))
        if kind == BY_NAME["CLOSE"].number:
            raise BadForm("a CLOSE has a record of its own")
        yield kind, reader.take(number(reader.take(2)))
        if reader.at == len(body):
            return


def _bundled(body):
    for kind, inner in unbundle(body):
        if kind not in BY_NUMBER or BY_NUMBER[kind].name == "BUNDLE":
            raise BadForm("type")
        yield from (("type", u(kind, 1)), ("length", u(len(inner), 2)), *fields(BY_NUMBER[kind], inner))


def fields(kind, body):
    """The fields of a body as (name, bytes) in order, or BadForm."""
    if kind.name == "BUNDLE":
        return list(_bundled(body))
    reader = _Reader(body)
    for item in kind.layout:
        name, _, type_ = item.partition(":")
        reader.field(name, type_)
    for name, value in reader.parts:
        if (kind.name, name) in CODES and number(value) not in CODES[kind.name, name]:
            raise BadForm(name)
    _consistent(kind, dict(reader.parts), len(body))
    rest = body[reader.at :]
    if rest and (len(body) != kind.size or any(rest)):
        raise BadForm("bytes after the last field")
    if kind.size and len(body) != kind.size:
        raise BadForm("size")
    if rest:
        reader.parts.append(("zeros", rest))
    return reader.parts


def _consistent(kind, part, size):
    """Limits that concern values or several fields."""
    value = {name: number(data) for name, data in part.items() if len(data) <= 8}
    if kind.name == "RECEIVE" and value["window"] > 256:
        raise BadForm("window")
    if kind.name == "DELIVER":
        length = len(part["part"]) - 2
        if not 1 <= value["total"] <= 15360 or length == 0 or value["offset"] + length > value["total"]:
            raise BadForm("part")
    if kind.name == "AUTH_RESULT":
        empty = not (value["device-id"] or value["pending"]) and part["username"] == b"\0"
        if not empty if value["code"] else len(part["username"]) < 4 or not NAME.fullmatch(part["username"][1:]):
            raise BadForm("an account with a refusal, or none with a success")
        if value["retry-after"] and value["code"] not in (2, 9):
            raise BadForm("retry after")
    if kind.name in ("REFUSED", "DONE") and value["retry-after"] and value["code"] not in (4, 8):
        raise BadForm("retry after")
    if kind.name == "POLICY" and (value["password-score"] > 4 or size > 1020):
        raise BadForm("policy")


def encode(kind, parts):
    """A body from (name, bytes) in order, filled with zeros where the message has one size."""
    return b"".join(value for _, value in parts).ljust(kind.size, b"\0")
