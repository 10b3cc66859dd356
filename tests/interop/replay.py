#!/usr/bin/env python3
"""Replays, records and produces Sordino transcripts with an independent implementation of the protocol.

  replay.py check FILE...      plays each file against both sides, whole and byte by byte, and against each side alone
  replay.py record FILE...     writes blocks, events and ends of each file anew
  replay.py produce DIRECTORY  writes the transcripts of cases.py
  replay.py worked FILE...     prints the values of the first handshake of each file as Markdown
  replay.py primes             regenerates the groups and tests that p and (p-1)/2 are prime
"""

import sys
from pathlib import Path

import cases
import primes
from player import SIDES, Mismatch, Player, Recorder, expand_scenes, one_sided
from transcript import FormatError, format_bytes, format_file, parse


def load(path):
    return parse(Path(path).read_text(encoding="utf-8"))


def check(path):
    """Every way to play a file; a `repeat` leaves out bytes, so that needs both sides at once."""
    statements = load(path)
    real = next(s for s in statements if s.words[:1] == ["real"]).words[1:]
    repeats = any(s.words[:1] == ["repeat"] for s in statements)
    ways = [SIDES] if repeats else [SIDES, *((side,) for side in real if len(real) > 1)]
    for only in ways:
        for chunk in (0, 1):
            try:
                Player(only, chunk).play(statements)
            except Mismatch as error:
                raise Mismatch(f"{path}, {' and '.join(only)}, chunk {chunk or 'whole'}: {error}") from error
    print(f"ok {path}: {len(ways) * 2} ways")


def record(path, side=None):
    made = Recorder().record(load(path))
    Path(path).write_text(format_file(one_sided(made, side) if side else made), encoding="utf-8")
    print(f"recorded {path}")


def produce(directory):
    for name, text, side in cases.all_cases():
        path = Path(directory) / name
        path.write_text(text, encoding="utf-8")
        record(path, side)


def worked(path):
    """The handshake's intermediate values, from the first connection of a transcript with both sides real."""
    player = Player()
    statements = expand_scenes(load(path))
    stop = next(i for i, s in enumerate(statements) if s.words == ["server", "event", "established"])
    at = 0
    while at < stop:
        at = player._play_one(statements, at)
    client, server = player.ends["client"], player.ends["server"]
    assert client.trace == server.trace
    rows = dict(client.trace)
    for name, end in (("client to server", client.send_direction), ("server to client", client.recv)):
        for part, key in zip(("MAC key", "encryption key", "IV key"), end.keys):
            rows[f"{part}, {name}, epoch 0"] = key
        rows[f"IV of record 0, {name}"] = cases.s.iv_of(end.keys, 0)
    print(f"### Suite {client.suite.number}, from `{Path(path).name}`\n\n```")
    for name, value in rows.items():
        lines = format_bytes(value)
        print("\n".join([name + ":"] + ["  " + line for line in lines]))
    print("```\n")


def main(arguments):
    command, files = (arguments[0] if arguments else ""), arguments[1:]
    if command == "primes":
        print("\n".join(primes.check()))
    elif command == "produce" and len(files) == 1:
        produce(files[0])
    elif command in ("check", "record", "worked") and files:
        for path in files:
            {"check": check, "record": record, "worked": worked}[command](path)
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Mismatch, FormatError) as error:
        sys.exit(f"replay.py: {error}")
