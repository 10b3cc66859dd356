"""Plays a transcript against the endpoints of endpoint.py, and records new ones."""

import hashlib
from textwrap import shorten

import sordino as s
from endpoint import Client, Server
from transcript import Statement, parse_bytes

SIDES = ("client", "server")
WIRE = {"c->s": ("client", "server"), "s->c": ("server", "client")}
WIRE_OF = {sender: wire for wire, (sender, _) in WIRE.items()}


class Mismatch(Exception):
    """The endpoints did something else than the transcript says."""


class Config:
    """The settings of one side; see the README beside the transcripts for each."""

    def __init__(self):
        self.suite, self.max_record, self.suites, self.counter = 1, 16384, None, 0
        self.long_lived, self.randoms, self.used = {}, [], True
        self.pin = self.fingerprint = self.server_key = None
        self.floor = self.version = self.date = self.unix_time = 0
        self.root = bytes(32)
        self.bundles = False
        self.left, self.crafted = [], {}

    def add_random(self, name, data):
        if self.used:
            self.randoms, self.used = [], False
        self.randoms.append((name, data))

    def connection(self):
        self.left, self.used = list(self.randoms), True

    def draw(self, name):
        if not self.left or self.left[0][0] != name:
            raise Mismatch(f"draw of {name}, next in the file: {self.left[:1]}")
        return self.left.pop(0)[1]

    def key_ids(self):
        return {n: s.key_id(s.SUITES[n], s.public(s.SUITES[n], x)) for n, x in self.long_lived.items()}


class Player:
    """`only`: the sides to play among the real ones; `chunk`: bytes handed over at once, 0 for all."""

    def __init__(self, only=SIDES, chunk=0):
        self.only, self.chunk = only, chunk
        self.config = {side: Config() for side in SIDES}
        self.real, self.now = [], 0
        self.ends, self.told, self.altered = {}, set(), {}
        self.digest = None

    # --- settings

    def set(self, statement):
        """Applies a setting; false if the statement is none."""
        words = statement.words
        if words[0] == "real":
            self.real = [side for side in words[1:] if side in self.only]
        elif words[0] == "suite":
            self.config["client"].suite = int(words[1])
        elif words[0] in SIDES and len(words) > 1:
            setter = getattr(self, "_set_" + words[1].replace("-", "_"), None)
            if setter is None:
                return False
            setter(self.config[words[0]], statement)
        else:
            return False
        return True

    def _set_device_key(self, config, statement):
        config.long_lived[config.suite] = statement.bytes_from(2)

    def _set_static_key(self, config, statement):
        if statement.words[3] == "none":
            del config.long_lived[int(statement.words[2])]
        else:
            config.long_lived[int(statement.words[2])] = statement.bytes_from(3)

    def _set_suites(self, config, statement):
        config.suites = [int(word) for word in statement.words[2:]]

    def _set_max_record(self, config, statement):
        config.max_record = int(statement.words[2])

    def _set_bundles(self, config, statement):
        config.bundles = True

    def _set_counter(self, config, statement):
        config.counter = int(statement.words[2])

    def _set_random(self, config, statement):
        config.add_random(statement.words[2], statement.bytes_from(3))

    def _set_trust(self, config, statement):
        config.pin = config.fingerprint = None
        if statement.words[2] == "fingerprint":
            config.fingerprint = statement.bytes_from(3)
        elif statement.words[2] == "pin":
            ids = {n: statement.get(f"suite-{n}") for n in range(1, 9) if statement.get(f"suite-{n}")}
            config.pin = s.Pin(statement.get("root"), s.number(statement.get("version")), ids)

    def _set_crafts(self, config, statement):
        """Only for a dishonest side that is not kept in the file: what it seals in place of a payload."""
        if statement.words[2] == "nothing":
            config.crafted = {}
        else:
            config.crafted[statement.words[2]] = statement.bytes_from(3)

    def _set_floor(self, config, statement):
        config.floor = int(statement.words[2])

    def _set_server_key(self, config, statement):
        config.server_key = statement.bytes_from(2)

    def _set_root_key(self, config, statement):
        config.root = statement.bytes_from(2)

    def _set_statement(self, config, statement):
        config.version, config.date = int(statement.words[2]), int(statement.words[3])

    def _set_time(self, config, statement):
        config.unix_time = int(statement.words[2])

    # --- what applications and network do

    def act(self, statement):
        """Does an action; false if the statement is none. Actions of sides that aren't real are skipped."""
        words = statement.words
        if words[0] == "connection":
            self._connection()
        elif words[0] == "at":
            self.now = int(words[1])
            for end in self.ends.values():
                end.tick(self.now)
        elif words[0] in WIRE and words[1] == "altered":
            self.altered.setdefault(words[0], []).append(words[2:])
        elif words[0] in WIRE and words[1] == "end":
            receiver = self.ends.get(WIRE[words[0]][1])
            if receiver:
                receiver.end_of_stream()
        elif words[0] in SIDES and words[1] in ("ask", "start", "admit", "refuse", "send", "close", "craft"):
            self._application(statement)
        else:
            return False
        return True

    def _connection(self):
        self.finish()
        for config in self.config.values():
            config.connection()
        self.config["client"].suites = self.config["client"].suites or [self.config["client"].suite]
        classes = {"client": Client, "server": Server}
        self.ends = {side: classes[side](self.config[side], self.now) for side in self.real}
        self.told, self.altered = set(), {}

    def _application(self, statement):
        end = self.ends.get(statement.words[0])
        if end is None:
            return
        verb, args = statement.words[1], statement.words[2:]
        if verb in ("admit", "refuse") and not end.waiting:
            raise Mismatch("nobody waits for an answer")
        if verb == "send":
            end.send(args[0], statement.fields)
        elif verb == "craft":
            end.craft(statement.data())
        elif verb in ("close", "refuse"):
            getattr(end, verb)(int(args[0]))
        else:
            getattr(end, verb)()

    def deliver(self, wire, data):
        """Carries a block to its receiver, altered on the way if the transcript says so."""
        copies = 1
        for what, *args in self.altered.pop(wire, []):
            if what == "xor":
                at, mask = int(args[0]), parse_bytes(" ".join(args[1:]))
                mixed = bytes(a ^ b for a, b in zip(data[at:], mask))
                data = data[:at] + mixed + data[at + len(mask) :]
            elif what == "set":
                at, new = int(args[0]), parse_bytes(" ".join(args[1:]))
                data = data[:at] + new + data[at + len(new) :]
            elif what == "keep":
                data = data[: int(args[0])]
            else:
                copies = {"drop": 0, "twice": 2}[what]
        receiver = self.ends.get(WIRE[wire][1])
        if receiver is None:
            return
        data *= copies
        step = self.chunk or len(data)
        for start in range(0, len(data), step or 1):
            receiver.receive(data[start : start + step])

    # --- checks

    def play(self, statements):
        statements, at = expand_scenes(statements), 0
        while at < len(statements):
            at = self._play_one(statements, at)
        self.finish()

    def _play_one(self, statements, at):
        statement = statements[at]
        if not statement.words:
            return at + 1
        try:
            if statement.words[0] == "repeat":
                return self._play_repeat(statements, at)
            if not (self.set(statement) or self.act(statement) or self._expect(statement)):
                raise Mismatch("unknown statement")
        except (Mismatch, KeyError, IndexError, ValueError, AttributeError) as error:
            raise Mismatch(f"line {statement.line}: {' '.join(statement.words)}: {error!r}") from error
        return at + 1

    def _play_repeat(self, statements, at):
        stop = block_end(statements, at)
        self.digest = {wire: hashlib.sha256() for wire in WIRE}
        for _ in range(int(statements[at].words[1])):
            for i in range(at + 1, stop):
                self._play_one(statements, i)
        for wire, digest in self.digest.items():
            if statements[stop].get(wire) != digest.digest():
                raise Mismatch(f"line {statements[stop].line}: other bytes {wire} than recorded")
        self.digest = None
        return stop + 1

    def _expect(self, statement):
        words = statement.words
        if words[0] in WIRE:
            self._expect_block(statement)
        elif words[1] == "event":
            self._expect_event(statement)
        elif words[1] == "ends":
            self._expect_end(statement)
        else:
            return False
        return True

    def _expect_block(self, statement):
        wire = statement.words[0]
        sender = self.ends.get(WIRE[wire][0])
        data = statement.data()
        if sender is not None:
            if not sender.out:
                raise Mismatch("nothing was sent")
            block = sender.out.pop(0)
            if self.digest is not None:
                data = block.data()
            elif block.data() != data:
                raise Mismatch(f"sent instead: {block.name} {block.data().hex()}")
            for name, value in statement.fields:
                if name.startswith("(") and block.plain and (name[1:-1], value) != block.plain:
                    raise Mismatch(f"encrypted is {block.plain[1].hex()}")
        if self.digest is not None:
            self.digest[wire].update(data)
        self.deliver(wire, data)

    def _expect_event(self, statement):
        end = self.ends.get(statement.words[0])
        if end is None:
            return
        if not end.events:
            raise Mismatch(f"no event; ended: {end.ended}")
        name, parts = end.events.pop(0)
        if name != statement.words[2] or b"".join(value for _, value in parts) != statement.data():
            raise Mismatch(f"event instead: {name} {parts}")

    def _expect_end(self, statement):
        side = statement.words[0]
        if side in self.ends:
            if self.ends[side].ended != " ".join(statement.words[2:]):
                raise Mismatch(f"ended instead: {self.ends[side].ended}")
            self.told.add(side)

    def finish(self):
        """At the end of a connection nothing may be left over."""
        for side, end in self.ends.items():
            if end.out or end.events or (end.ended and side not in self.told):
                left = [block.name for block in end.out], end.events, end.ended
                raise Mismatch(f"left over at the {side}: {left}")
            if self.config[side].left and end.established_at is not None:
                raise Mismatch(f"random bytes left over at the {side}")


def block_end(statements, at):
    """Where the `done` of a `scene` or `repeat` stands."""
    return next(i for i in range(at, len(statements)) if statements[i].words[:1] == ["done"])


def expand_scenes(statements):
    """Puts the steps of scenes in place of `scene` and `again`."""
    out, at, scenes = [], 0, {}
    while at < len(statements):
        words = statements[at].words
        if words[:1] == ["scene"]:
            stop = block_end(statements, at)
            scenes[words[1]] = statements[at + 1 : stop]
            out += scenes[words[1]]
            at = stop
        elif words[:1] == ["again"]:
            out += scenes[words[1]]
        else:
            out.append(statements[at])
        at += 1
    return out


def _must_be_same(head, now, first):
    if [(made.words, made.fields) for made in now] != [(made.words, made.fields) for made in first]:
        raise Mismatch(f"line {head.line}: {' '.join(head.words)}: not the same steps as the first time")


class Recorder(Player):
    """Plays only what applications and network do, and writes down all the rest."""

    def record(self, statements):
        out, at, scenes = [], 0, {}
        while at < len(statements):
            words = statements[at].words[:1]
            stop = block_end(statements, at) if words in (["repeat"], ["scene"]) else at
            body = statements[at + 1 : stop]
            if words == ["repeat"]:
                out += self._record_repeat(statements[at], body)
            elif words == ["scene"]:
                made = self._record_all(body)
                scenes[statements[at].words[1]] = body, made
                out += [statements[at], *made, statements[stop]]
            elif words == ["again"]:
                body, made = scenes[statements[at].words[1]]
                _must_be_same(statements[at], self._record_all(body), made)
                out.append(statements[at])
            else:
                out += self._record_one(statements[at])
            at = stop + 1
        self.finish()
        return out

    def _record_all(self, script):
        return [made for statement in script for made in self._record_one(statement)]

    def _record_one(self, statement):
        words = statement.words
        if words and self._follows(words):
            return []
        out = [statement]
        if words and not self.set(statement) and not self.act(statement):
            self._expect(statement)
        return out + self._pump()

    def _follows(self, words):
        """Whether the statement states what a real side does, which is recorded anew."""
        if words[0] in WIRE:
            return WIRE[words[0]][0] in self.real and words[1] not in ("end", "altered")
        return words[0] in self.real and words[1] in ("event", "ends")

    def _record_repeat(self, head, script):
        self.digest = {wire: hashlib.sha256() for wire in WIRE}
        first = None
        for _ in range(int(head.words[1])):
            now = self._record_all(script)
            first = first or now
            _must_be_same(head, now, first)
        sums = [(wire, digest.digest()) for wire, digest in self.digest.items()]
        self.digest = None
        return [head, *first, Statement(["done"], sums)]

    def _pump(self):
        """Carries everything that the ends have to say until they are quiet."""
        out, busy = self._observe(), True
        while busy:
            busy = False
            for side, end in self.ends.items():
                while end.out:
                    busy = True
                    out.append(self._block(WIRE_OF[side], end.out.pop(0)))
                    out += self._observe()
        return out

    def _block(self, wire, block):
        data = block.data()
        self.deliver(wire, data)
        if self.digest is not None:
            self.digest[wire].update(data)
            return Statement([wire, "*"])
        plain = [(f"({block.plain[0]})", block.plain[1])] if block.plain else []
        return Statement([wire, *block.name.split()], block.parts + plain)

    def _observe(self):
        """Events and ends that came up."""
        out = []
        for side, end in self.ends.items():
            out += [Statement([side, "event", name], parts) for name, parts in end.events]
            end.events.clear()
            if end.ended and side not in self.told:
                self.told.add(side)
                out.append(Statement([side, "ends", *end.ended.split()]))
        return out


def one_sided(statements, side):
    """A recording reduced to what one side needs to be played: the other side's bytes stay, as given."""
    out = []
    for statement in statements:
        words = statement.words
        if words[:1] == ["real"]:
            out.append(Statement(["real", side]))
        elif words and words[0] in SIDES and words[0] != side:
            if words[1] in ("craft", "crafts") and words[-1] != "nothing":
                script = " ".join(line.strip() for line in statement.raw).removeprefix(f"{words[0]} {words[1]} ")
                comment = shorten(f"crafted by the {words[0]}: {script}", 118, placeholder=" and so on")
                out.append(Statement([], raw=["# " + comment]))
        else:
            out.append(statement)
    return out
