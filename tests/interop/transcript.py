"""Reads and writes the text format of tests/transcripts/README.md."""

import re
from dataclasses import dataclass, field

FIRST_LINE = "sordino transcript 1"
TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([0-9a-fA-F]{2})\*([0-9]+)|((?:[0-9a-fA-F]{2})+)')
PER_LINE = 32
LONGEST_TEXT = 200


class FormatError(Exception):
    pass


@dataclass
class Statement:
    """A statement with its fields, or (without words) a line of comment. `raw` are the lines it was read from."""

    words: list
    fields: list = field(default_factory=list)
    line: int = 0
    raw: list = field(default_factory=list)

    def data(self):
        return b"".join(value for name, value in self.fields if not name.startswith("("))

    def get(self, name):
        return next((value for key, value in self.fields if key == name), None)

    def bytes_from(self, index):
        return parse_bytes(" ".join(self.words[index:]))


def parse_bytes(text):
    out, at = b"", 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        match = TOKEN.match(text, at)
        if not match:
            raise FormatError(f"not bytes: {text[at:]!r}")
        quoted, byte, times, digits = match.groups()
        if quoted is not None:
            out += re.sub(r"\\(.)", r"\1", quoted).encode("ascii")
        elif byte:
            out += bytes.fromhex(byte) * int(times)
        else:
            out += bytes.fromhex(digits)
        at = match.end()
    return out


def without_comment(line):
    """Drops a comment; a `#` between quotes begins none."""
    quoted = escaped = False
    for at, char in enumerate(line):
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "#" and not quoted:
            return line[:at].rstrip()
    return line.rstrip()


def parse(text):
    lines = text.split("\n")
    if lines[0] != FIRST_LINE:
        raise FormatError(f"the first line must be {FIRST_LINE!r}")
    statements = []
    for number, raw in enumerate(lines[1:], 2):
        try:
            _parse_line(statements, raw, number)
        except FormatError as error:
            raise FormatError(f"line {number}: {error}") from error
    return statements


def _parse_line(statements, raw, number):
    line = without_comment(raw)
    if not line:
        statements.append(Statement([], line=number, raw=[raw]))
    elif line.startswith("+"):
        last = next((s for s in reversed(statements) if s.words), None)
        if last is None:
            raise FormatError("nothing to go on with")
        if last.fields:
            name, value = last.fields[-1]
            last.fields[-1] = (name, value + parse_bytes(line[1:]))
        else:
            last.words += line[1:].split()
        last.raw.append(raw)
    elif line.startswith(" "):
        last = next((s for s in reversed(statements) if s.words), None)
        if last is None:
            raise FormatError("a field without a statement")
        name, _, value = line.strip().partition(" ")
        last.fields.append((name, parse_bytes(value)))
        last.raw.append(raw)
    else:
        statements.append(Statement(line.split(), line=number, raw=[raw]))


def _tail_text(data):
    """Splits a length-prefixed printable text off: the prefix (str8, str16, or target) and the text."""
    for prefix, size in ((data[:1], data[:1]), (data[:2], data[:2]), (data[:2], data[1:2])):
        text = data[len(prefix) :]
        if 0 < len(text) <= LONGEST_TEXT and len(text) == int.from_bytes(size, "big") and all(0x20 <= c < 0x7F for c in text):
            return prefix, text.decode().replace("\\", "\\\\").replace('"', '\\"')
    return None


def format_bytes(data):
    """The lines of a value: 32 bytes to a line in groups of 4, text in quotes, long runs of zeros short."""
    named = _tail_text(data)
    if named:
        return [f'{named[0].hex()} "{named[1]}"']
    zeros = len(data) - len(data.rstrip(b"\0"))
    head = data[: len(data) - zeros] if zeros >= 16 else data
    lines = []
    for start in range(0, len(head), PER_LINE):
        row = head[start : start + PER_LINE]
        lines.append(" ".join(row[i : i + 4].hex() for i in range(0, len(row), 4)))
    if zeros >= 16:
        lines.append(f"00*{zeros}")
    return lines or [""]


def format_statement(statement):
    if statement.raw:
        return "\n".join(statement.raw)
    out = [" ".join(statement.words)]
    width = max((len(name) for name, _ in statement.fields), default=0)
    for name, value in statement.fields:
        first, *rest = format_bytes(value)
        out.append(f"  {name:<{width}}  {first}".rstrip())
        out += [f"+ {'':<{width}}  {line}" for line in rest]
    return "\n".join(out)


def format_words(words, data):
    """A setting whose value is bytes, folded like a field."""
    first, *rest = format_bytes(data)
    return "\n".join([f"{' '.join(words)} {first}"] + [f"+ {line}" for line in rest])


def format_file(statements):
    return "\n".join([FIRST_LINE] + [format_statement(s) for s in statements])
