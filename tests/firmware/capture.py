"""What QEMU's filter-dump has seen: TCP streams put together, handshakes and records by docs/PROTOCOL.md, sections 5 and 6."""

import collections
import struct

SYN = 2
KEY_REQUEST, KEY_ANSWER, MESSAGE_1, MESSAGE_2, MESSAGE_3, ERROR = 1, 2, 3, 4, 5, 6
NAMES = {1: "key requests", 2: "key answers", 3: "message 1s", 4: "message 2s", 5: "message 3s", 6: "errors"}
TO_SERVER, TO_BOARD = "to the server", "to the board"
SENT = {TO_SERVER: (KEY_REQUEST, MESSAGE_1, MESSAGE_3), TO_BOARD: (KEY_ANSWER, MESSAGE_2, ERROR)}
# Suite 1: bytes after the header, those of a key answer without its statement.
LENGTHS = {KEY_REQUEST: 0, MESSAGE_1: 320, MESSAGE_2: 320, MESSAGE_3: 336, ERROR: 1}
KEY_ANSWER_LEAST = 354
LAST_OF_HANDSHAKE = (MESSAGE_3, MESSAGE_2)
BUCKETS = (64, 128, 256, 512, 1024)
HEADER, TAG, GATE, ELEMENT = 8, 16, 16, 256


def packets(capture):
    """Ethernet frames of a pcap file. A power cut may have torn the last one."""
    assert capture[:4] == b"\xd4\xc3\xb2\xa1", "not a pcap file of this byte order"
    at = 24
    while at + 16 <= len(capture):
        (length,) = struct.unpack_from("<8xI4x", capture, at)
        frame = capture[at + 16 : at + 16 + length]
        at += 16 + length
        if len(frame) == length:
            yield frame


def segments(capture):
    """(source port, destination port, sequence number, flags, payload) of all TCP segments over IPv4."""
    for frame in packets(capture):
        if frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        start = 14 + (frame[14] & 15) * 4
        (total,) = struct.unpack_from(">H", frame, 16)
        source, destination, sequence, offset, flags = struct.unpack_from(">HHI4xBB", frame, start)
        yield source, destination, sequence, flags, frame[start + (offset >> 4) * 4 : 14 + total]


def streams(capture, port):
    """(direction, bytes) of every half of a connection to the server's port, as far as it was seen whole."""
    halves = collections.OrderedDict()
    newest = {}
    for source, destination, sequence, flags, payload in segments(capture):
        if port not in (source, destination):
            continue
        pair = (source, destination)
        if flags & SYN:
            newest[pair] = (*pair, sequence)
            halves.setdefault(newest[pair], {})
        elif payload and pair in newest:
            offset = (sequence - newest[pair][2] - 1) % (1 << 32)
            known = halves[newest[pair]]
            known[offset] = max(known.get(offset, b""), payload, key=len)
    for (source, _, _), parts in halves.items():
        yield TO_BOARD if source == port else TO_SERVER, join(parts)


def join(parts):
    whole = b""
    for offset in sorted(parts):
        if offset > len(whole):
            break
        whole += parts[offset][len(whole) - offset :]
    return whole


class Traffic:
    """Counts and collects over many captures; an AssertionError is a departure from the protocol."""

    def __init__(self):
        self.messages = collections.Counter()
        self.records = {TO_SERVER: collections.Counter(), TO_BOARD: collections.Counter()}
        self.ephemerals, self.gates, self.bytes = [], [], b""

    def add(self, capture, port):
        """The number of message 1s in it."""
        before = self.messages[MESSAGE_1]
        for direction, stream in streams(capture, port):
            self.bytes += stream
            self.add_stream(direction, stream)
        return self.messages[MESSAGE_1] - before

    def add_stream(self, direction, stream):
        at, in_handshake = 0, True
        while in_handshake and at + HEADER <= len(stream):
            magic, version, kind, suite, flags, length = struct.unpack_from(">2sBBBBH", stream, at)
            assert (magic, version, suite, flags) == (b"SO", 1, 1, 0), f"{direction}: {stream[at:at + HEADER].hex()}"
            assert kind in SENT[direction], f"{direction}: type {kind}"
            right = length >= KEY_ANSWER_LEAST if kind == KEY_ANSWER else length == LENGTHS[kind]
            assert right, f"type {kind} has {length} bytes"
            body = stream[at + HEADER : at + HEADER + length]
            at += HEADER + length
            if len(body) == length:
                self.add_message(kind, body)
            in_handshake = kind not in LAST_OF_HANDSHAKE
        while not in_handshake and at + 2 <= len(stream):
            (length,) = struct.unpack_from(">H", stream, at)
            assert length - TAG in BUCKETS, f"{direction}: a record of {length} bytes"
            at += 2 + length
            self.records[direction][length - TAG] += at <= len(stream)

    def add_message(self, kind, body):
        self.messages[kind] += 1
        if kind == MESSAGE_1:
            self.gates.append(body[:GATE])
            self.ephemerals.append(body[GATE : GATE + ELEMENT])
        elif kind == MESSAGE_2:
            self.ephemerals.append(body[:ELEMENT])

    def check(self, secrets):
        for kind in (KEY_REQUEST, KEY_ANSWER, MESSAGE_1, MESSAGE_2, MESSAGE_3):
            assert self.messages[kind], f"no {NAMES[kind]} on the wire"
        for direction, sizes in self.records.items():
            assert sizes[1024], f"no record of 1 KiB {direction}"
        assert len(set(self.ephemerals)) == len(self.ephemerals), "an ephemeral key came twice"
        assert len(set(self.gates)) == len(self.gates), "a gate came twice"
        for secret in secrets:
            assert secret.encode() not in self.bytes, f"{secret!r} in plaintext on the wire"

    def __str__(self):
        counts = [f"{self.messages[kind]} {name}" for kind, name in NAMES.items() if self.messages[kind]]
        sizes = [f"{direction} {sum(r.values())} records ({r[1024]} of 1 KiB)" for direction, r in self.records.items()]
        return ", ".join([*counts, *sizes, f"{len(set(self.ephemerals))} ephemeral keys, all different"])
