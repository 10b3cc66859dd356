"""Both ends of a connection as state machines without sockets (PROTOCOL.md sections 5 to 11).

Bytes go in by `receive`, come out in `out`, one `Block` for each message; what the application would see is in `events` as (name, fields).
`ended` says how it came to an end, in the words of tests/transcripts/README.md.
"""

from dataclasses import dataclass

import sordino as s
from messages import BY_NAME, BY_NUMBER, LOGIN, READY, BadForm, encode, fields, unbundle

HANDSHAKE_MS, LOGIN_MS, LIFETIME_MS = 10_000, 60_000, 24 * 3600 * 1000
EXPIRED, PROTOCOL_ERROR, AUTH_FAILED, TIMEOUT = 2, 4, 5, 7
KNOWN_REASONS = range(1, 10)


@dataclass
class Block:
    """One message on its way: its name, its fields in order, and the plaintext that no event will show."""

    name: str
    parts: list
    plain: tuple = ()

    def data(self):
        return b"".join(value for _, value in self.parts)


class Endpoint:
    """What client and server share: buffers, the phases after the handshake, and the clock."""

    own_direction = peer_direction = 0
    ping_after, silence = 0, 0

    def __init__(self, config, now):
        self.config, self.suite = config, s.SUITES.get(config.suite)
        self.rx, self.out, self.events, self.ended = bytearray(), [], [], None
        self.state, self.symmetric, self.trace = "Start", None, []
        self.now = self.opened = self.heard = now
        self.established_at, self.pinged, self.received, self.denied = None, False, 0, 0
        self.max_record, self.logging_in = config.max_record, False
        self.peer_max_record, self.peer_bundles = 16384, False

    # --- input

    def receive(self, data):
        self.rx += data
        self._run()

    def _run(self):
        while self.ended is None and self._step():
            pass

    def end_of_stream(self):
        self._end("truncated")

    def _end(self, why):
        if self.ended is None:
            self.ended = why

    def _take(self, size):
        data = bytes(self.rx[:size])
        del self.rx[:size]
        return data

    def _step(self):
        """Takes one message from the input; false when it needs more bytes or an answer."""
        if self.established_at is not None:
            return self._step_record()
        try:
            return self._step_handshake()
        except s.Untrusted as error:
            self._end(f"untrusted {error}")
        except s.Failure:
            self._end("handshake")
        return False

    def _step_record(self):
        if len(self.rx) < 2:
            return False
        length = s.number(self.rx[:2])
        try:
            self.recv.check_length(length, self.max_record)
            if len(self.rx) < 2 + length:
                return False
            kind, body = self.recv.open(self._take(2 + length)[2:])
        except s.Failure:
            self._end("record")
            return False
        self.received += 1
        self.heard, self.pinged = self.now, False
        self._dispatch(kind, body)
        return True

    def _dispatch(self, number, body):
        kind = BY_NUMBER.get(number)
        if kind is None or self.peer_direction not in kind.directions or self.state not in kind.phases:
            return self.close(PROTOCOL_ERROR)
        if kind.name == "BUNDLE":
            return self._unbundle(body)
        try:
            parts = fields(kind, body)
        except BadForm:
            # A CLOSE is never answered.
            return self._end("closed 0") if kind.name == "CLOSE" else self.close(PROTOCOL_ERROR)
        if kind.name == "CLOSE":
            return self._end(f"closed {body[0] if body[0] in KNOWN_REASONS else 0}")
        if kind.name == "PING":
            return self._send_kind(BY_NAME["PONG"], body)
        if kind.name == "AUTH_RESULT" and not self._login_answered(body[0]):
            return self.close(PROTOCOL_ERROR)
        if kind.name != "PONG":
            self.events.append((kind.name, parts))

    def _unbundle(self, body):
        """Each message as if it had come by itself; one that isn't right ends the connection after those before it."""
        if not self.config.bundles:
            return self.close(PROTOCOL_ERROR)
        try:
            for number, inner in unbundle(body):
                if number == BY_NAME["BUNDLE"].number:
                    raise BadForm("a bundle in a bundle")
                self._dispatch(number, inner)
                if self.ended is not None:
                    return
        except BadForm:
            self.close(PROTOCOL_ERROR)

    def _login_answered(self, code):
        """Whether an AUTH was on its way; it no longer is."""
        asked, self.logging_in = self.logging_in, False
        if asked and code == 0:
            self.state = READY
        return asked

    # --- output

    def send(self, name, parts):
        kind = BY_NAME[name]
        body = encode(kind, parts)
        fields(kind, body)  # what is sent must have the form, too
        self._send_kind(kind, body)
        self.logging_in = name == "AUTH" or self.logging_in
        if name == "AUTH_RESULT" and body[0] == 0:
            self.state = READY
        elif name == "AUTH_RESULT":
            self.denied += 1
            if self.denied == 3:
                self.close(AUTH_FAILED)

    def _send_kind(self, kind, body):
        sequence = self.send_direction.sequence
        plain = ("plain", s.u(kind.number, 1) + s.u(len(body), 2) + body) if kind.number < 16 else ()
        self._emit_record(f"record {sequence} {kind.name}", self.send_direction.seal(kind.number, body), plain)

    def _emit_record(self, name, data, plain):
        end = len(data) - self.suite.tag
        self.out.append(Block(name, [("length", data[:2]), ("ciphertext", data[2:end]), ("tag", data[end:])], plain))

    def _emit(self, name, *parts, plain=()):
        self.out.append(Block(name, [part for part in parts if part[1]], plain))

    def craft(self, padded):
        """Seals an inner plaintext, with its last byte, that need not be right."""
        name = f"record {self.send_direction.sequence} crafted"
        self._emit_record(name, self.send_direction.seal_raw(padded), ("plain", padded))

    def close(self, reason):
        self._send_kind(BY_NAME["CLOSE"], s.u(reason, 1) + s.u(self.received, 8))
        self._end(f"closing {reason}")

    # --- clock

    def tick(self, now):
        """The clock stands at `now` ms; acts on what fell due (section 10)."""
        self.now = now
        if self.ended is not None:
            return
        if self.established_at is None:
            if now - self.opened >= HANDSHAKE_MS:
                self._end("timeout")
        elif now - self.established_at >= LIFETIME_MS:
            self.close(EXPIRED)
        elif self._login_is_late() or now - self.heard >= self.silence:
            self.close(TIMEOUT)
        elif now - self.heard >= self.ping_after and not self.pinged:
            self.pinged = True
            self._send_kind(BY_NAME["PING"], self.config.draw("token"))

    def _login_is_late(self):
        return False

    # --- handshake

    def _header(self):
        """The 8 bytes when they are there, magic checked."""
        if len(self.rx) < 8:
            return None
        head = bytes(self.rx[:8])
        if head[:2] != s.MAGIC:
            raise s.Failure("magic")
        return head

    def _expect(self, head, kind, length):
        if head[:6] != s.header(kind, self.suite.number, 0)[:6] or s.number(head[6:]) != length:
            raise s.Failure("header")

    def _plain(self, name, honest):
        """What stands encrypted in a handshake message; a dishonest side puts something else there."""
        return self.config.crafted.get(name, honest)

    def _ephemeral(self):
        return s.ephemeral(self.suite, self.config.draw("r"), self.config.long_lived[self.suite.number], self.config.counter)

    def _established(self):
        self.trace = self.symmetric.trace
        to_server, to_client = self.symmetric.split()
        self.trace += [("t_c, epoch 0 secret client to server", to_server), ("t_s, epoch 0 secret server to client", to_client)]
        secrets = {s.C2S: to_server, s.S2C: to_client}
        self.send_direction = s.Direction(self.suite, self.own_direction, secrets[self.own_direction])
        self.recv = s.Direction(self.suite, self.peer_direction, secrets[self.peer_direction])
        self.symmetric = None
        self.state, self.established_at, self.heard = LOGIN, self.now, self.now


class Client(Endpoint):
    own_direction, peer_direction = s.C2S, s.S2C
    ping_after, silence = 30_000, 90_000

    def __init__(self, config, now):
        super().__init__(config, now)
        self.static = config.server_key

    def ask(self):
        self._emit("key request", ("header", s.header(s.KEY_REQUEST, self.suite.number, 0)))
        self.state = "Asked"

    def start(self):
        suite, static = self.suite, self.static
        self.symmetric = s.Symmetric(suite, static)
        self.exponent = self._ephemeral()
        e = self._plain("e", s.public(suite, self.exponent))
        head = s.header(s.MESSAGE_1, suite.number, 16 + suite.dhlen + 32 + suite.tag)
        token = s.gate(suite, static, head, e)
        for part, what in ((head, "header 1"), (token, "the gate"), (e, "the client's e")):
            self.symmetric.mix_hash(part, what)
        self.symmetric.mix_key(s.dh(suite, self.exponent, static), "es")
        payload = s.u(self.max_record, 2) + s.u(self.config.bundles, 4) + s.suite_list(self.config.suites) + bytes(17)
        payload = self._plain("payload-1", payload)
        c1 = self.symmetric.encrypt_and_hash(payload, "c1")
        self._emit("message 1", ("header", head), ("gate", token), ("e", e), ("c1", c1), plain=("payload", payload))
        self.state = "Wait 2"

    def _step_handshake(self):
        head = self._header()
        if head is None or self.state not in ("Asked", "Wait 2"):
            return False
        length = s.number(head[6:])
        if head[3] == s.ERROR:
            if head[2] != s.VERSION or head[5] or length != 1:
                raise s.Failure("error header")
            return self._error()
        if self.state == "Asked":
            return self._key_answer(head, length)
        expected = self.suite.dhlen + 48 + self.suite.tag
        self._expect(head, s.MESSAGE_2, expected)
        if len(self.rx) < 8 + expected:
            return False
        self._message_2(self._take(8), self._take(expected))
        return True

    def _error(self):
        if len(self.rx) < 9:
            return False
        code = self._take(9)[8]
        if not 1 <= code <= 4:
            raise s.Failure("error code")
        self._end(f"refused {code}")
        return False

    def _key_answer(self, head, length):
        fixed = 98 + self.suite.dhlen
        self._expect(head, s.KEY_ANSWER, length)
        if not fixed + 46 <= length <= fixed + 277:
            raise s.Untrusted("form")
        if len(self.rx) < 8 + length:
            return False
        answer = s.KeyAnswer.parse(self.suite, self._take(8 + length)[8:])
        pin = answer.check(self.suite, self.config.pin, self.config.fingerprint, self.config.floor)
        self.config.pin, self.static = pin, answer.static
        self.state = "Keyed"
        self.events.append(("key", [("fingerprint", s.server_fingerprint(pin.root)), ("version", s.u(pin.version, 4))]))
        return True

    def _message_2(self, head, body):
        suite, symmetric = self.suite, self.symmetric
        e, c2 = body[: suite.dhlen], body[suite.dhlen :]
        s.check_range(suite, e)
        symmetric.mix_hash(head, "header 2")
        symmetric.mix_hash(e, "the server's e")
        symmetric.mix_key(s.dh(suite, self.exponent, e), "ee")
        payload = symmetric.decrypt_and_hash(c2, "c2")
        self.peer_max_record = s.check_max_record(s.number(payload[:2]))
        self.peer_bundles = payload[5] & 1 == 1
        s.check_suite_list(payload[6:14], self.config.suites, suite.number)
        self._message_3(e)
        self._established()
        self.events.append(("established", [("connection-id", payload[14:30]), ("server-time", payload[30:38])]))

    def _message_3(self, server_e):
        suite, symmetric = self.suite, self.symmetric
        device = self.config.long_lived[suite.number]
        head = s.header(s.MESSAGE_3, suite.number, suite.dhlen + 48 + 2 * suite.tag)
        symmetric.mix_hash(head, "header 3")
        cs = symmetric.encrypt_and_hash(self._plain("device", s.public(suite, device) + bytes(15)), "cs")
        symmetric.mix_key(s.dh(suite, device, server_e), "se")
        c3 = symmetric.encrypt_and_hash(bytes(31), "c3")
        self._emit("message 3", ("header", head), ("cs", cs), ("c3", c3), plain=("payload", bytes(31)))


class Server(Endpoint):
    own_direction, peer_direction = s.S2C, s.C2S
    ping_after, silence = 60_000, 150_000

    def __init__(self, config, now):
        super().__init__(config, now)
        self.suite, self.asked, self.waiting = None, 0, None

    def _refuse(self, code, suite_number):
        self._emit("error", ("header", s.header(s.ERROR, suite_number, 1)), ("code", s.u(code, 1)))
        self._end(f"refused {code}")
        return False

    def _step_handshake(self):
        head = self._header()
        if head is None or self.waiting:
            return False
        if self.state == "Wait 3":
            return self._wait_3(head)
        if head[2] != s.VERSION:
            return self._refuse(s.UNSUPPORTED_VERSION, head[4])
        if head[5] or head[3] not in (s.KEY_REQUEST, s.MESSAGE_1):
            raise s.Failure("header")
        if head[4] not in self.config.long_lived:
            return self._refuse(s.UNSUPPORTED_SUITE, head[4])
        self.suite = s.SUITES[head[4]]
        return self._key_request(head) if head[3] == s.KEY_REQUEST else self._gate(head)

    def _key_request(self, head):
        self._expect(head, s.KEY_REQUEST, 0)
        self._take(8)
        self.asked += 1
        if self.asked > 2:
            raise s.Failure("third key request")
        config = self.config
        statement = self._plain("statement", s.make_statement(config.version, config.date, config.key_ids()))
        static = self._plain("static", s.public(self.suite, config.long_lived[self.suite.number]))
        root, signature = s.root_public(config.root), s.sign_statement(config.root, statement)
        parts = [("root", root), ("size", s.u(len(statement), 2)), ("statement", statement)]
        parts += [("signature", signature), ("static", static)]
        length = sum(len(value) for _, value in parts)
        self._emit("key answer", ("header", s.header(s.KEY_ANSWER, self.suite.number, length)), *parts)
        return True

    def _gate(self, head):
        suite = self.suite
        length = 16 + suite.dhlen + 32 + suite.tag
        self._expect(head, s.MESSAGE_1, length)
        if len(self.rx) < 8 + length:
            return False
        body = self._take(8 + length)[8:]
        token, e, c1 = body[:16], body[16 : 16 + suite.dhlen], body[16 + suite.dhlen :]
        static = s.public(suite, self.config.long_lived[suite.number])
        if token != s.gate(suite, static, head, e):
            return self._refuse(s.UNKNOWN_KEY, suite.number)
        s.check_range(suite, e)
        self.waiting = (head, token, e, c1, static)
        self.events.append(("admit", []))
        return False

    def refuse(self, code):
        self._refuse(code, self.suite.number)

    def admit(self):
        """The server's limits let message 1 pass: goes on with it."""
        waiting, self.waiting = self.waiting, None
        try:
            self._message_1(*waiting)
        except s.Failure:
            self._end("handshake")
        self._run()

    def _message_1(self, head, token, e, c1, static):
        suite, config = self.suite, self.config
        self.symmetric = s.Symmetric(suite, static)
        for part, what in ((head, "header 1"), (token, "the gate"), (e, "the client's e")):
            self.symmetric.mix_hash(part, what)
        self.symmetric.mix_key(s.dh(suite, config.long_lived[suite.number], e), "es")
        payload = self.symmetric.decrypt_and_hash(c1, "c1")
        self.peer_max_record = s.check_max_record(s.number(payload[:2]))
        s.check_suite_list(payload[6:14], config.long_lived, suite.number)
        self._message_2(e)

    def _message_2(self, client_e):
        suite, symmetric = self.suite, self.symmetric
        self.exponent = self._ephemeral()
        e = self._plain("e", s.public(suite, self.exponent))
        head = s.header(s.MESSAGE_2, suite.number, suite.dhlen + 48 + suite.tag)
        symmetric.mix_hash(head, "header 2")
        symmetric.mix_hash(e, "the server's e")
        symmetric.mix_key(s.dh(suite, self.exponent, client_e), "ee")
        payload = s.u(self.max_record, 2) + s.u(self.config.bundles, 4) + s.suite_list(self.config.long_lived)
        payload += self.config.draw("connection-id") + s.u(self.config.unix_time + self.opened, 8) + bytes(9)
        payload = self._plain("payload-2", payload)
        c2 = symmetric.encrypt_and_hash(payload, "c2")
        self._emit("message 2", ("header", head), ("e", e), ("c2", c2), plain=("payload", payload))
        self.state = "Wait 3"

    def _wait_3(self, head):
        suite, symmetric = self.suite, self.symmetric
        length = suite.dhlen + 48 + 2 * suite.tag
        self._expect(head, s.MESSAGE_3, length)
        if len(self.rx) < 8 + length:
            return False
        body = self._take(8 + length)[8:]
        cut = suite.dhlen + 16 + suite.tag
        symmetric.mix_hash(head, "header 3")
        identity = symmetric.decrypt_and_hash(body[:cut], "cs")
        if any(identity[suite.dhlen :]):
            raise s.Failure("bytes after the device key")
        device = identity[: suite.dhlen]
        symmetric.mix_key(s.dh(suite, self.exponent, device), "se")
        symmetric.decrypt_and_hash(body[cut:], "c3")
        self._established()
        self.events.append(("established", [("device", s.device_fingerprint(suite, device))]))
        return True

    def _login_is_late(self):
        return self.state == LOGIN and self.now - self.established_at >= LOGIN_MS
