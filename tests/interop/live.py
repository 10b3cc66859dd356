"""A live client, from PROTOCOL.md alone, against a real server: both suites, both logins, a direct message, a room, a rekey, a goodbye.

    live.py HOST PORT FINGERPRINT

The server's registration must be open, and the usernames of this program free.
"""

import os
import secrets
import socket
import sys
import time

import sordino as s
from endpoint import Client
from messages import READY

PASSWORD = b"a walnut in 7 teapots"
TIMEOUT = 15


class Settings:
    """What an endpoint asks of its configuration, with real randomness."""

    def __init__(self, suite, fingerprint, device, pin=None, static=None, max_record=16384, bundles=False):
        self.suite, self.suites, self.max_record, self.counter = suite, [suite], max_record, time.time_ns()
        self.long_lived, self.fingerprint, self.floor = {suite: device}, fingerprint, 0
        self.pin, self.server_key, self.crafted, self.bundles = pin, static, {}, bundles

    def draw(self, _name):
        return secrets.token_bytes(32)


class Live:
    """A connection: the endpoint's bytes over a socket."""

    def __init__(self, address, settings):
        self.socket = socket.create_connection(address, TIMEOUT)
        self.endpoint = Client(settings, self._now())
        if settings.server_key is None:
            self.endpoint.ask()
            self._until(lambda: self.endpoint.state == "Keyed")
        # The suites in both lists: the server lists those that its root has signed.
        settings.suites = [n for n in settings.pin.ids if n <= settings.suite]
        self.endpoint.start()
        self.event("established")

    @staticmethod
    def _now():
        return time.monotonic_ns() // 1_000_000

    def flush(self):
        self.socket.sendall(b"".join(block.data() for block in self.endpoint.out))
        self.endpoint.out.clear()

    def _until(self, done):
        while not done():
            self.flush()
            if self.endpoint.ended:
                raise SystemExit(f"ended: {self.endpoint.ended}")
            data = self.socket.recv(65536)
            if not data:
                raise SystemExit("the server has closed")
            self.endpoint.tick(self._now())
            self.endpoint.receive(data)
        self.flush()

    def event(self, name):
        """The next event of this name; others before it are dropped."""
        found = []

        def look():
            while self.endpoint.events and not found:
                kind, parts = self.endpoint.events.pop(0)
                if kind == name:
                    found.append(dict(parts))
            return found

        self._until(look)
        return found[0]

    def ask(self, name, parts, answer):
        self.endpoint.send(name, parts)
        return self.event(answer)

    def log_in(self, method, username=b"", email=b""):
        password = PASSWORD if method != 3 else b""
        texts = (("username", username), ("email", email), ("password", password), ("invite", b""), ("code", b""), ("label", b"live.py" if method != 3 else b""))
        parts = [("method", s.u(method, 1))] + [(name, s.u(len(text), 1) + text) for name, text in texts]
        result = self.ask("AUTH", parts, "AUTH_RESULT")
        if s.number(result["code"]) != 0:
            raise SystemExit(f"login: code {s.number(result['code'])}")
        assert self.endpoint.state == READY

    def send(self, kind, name, text):
        parts = [("id", secrets.token_bytes(16)), ("target", s.u(kind, 1) + s.u(len(name), 1) + name)]
        parts += [("format", s.u(0, 1)), ("body", s.u(len(text), 2) + text)]
        accepted = self.ask("SEND", parts, "ACCEPTED")
        assert accepted["id"] == parts[0][1]

    def send_together(self, kind, name, texts):
        """All in one record."""
        assert self.endpoint.peer_bundles
        parts = []
        for text in texts:
            body = secrets.token_bytes(16) + s.u(kind, 1) + s.u(len(name), 1) + name + s.u(0, 1) + s.u(len(text), 2) + text
            parts += [("type", s.u(32, 1)), ("length", s.u(len(body), 2)), ("body", body)]
        self.ask("BUNDLE", parts, "ACCEPTED")
        for _ in texts[1:]:
            self.event("ACCEPTED")

    def receive(self):
        """The next message whole, acknowledged; its text."""
        text = b""
        while True:
            part = self.event("DELIVER")
            assert s.number(part["offset"]) == len(text)
            text += part["part"][2:]  # behind its length
            if len(text) == s.number(part["total"]):
                self.endpoint.send("ACK", [("number", part["number"])])
                self.flush()
                return text

    def close(self):
        self.endpoint.close(1)
        self.flush()
        self.socket.close()


def device_key(suite):
    return s.clamp(s.SUITES[suite], secrets.token_bytes(s.SUITES[suite].xlen))


def converse(address, fingerprint, suite):
    alice, bob = (f"{name}{suite}".encode() for name in ("live.alice", "live.bob"))
    keys = {name: device_key(suite) for name in (alice, bob)}
    first = Live(address, Settings(suite, fingerprint, keys[alice]))
    first.log_in(1, alice, b"alice@example.org")
    # Bob takes records of 1 KiB only, so that what he gets comes in parts, and bundles.
    second = Live(address, Settings(suite, fingerprint, keys[bob], max_record=1024, bundles=True))
    second.log_in(1, bob, b"bob@example.org")

    room = b"live" + str(suite).encode()
    for end in (first, second):
        done = end.ask("JOIN", [("tag", s.u(7, 4)), ("room", s.u(len(room), 1) + room)], "DONE")
        assert (s.number(done["tag"]), s.number(done["code"])) == (7, 0)
    second.endpoint.send("RECEIVE", [("window", s.u(8, 2))])
    second.flush()
    long = os.urandom(6000).hex().encode()
    first.send(1, bob, long)
    assert second.receive() == long
    assert first.event("DELIVERED")
    first.send(2, room, b"to the room")
    assert second.receive() == b"to the room"

    texts = [f"one of many, {n}".encode() for n in range(20)]
    first.send_together(1, bob, texts)
    assert [second.receive() for _ in texts] == texts

    for token in range(4200):
        first.endpoint.send("PING", [("token", s.u(token, 8))])
        if token % 64 == 63:
            first.flush()
    first.send(1, bob, b"under the next key")
    assert second.receive() == b"under the next key"
    assert first.endpoint.send_direction.sequence > 4096

    pin, static = first.endpoint.config.pin, first.endpoint.static
    first.close()
    again = Live(address, Settings(suite, None, keys[alice], pin, static))
    again.log_in(3)
    again.close()
    second.close()
    print(f"suite {suite}: registered, joined, sent in parts, to a room and in a bundle, rekeyed, came back by the device key")


def main():
    host, port, fingerprint = sys.argv[1:]
    for suite in (1, 2):
        converse((host, int(port)), bytes.fromhex(fingerprint), suite)


if __name__ == "__main__":
    main()
