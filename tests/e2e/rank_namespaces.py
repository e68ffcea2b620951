#!/usr/bin/env python3
"""Four ranks in network namespaces of their own, joined by a bridge as machines are by a switch: the text of one process,
bytes on the wires, and a cable that is pulled.

Needs root, ip, unshare, mpirun and the MPI module; without them it says so and is skipped (77).
Usage: rank_namespaces.py --binary FOREGATE --model DIR [--ranks 4]"""
import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pack_e2e
from mpi_e2e import ENVIRONMENT, Job, processes
from ranks import answers, ask, figure

CLONE_NEWNET = 0x40000000


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


class Network:
    """Namespaces PREFIX-host0, ... on one bridge; this process is in the first of them while it lasts."""

    def __init__(self, hosts):
        self.prefix, self.hosts = f"fg{os.getpid()}", [f"host{i}" for i in range(hosts)]
        self.switch = f"{self.prefix}-switch"
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.folder = Path(tempfile.mkdtemp())

    def of(self, host):
        return f"{self.prefix}-{host}"

    def __enter__(self):
        table = "127.0.0.1 localhost\n" + "".join(f"10.77.0.{i + 1} {host}\n" for i, host in enumerate(self.hosts))
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for i, host in enumerate(self.hosts):
            ip("netns", "add", self.of(host))
            ip("link", "add", f"port{i}", "netns", self.switch, "type", "veth", "peer", "name", "eth0", "netns", self.of(host))
            ip("-n", self.switch, "link", "set", f"port{i}", "master", "br0", "up")
            ip("-n", self.of(host), "addr", "add", f"10.77.0.{i + 1}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", self.of(host), "link", "set", device, "up")
            names = Path("/etc/netns") / self.of(host) / "hosts"
            names.parent.mkdir(parents=True)
            names.write_text(table)
        agent = self.folder / "agent"  # what mpirun takes for ssh
        agent.write_text(f"#!/bin/sh\nhost=$1; shift\nexec ip netns exec {self.prefix}-$host unshare --uts sh -c \"hostname $host; $*\"\n")
        agent.chmod(0o755)
        self.enter(os.open(f"/run/netns/{self.of('host0')}", os.O_RDONLY))
        return self

    @staticmethod
    def enter(namespace):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def starter(self):
        hosts = ",".join(f"{host}:1" for host in self.hosts)
        return ["ip", "netns", "exec", self.of("host0"), "unshare", "--uts", "sh", "-c", 'hostname host0; exec "$@"', "sh",
                "mpirun", "-np", str(len(self.hosts)), "--host", hosts, "--mca", "plm_rsh_agent", str(self.folder / "agent"),
                "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "eth0", "--mca", "oob_tcp_if_include", "eth0",
                "-x", "FOREGATE_TEST_JOB"]

    def sent(self, host):
        shown = subprocess.run(["ip", "-n", self.of(host), "-s", "-j", "link", "show", "eth0"], check=True, capture_output=True)
        return json.loads(shown.stdout)[0]["stats64"]["tx"]["bytes"]

    def cable(self, number, state):
        ip("-n", self.switch, "link", "set", f"port{number}", state)

    def __exit__(self, *_):
        self.enter(self.home)
        for host in [*self.hosts, "switch"]:
            subprocess.run(["ip", "netns", "del", self.of(host)], check=False)
            shutil.rmtree(Path("/etc/netns") / self.of(host), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def pull_a_cable(network, served):
    got = []
    running = [threading.Thread(target=lambda: got.append(ask(served, max_tokens=1900, ignore_eos=True))) for _ in range(3)]
    before = figure(served, "moe_exchange_rows_total")
    for thread in running:
        thread.start()
    while figure(served, "moe_exchange_rows_total") == before:
        time.sleep(0.005)
    start = time.monotonic()
    network.cable(2, "down")
    for thread in running:
        thread.join()
    over = time.monotonic() - start
    assert any(status != 200 for status, _ in got), "the rank was not missed"
    assert all(status == 200 or "error" in json.loads(text) for status, text in got), got
    while ask(served)[0] != 200:
        assert time.monotonic() < start + 60, "it does not serve again"
        time.sleep(0.05)
    print(f"a cable pulled: requests over after {over:.2f} s, an answer again after {time.monotonic() - start:.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=lambda text: Path(text).resolve())
    parser.add_argument("--model", required=True, type=lambda text: Path(text).resolve())
    parser.add_argument("--ranks", type=int, default=4)
    options = parser.parse_args()
    pack_e2e.OPTIONS.binary = options.binary
    missing = [tool for tool in ("ip", "unshare", "mpirun") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0 or not (options.binary.parent / "libforegate_mpi.so").exists():
        print(f"skipped: {', '.join(missing) or 'root and the MPI module are needed'}")
        return 77
    if subprocess.run(["ip", "netns", "add", f"fg{os.getpid()}"], capture_output=True).returncode != 0:
        print("skipped: no network namespaces here")
        return 77
    ip("netns", "del", f"fg{os.getpid()}")
    os.environ.update(ENVIRONMENT)
    with pack_e2e.Served(options.model) as served:
        want = answers(served)
    with Network(options.ranks) as network:
        with Job(options.model, options.ranks, starter=network.starter()) as served:
            quiet = [network.sent(host) for host in network.hosts]
            assert answers(served) == want, "another text"
            assert figure(served, "foregate_ranks_serving") == options.ranks
            bytes_sent = sum(network.sent(host) for host in network.hosts) - sum(quiet)
            crossed = figure(served, "moe_exchange_bytes_total")
            assert 0 < crossed < bytes_sent, (crossed, bytes_sent)
            assert sorted(processes(served)) == list(range(options.ranks))
            print(f"{options.ranks} ranks in namespaces of their own: the text of one process, {crossed:.0f} bytes of messages, "
                  f"{bytes_sent} bytes on the wires")
            try:
                pull_a_cable(network, served)
                assert answers(served) == want, "another text"
            finally:
                network.cable(2, "up")  # so that mpirun reaches what it has to end
    return 0


if __name__ == "__main__":
    sys.exit(main())
