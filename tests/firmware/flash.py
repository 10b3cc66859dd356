"""The board's flash as a file: reads its journal (embedded-client/src/journal.rs), and tears writes in it."""

import struct
import zlib

BLOCK = 4096
BLOCK_HEADER, RECORD_HEADER, WRITE_SIZE, MAX_BODY = 32, 8, 4, 704
ERASED = 0xFF
COUNTER, OUTGOING = 7, 16


class Flash:
    """Between two boots."""

    def __init__(self, path):
        self.path = path

    def blocks(self):
        data = self.path.read_bytes()
        return [bytearray(data[at : at + BLOCK].ljust(BLOCK, bytes([ERASED]))) for at in (0, BLOCK)]

    def active(self):
        """Index of the block in use, or None."""
        valid = []
        for index, block in enumerate(self.blocks()):
            head, rest = bytes(block[:8]), bytes(block[12:BLOCK_HEADER])
            (crc,) = struct.unpack_from(">I", block, 8)
            if head[:4] == b"SJ\x01\x00" and crc == zlib.crc32(head) and set(rest) == {ERASED}:
                valid.append((struct.unpack_from(">I", head, 4)[0], -index))
        return -max(valid)[1] if valid else None

    def records(self):
        """(kind, body) of the whole records, and where they end."""
        found, at = [], BLOCK_HEADER
        if (active := self.active()) is None:
            return found, at
        block = self.blocks()[active]
        while at + RECORD_HEADER <= BLOCK:
            kind, flags, length, crc = struct.unpack_from(">BBHI", block, at)
            body = bytes(block[at + RECORD_HEADER : at + RECORD_HEADER + length])
            if flags or length > MAX_BODY or crc != zlib.crc32(struct.pack(">BH", kind, length) + body):
                break
            found.append((kind, body))
            at += -(-(RECORD_HEADER + length) // WRITE_SIZE) * WRITE_SIZE
        return found, at

    def counter(self):
        """The first ephemeral counter that is not reserved."""
        bodies = [body for kind, body in self.records()[0] if kind == COUNTER]
        return struct.unpack(">Q", bodies[-1])[0] if bodies else 0

    def tear(self, dice):
        """As if power had failed in one more write or in an erasure: nothing that was complete is touched."""
        blocks, active = self.blocks(), self.active()
        if active is None:
            return
        end = self.records()[1]
        if dice.random() < 0.5:
            # Ends in 0, so that its last byte is missing where flash is erased.
            body = dice.randbytes(dice.randrange(60, 300)) + b"\0"
            crc = zlib.crc32(struct.pack(">BH", OUTGOING, len(body)) + body)
            record = struct.pack(">BBHI", OUTGOING, 0, len(body), crc) + body
            written = record[: dice.randrange(1, len(record))]
            target = blocks[active]
            if end + len(written) <= BLOCK and set(target[end:]) == {ERASED}:
                target[end : end + len(written)] = written
        else:
            other = blocks[1 - active]
            other[: dice.randrange(1, BLOCK)] = b""
            blocks[1 - active] = other.rjust(BLOCK, bytes([ERASED]))
        self.path.write_bytes(b"".join(blocks))
