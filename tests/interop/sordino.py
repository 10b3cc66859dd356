"""The Sordino protocol, version 1: cryptography, handshake messages and records.

Written from docs/PROTOCOL.md alone, as a check on it. Section numbers below are those of that document.
It favours plainness over speed and makes no attempt at constant time: never use it for real traffic.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from primes import ffdhe, jacobi

MAGIC, VERSION = b"\x53\x4f", 1
KEY_REQUEST, KEY_ANSWER, MESSAGE_1, MESSAGE_2, MESSAGE_3, ERROR = range(1, 7)
UNSUPPORTED_SUITE, UNSUPPORTED_VERSION, UNKNOWN_KEY, BUSY = 1, 2, 3, 4
C2S, S2C = 0, 1
EPOCH_RECORDS = 4096
BUCKETS = [64, 128, 256, 512] + [1024 * k for k in range(1, 17)]


class Failure(Exception):
    """The peer broke the protocol, or somebody on the way did: the connection ends without an answer."""


class Untrusted(Exception):
    """A key answer did not pass the checks of section 4; the argument names the first that failed."""


@dataclass(frozen=True)
class Suite:
    """Section 2: one number decides every primitive."""

    number: int
    name: bytes
    bits: int
    xlen: int
    digest: str
    key: int
    tag: int
    p: int = field(repr=False)

    @property
    def dhlen(self):
        return self.bits // 8

    @property
    def hashlen(self):
        return hashlib.new(self.digest).digest_size

    def hash(self, data):
        return hashlib.new(self.digest, data).digest()

    def hmac(self, key, data):
        return hmac.new(key, data, self.digest).digest()

    def hkdf2(self, ck, ikm):
        t = self.hmac(ck, ikm)
        first = self.hmac(t, b"\x01")
        return first, self.hmac(t, first + b"\x02")

    def expand(self, prk, info, length):
        algorithm = {"sha256": hashes.SHA256, "sha512": hashes.SHA512}[self.digest]()
        return HKDFExpand(algorithm, length, info).derive(prk)

    def cut_keys(self, secret, info):
        """MAC key, encryption key and IV key from one secret."""
        k = self.expand(secret, info, 3 * self.key)
        return k[: self.key], k[self.key : 2 * self.key], k[2 * self.key :]


SUITES = {
    1: Suite(1, b"SordinoXK/1 ffdhe2048 A128CBC-HS256 SHA-256", 2048, 32, "sha256", 16, 16, ffdhe(2048)),
    2: Suite(2, b"SordinoXK/1 ffdhe3072 A256CBC-HS512 SHA-512", 3072, 40, "sha512", 32, 32, ffdhe(3072)),
}


def u(n, size):
    return n.to_bytes(size, "big")


def number(data):
    return int.from_bytes(data, "big")


# --- 2.1 Authenticated encryption


def iv_of(keys, n):
    encryptor = Cipher(algorithms.AES(keys[2]), modes.ECB()).encryptor()
    return encryptor.update(u(n, 16)) + encryptor.finalize()


def mac(suite, keys, aad, iv, ciphertext):
    return suite.hmac(keys[0], aad + iv + ciphertext + u(8 * len(aad), 8))[: suite.tag]


def seal(suite, keys, n, aad, plaintext):
    assert len(plaintext) % 16 == 15
    return seal_padded(suite, keys, n, aad, plaintext + b"\x01")


def seal_padded(suite, keys, n, aad, padded):
    """Seals whole blocks; apart from `seal` only for records that are wrong on purpose."""
    iv = iv_of(keys, n)
    encryptor = Cipher(algorithms.AES(keys[1]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    return ciphertext + mac(suite, keys, aad, iv, ciphertext)


def open_(suite, keys, n, aad, sealed):
    ciphertext, tag = sealed[: -suite.tag], sealed[-suite.tag :]
    if not ciphertext or len(ciphertext) % 16:
        raise Failure("length")
    iv = iv_of(keys, n)
    if not hmac.compare_digest(tag, mac(suite, keys, aad, iv, ciphertext)):
        raise Failure("tag")
    decryptor = Cipher(algorithms.AES(keys[1]), modes.CBC(iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    if padded[-1] != 1:
        raise Failure("padding")
    return padded[:-1]


# --- 3 Diffie-Hellman


def clamp(suite, exponent):
    x = bytearray(exponent)
    assert len(x) == suite.xlen
    x[0] |= 0x80
    x[-1] &= 0xFE
    return bytes(x)


def public(suite, exponent):
    return u(pow(2, number(exponent), suite.p), suite.dhlen)


def check_range(suite, y):
    if len(y) != suite.dhlen or not 1 < number(y) < suite.p - 1:
        raise Failure("public value out of range")


def dh(suite, exponent, y):
    check_range(suite, y)
    return u(pow(number(y), number(exponent), suite.p), suite.dhlen)


def ephemeral(suite, r, long_lived, counter):
    prk = suite.hmac(b"sordino/1 ephemeral", r + long_lived + u(counter, 8))
    return clamp(suite, suite.expand(prk, b"", suite.xlen))


# --- 4 Server identity


def server_fingerprint(root):
    return hashlib.sha256(b"sordino/1 server root" + root).digest()


def key_id(suite, static):
    return hashlib.sha256(b"sordino/1 static key" + u(suite.number, 1) + static).digest()


def device_fingerprint(suite, key):
    return hashlib.sha256(b"sordino/1 device key" + u(suite.number, 1) + key).digest()


def root_public(seed):
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def make_statement(version, date, ids):
    """`ids` maps a suite's number to its key id."""
    entries = b"".join(u(suite, 1) + ids[suite] for suite in sorted(ids))
    return u(version, 4) + u(date, 8) + u(len(ids), 1) + entries


def sign_statement(seed, statement):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(b"sordino/1 key statement" + statement)


ED25519_P = 2**255 - 19
# The y coordinates of the eight points of small order.
SMALL_ORDER_Y = {
    0,
    1,
    ED25519_P - 1,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
}


def verify_strictly(root, signature, message):
    y = int.from_bytes(root, "little") & (2**255 - 1)
    if y >= ED25519_P or y in SMALL_ORDER_Y:
        raise Untrusted("signature")
    try:
        Ed25519PublicKey.from_public_bytes(root).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise Untrusted("signature") from error


@dataclass
class Pin:
    """What a client remembers of a server."""

    root: bytes
    version: int
    ids: dict


@dataclass
class KeyAnswer:
    root: bytes
    statement: bytes
    signature: bytes
    static: bytes
    version: int = 0
    date: int = 0
    ids: dict = field(default_factory=dict)

    @classmethod
    def parse(cls, suite, body):
        size = number(body[32:34])
        if not 46 <= size <= 277 or len(body) != 34 + size + 64 + suite.dhlen:
            raise Untrusted("form")
        statement = body[34 : 34 + size]
        answer = cls(body[:32], statement, body[34 + size : 98 + size], body[98 + size :])
        answer.version, answer.date, count = number(statement[:4]), number(statement[4:12]), statement[12]
        if not 1 <= count <= 8 or size != 13 + 33 * count:
            raise Untrusted("form")
        entries = [statement[13 + 33 * i :][:33] for i in range(count)]
        suites = [entry[0] for entry in entries]
        if suites != sorted(set(suites)):
            raise Untrusted("form")
        answer.ids = {entry[0]: entry[1:] for entry in entries}
        return answer

    def check(self, suite, pin, fingerprint, floor):
        """Section 4, checks 2 to 6, in their order; returns the new pin."""
        if pin is not None and self.root != pin.root:
            raise Untrusted("root")
        if pin is None and fingerprint is not None and server_fingerprint(self.root) != fingerprint:
            raise Untrusted("root")
        verify_strictly(self.root, self.signature, b"sordino/1 key statement" + self.statement)
        if self.version < max(floor, pin.version if pin else 0):
            raise Untrusted("version")
        if pin is not None and self.version == pin.version and self.ids != pin.ids:
            raise Untrusted("version")
        if self.ids.get(suite.number) != key_id(suite, self.static):
            raise Untrusted("statement")
        if not 1 < number(self.static) < suite.p - 1 or jacobi(number(self.static), suite.p) != 1:
            raise Untrusted("key")
        return Pin(self.root, self.version, self.ids)


# --- 5 Handshake


def header(kind, suite_number, length):
    return MAGIC + bytes([VERSION, kind, suite_number, 0]) + u(length, 2)


def gate(suite, static, head, e):
    return suite.hmac(suite.hash(b"sordino/1 gate" + static), head + e)[:16]


class Symmetric:
    """Section 5.2. `trace` collects the values after each step for the worked example."""

    def __init__(self, suite, static):
        self.suite = suite
        self.h = self.ck = suite.hash(suite.name)
        self.keys, self.n = None, 0
        self.trace = [("h = ck after the start", self.h)]
        self.mix_hash(b"sordino" + u(VERSION, 1) + u(suite.number, 1) + key_id(suite, static), "the prologue")
        self.mix_hash(static, "the server's static key")

    def mix_hash(self, data, what):
        self.h = self.suite.hash(self.h + data)
        self.trace.append((f"h after {what}", self.h))

    def mix_key(self, shared, what):
        self.ck, k = self.suite.hkdf2(self.ck, shared)
        self.keys, self.n = self.suite.cut_keys(k, b"sordino/1 handshake keys"), 0
        self.trace += [(f"{what}", shared), (f"ck after {what}", self.ck)]
        self.trace += [(f"{name} after {what}", key) for name, key in zip(("MAC key", "encryption key", "IV key"), self.keys)]

    def encrypt_and_hash(self, plaintext, what):
        sealed = seal(self.suite, self.keys, self.n, self.h, plaintext)
        self.n += 1
        self.mix_hash(sealed, what)
        return sealed

    def decrypt_and_hash(self, sealed, what):
        plaintext = open_(self.suite, self.keys, self.n, self.h, sealed)
        self.n += 1
        self.mix_hash(sealed, what)
        return plaintext

    def split(self):
        """The epoch 0 secrets of client to server and of server to client."""
        return self.suite.hkdf2(self.ck, b"")


def suite_list(suites):
    return bytes(sorted(suites)).ljust(8, b"\0")


def check_suite_list(field8, own, in_use):
    """Section 5.3: the suite in use must be the highest that stands in both lists."""
    listed = field8.rstrip(b"\0")
    if list(listed) != sorted(set(listed)) or 0 in listed:
        raise Failure("suite list")
    if max(set(listed) & set(own), default=0) != in_use:
        raise Failure("not the highest suite of both")


def check_max_record(value):
    if value % 1024 or not 1024 <= value <= 16384:
        raise Failure("max record")
    return value


# --- 6 Records


class Direction:
    """Seals or opens the records of one direction."""

    def __init__(self, suite, direction, secret):
        self.suite, self.direction, self.secret, self.sequence = suite, direction, secret, 0
        self._cut()

    def _cut(self):
        self.keys = self.suite.cut_keys(self.secret, b"sordino/1 record keys")
        self.secret = self.suite.expand(self.secret, b"sordino/1 next epoch", self.suite.hashlen)

    def _next(self, length):
        """n and AAD of the next record; moves on to a new epoch when one begins."""
        assert self.sequence < 1 << 44
        epoch, n = divmod(self.sequence, EPOCH_RECORDS)
        if n == 0 and epoch > 0:
            self._cut()
        aad = u(self.direction, 1) + u(epoch, 4) + u(self.sequence, 8) + u(length, 2)
        self.sequence += 1
        return n, aad

    def seal(self, kind, body):
        inner = u(kind, 1) + u(len(body), 2) + body
        bucket = next(b for b in BUCKETS if b - 1 >= len(inner))
        return self.seal_raw(inner.ljust(bucket - 1, b"\0") + b"\x01")

    def seal_raw(self, padded):
        length = len(padded) + self.suite.tag
        n, aad = self._next(length)
        return u(length, 2) + seal_padded(self.suite, self.keys, n, aad, padded)

    def check_length(self, length, max_record):
        bucket = length - self.suite.tag
        if bucket not in BUCKETS or bucket > max_record:
            raise Failure("record length")

    def open(self, sealed):
        """Type and body of a record, given what follows its length field."""
        n, aad = self._next(len(sealed))
        inner = open_(self.suite, self.keys, n, aad, sealed)
        size, bucket = number(inner[1:3]), len(inner) + 1
        if 3 + size > len(inner) or any(inner[3 + size :]):
            raise Failure("record padding")
        if bucket != next(b for b in BUCKETS if b - 1 >= 3 + size):
            raise Failure("not the smallest bucket")
        return inner[0], inner[3 : 3 + size]
