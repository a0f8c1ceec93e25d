"""Machines that share nothing but a network: each a network namespace with its own address, host name, processes and home."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

BRIDGE, NETWORK = "sync-scale", "10.77.0"
OPERATOR = f"{NETWORK}.254"
"""This program's own address on the network."""


def run(*command: str, check: bool = True) -> None:
    """A command that changes the machine this runs on."""
    subprocess.run(command, check=check, capture_output=True)


@dataclass(slots=True)
class Machine:
    """One machine; its programs end with it."""

    name: str
    number: int
    home: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where others reach it."""
        return f"{NETWORK}.{self.number}"

    @property
    def _space(self) -> str:
        return f"{BRIDGE}-{self.number}"

    def switch_on(self) -> None:
        """Create its empty home and its interface on the network."""
        self.home.mkdir(parents=True)
        inside, outside = f"si{self.number}", f"so{self.number}"
        run("ip", "netns", "add", self._space)
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", self._space)
        run("ip", "link", "set", outside, "master", BRIDGE, "up")
        run("ip", "-n", self._space, "link", "set", "lo", "up")
        run("ip", "-n", self._space, "addr", "add", f"{self.address}/24", "dev", inside)
        run("ip", "-n", self._space, "link", "set", inside, "up")

    def plug(self, *, connected: bool) -> None:
        """Connect it to the network, or disconnect it."""
        run("ip", "link", "set", f"so{self.number}", "up" if connected else "down")

    def command(self, words: Sequence[str]) -> list[str]:
        """The same command on this machine, with its host name and processes of its own."""
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', self.name, *words]
        alone = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        return ["ip", "netns", "exec", self._space, *alone, *named]

    def start(self, what: str, words: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start a program; what it prints is in its home."""
        with (self.home / f"{what}.log").open("ab") as log:
            self.running[what] = subprocess.Popen(
                self.command(words), cwd=self.home, env=dict(environ), stdout=log, stderr=log, start_new_session=True
            )

    def ask(self, words: Sequence[str], environ: Mapping[str, str], *, check: bool = True) -> str:
        """What a command prints that runs there."""
        done = subprocess.run(
            self.command(words), cwd=self.home, env=dict(environ), check=False, capture_output=True, text=True
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)} on {self.name} ended with {done.returncode}: {done.stderr[-3000:]}")
        return done.stdout

    def program(self, what: str) -> psutil.Process:
        """The process of a program itself, below those that give it a machine."""
        process = psutil.Process(self.running[what].pid)
        while process.name() in {"ip", "unshare"}:
            process = process.children()[0]
        return process

    def stop(self, what: str, seconds: float) -> float:
        """Ask a program to end, and kill it when it has not after so long; returns how long that took."""
        began = time.monotonic()
        with suppress(psutil.NoSuchProcess):
            self.program(what).terminate()
        with suppress(subprocess.TimeoutExpired):
            self.running[what].wait(seconds)
        self.kill(what)
        return time.monotonic() - began

    def processor(self, what: str) -> float:
        """Seconds of the processor that a program has used with all its processes, also those that have ended."""
        used = 0.0
        with suppress(psutil.NoSuchProcess, IndexError):
            program = self.program(what)
            used += sum(program.cpu_times()[:4])
            for process in program.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    used += sum(process.cpu_times()[:4])
        return used

    def memory(self, what: str) -> int:
        """Bytes that a program uses with all its processes; what these share counts once."""
        used = 0
        with suppress(psutil.NoSuchProcess, KeyError, IndexError):
            program = self.program(what)
            for process in (program, *program.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    used += process.memory_full_info().pss
        return used

    def kill(self, what: str) -> None:
        """`kill -9` of a program and everything it has started."""
        process = self.running.pop(what)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()

    def switch_off(self) -> None:
        """Kill what runs, and take the machine away."""
        for what in list(self.running):
            self.kill(what)
        run("ip", "netns", "del", self._space, check=False)
        run("ip", "link", "del", f"so{self.number}", check=False)


@dataclass(slots=True)
class Network:
    """The machines and the network between them."""

    directory: Path
    machines: dict[str, Machine] = field(default_factory=dict)

    def build(self, names: Sequence[str]) -> None:
        """Machines of these names, numbered in this order."""
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{OPERATOR}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for number, name in enumerate(names, 1):
            self.machines[name] = Machine(name, number, self.directory / name)
            self.machines[name].switch_on()

    def remove(self) -> None:
        """Take the machines away; only their logs stay in the directory."""
        for machine in self.machines.values():
            machine.switch_off()
        run("ip", "link", "del", BRIDGE, check=False)
        for file in self.directory.rglob("*"):
            if file.is_symlink() or (file.is_file() and file.suffix != ".log"):
                file.unlink()
