#!/usr/bin/env python3
"""The QEMU firmware against the real server and client: enrolment, messages both ways, a killed server, power cuts.

    tests/firmware/run.py [--messages N] [--cuts N] [--seed N]

Needs qemu-system-arm. BIN names the directory of sordino and sordino-server (default target/debug), ELF the firmware,
beside which stands ELF-async.
All traffic stays on loopback. A power cut is a SIGKILL of QEMU, whose flash is a file that is written in small pieces;
after some cuts the file gets a torn write or a torn erasure besides. QEMU writes down the traffic: no key, gate or
counter may come twice, records are of the negotiated sizes, and nothing that people wrote or are called is readable.
"""

import argparse
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from capture import Traffic
from flash import Flash

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BIN", ROOT / "target/debug"))
ELF = os.environ.get("ELF", ROOT / "target/bare/thumbv7em-none-eabihf/release/sordino-qemu-mps2")
# The same with the async client.
ASYNC_ELF = f"{ELF}-async"
PATIENCE = 60
PASSWORD = "correct horse battery staple 9"
# Fills a record of 1 KiB.
LONG = ("a long text " * 41).strip()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """sordino-server on one port and data directory through several lives."""

    def __init__(self, directory):
        self.directory, self.port = directory, free_port()
        self.start()

    def start(self):
        command = [BIN / "sordino-server", "--data-dir", self.directory / "server", "--listen", f"127.0.0.1:{self.port}", "--json"]
        log = open(self.directory / "server.log", "ab")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.fingerprint = json.loads(self.process.stdout.readline())["fingerprint"]

    def kill(self):
        self.process.kill()
        self.process.wait()


class Member:
    """alice, by the client's commands."""

    def __init__(self, directory, server):
        self.home = directory / "alice"
        password = directory / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        self.run("register", "--server", f"127.0.0.1:{server.port}", "--fingerprint", server.fingerprint,
                 "--user", "alice", "--email", "alice@example.org", "--password-file", str(password))

    def run(self, *arguments, check=True):
        command = [BIN / "sordino", "--home", self.home, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if check and result.returncode:
            raise AssertionError(f"{arguments} ended with {result.returncode}: {result.stderr}")
        return result

    def insist(self, *arguments):
        """Again while the server is down (3) or wants a pause (5); what the command printed."""
        end = time.monotonic() + PATIENCE
        while (result := self.run(*arguments, check=False)).returncode:
            assert result.returncode in (3, 5) and time.monotonic() < end, f"{arguments}: {result.stderr}"
            time.sleep(0.3)
        return result.stdout

    def send(self, text, board="greenhouse"):
        self.insist("send", f"@{board}", text)

    def receive(self):
        """All that waits."""
        messages = []
        while lines := self.insist("recv", "--json", "--timeout", "3").splitlines():
            messages += [json.loads(line) for line in lines]
        return messages


class Machine:
    """QEMU with the firmware: one flash file, many boots."""

    def __init__(self, directory, name, port, traffic, elf=ELF):
        self.flash, self.dump = Flash(directory / f"{name}.flash"), directory / f"{name}.pcap"
        self.port, self.traffic, self.elf = port, traffic, elf
        self.lines, self.process, self.counter = [], None, 0
        self.changed = threading.Condition()

    def boot(self):
        before = len(self.lines)
        self.process = subprocess.Popen(
            ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "stdio",
             "-semihosting-config", f"enable=on,target=native,arg={self.flash.path}",
             "-netdev", "user,id=n0,ipv6=off", "-net", "nic,netdev=n0,model=lan9118",
             "-object", f"filter-dump,id=d0,netdev=n0,file={self.dump}", "-kernel", str(self.elf)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        self.listener = threading.Thread(target=self.listen, args=(self.process.stdout,), daemon=True)
        self.listener.start()
        self.wait("ready", before)

    def listen(self, console):
        for line in console:
            with self.changed:
                self.lines.append(line.rstrip())
                self.changed.notify_all()

    def type(self, line):
        self.process.stdin.write(line + "\n")

    def wait(self, pattern, after=0, patience=PATIENCE):
        """The first line behind `after` that matches."""
        end = time.monotonic() + patience
        with self.changed:
            while True:
                for line in self.lines[after:]:
                    if re.search(pattern, line):
                        return line
                left = end - time.monotonic()
                assert left > 0, f"no {pattern!r} on the console; its end:\n" + "\n".join(self.lines[-15:])
                self.changed.wait(min(left, 1))

    def drain(self):
        """Waits until the outbox is empty."""
        end = time.monotonic() + PATIENCE
        while True:
            before = len(self.lines)
            self.type("status")
            if " 0 waiting" in self.wait(r"\d+ waiting", before):
                return
            assert time.monotonic() < end, "messages wait for ever"
            time.sleep(0.2)

    def cut(self):
        """Power fails. What this life has shown on the wire and taken of its counters goes into the account."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.listener.join()
        self.process = None
        begun, counter = self.traffic.add(self.dump.read_bytes(), self.port), self.flash.counter()
        assert counter >= self.counter + begun, f"{begun} handshakes, counters {self.counter} to {counter}"
        self.counter = counter


def orders_heard(machine):
    return [m[1] for line in machine.lines if (m := re.match(r"@alice @greenhouse: (order \d+)$", line))]


def enrol(member, machine):
    """A power cut in the middle: the same code goes on."""
    code = member.run("boards", "enrol", "greenhouse", "--no-qr").stdout.strip()
    machine.boot()
    machine.type("report 0")
    machine.type(f"enroll {code}")
    machine.wait("keys are made")
    machine.cut()
    start = len(machine.lines)
    machine.boot()
    machine.type("report 0")
    machine.wait("enrolled by @alice", start)
    boards = [json.loads(line) for line in member.run("boards", "list", "--json").stdout.splitlines()]
    assert [(b["board"], b["state"], b["proven"]) for b in boards] == [("@greenhouse", "active", True)], boards


def long_texts(member, machine):
    """Both ways, and to a room."""
    member.run("rooms", "join", "#workshop")
    for target in ("@alice", "#workshop"):
        machine.type(f"send {target} {LONG}")
    member.send(LONG)
    machine.wait(LONG)
    machine.drain()
    texts = [(m["to"], m["text"]) for m in member.receive()]
    assert texts == [(target, LONG) for target in ("@alice", "#workshop")], texts


def exchange(member, machine, server, count):
    """Both ways at once; the server is killed in the middle and comes back."""
    sender = threading.Thread(target=lambda: [member.send(f"order {n}") for n in range(count)])
    sender.start()
    for number in range(count):
        before = len(machine.lines)
        machine.type(f"send @alice report {number}")
        machine.wait(r"message \d+ accepted", before)
        if number == count // 2:
            server.kill()
            time.sleep(1)
            server.start()
    sender.join()
    deadline = time.monotonic() + PATIENCE
    while len(set(orders_heard(machine))) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    assert orders_heard(machine) == [f"order {n}" for n in range(count)], "orders were lost, doubled or reordered"
    reports = [m["text"] for m in member.receive() if m["to"] == "@alice"]
    assert reports == [f"report {n}" for n in range(count)], f"reports: {reports[:5]}… {len(reports)} of {count}"


def power_cuts(member, machine, cuts, dice):
    """At random moments. What the console called queued must arrive, once."""
    promised = []
    for cut in range(cuts):
        texts = [f"cut {cut} a", f"cut {cut} b"]
        before = len(machine.lines)
        for text in texts:
            machine.type(f"send @alice {text}")
            time.sleep(dice.random() * 0.15)
        machine.cut()
        # The console answers in order: so many of them were stored.
        promised += texts[: sum("queued" in line for line in machine.lines[before:])]
        if dice.random() < 0.5:
            machine.flash.tear(dice)
        machine.boot()
        machine.type("report 0")
        # Before, during and after the handshake.
        time.sleep(dice.random() * dice.choice((0.2, 0.8)))
        # The outbox holds 16.
        if cut % 5 == 4:
            machine.drain()
    machine.drain()
    texts = [m["text"] for m in member.receive()]
    lost = [text for text in promised if text not in texts]
    assert not lost, f"lost: {lost}"
    assert len(texts) == len(set(texts)), "a message came twice"
    return len(promised)


def wrong_pin(directory, server, traffic):
    machine = Machine(directory, "stranger", server.port, traffic)
    try:
        machine.boot()
        machine.type(f"enroll sordino://127.0.0.1:{server.port}/board/{'c0' * 16}/1900000000#{'ab' * 32}")
        machine.wait("offline: this server has another root key")
    finally:
        machine.cut()


def async_client(directory, member, server, traffic, count=20):
    """The firmware with the async client: enrolment, both ways, the server killed in the middle."""
    machine = Machine(directory, "async", server.port, traffic, ASYNC_ELF)
    try:
        code = member.run("boards", "enrol", "attic", "--no-qr").stdout.strip()
        machine.boot()
        machine.type("report 0")
        machine.type(f"enroll {code}")
        machine.wait("enrolled by @alice")
        for number in range(count):
            machine.type(f"send @alice report {number}")
            member.send(f"order {number}", "attic")
            machine.wait(f"@alice @attic: order {number}$")
            if number == count // 2:
                server.kill()
                server.start()
        machine.drain()
        reports = [m["text"] for m in member.receive()]
        assert reports == [f"report {n}" for n in range(count)], reports
        orders = [line for line in machine.lines if "@attic: order" in line]
        assert len(orders) == count, orders
    finally:
        machine.cut()


def revoke(member, machine):
    before = len(machine.lines)
    member.run("boards", "revoke", "greenhouse")
    machine.wait("offline: the server refuses this board: revoked", before)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        server, traffic = Server(directory), Traffic()
        machine = Machine(directory, "board", server.port, traffic)
        try:
            member = Member(directory, server)
            enrol(member, machine)
            print("enrolled, through a power cut")
            long_texts(member, machine)
            print("records of 1 KiB both ways")
            exchange(member, machine, server, arguments.messages)
            print(f"{arguments.messages} messages each way, the server killed in the middle")
            promised = power_cuts(member, machine, arguments.cuts, random.Random(arguments.seed))
            print(f"{arguments.cuts} power cuts: {promised} promised messages arrived, each once")
            wrong_pin(directory, server, traffic)
            print("another server is refused")
            async_client(directory, member, server, traffic)
            print("the async client: 20 messages each way, the server killed in the middle")
            revoke(member, machine)
            print("a revoked board is told")
            machine.cut()
            traffic.check(["order ", "report ", "cut 1", LONG[:12], "greenhouse", "attic", "alice", "workshop", PASSWORD])
            print(f"on the wire: {traffic}")
            print(f"ephemeral counters only grow, to {machine.counter}")
        finally:
            if machine.process:
                machine.process.kill()
            server.kill()


if __name__ == "__main__":
    sys.exit(main())
