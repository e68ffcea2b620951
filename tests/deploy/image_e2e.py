#!/usr/bin/env python3
"""An image's root file system run as a pod would run it, where no container runtime is at hand: namespaces of its own, the
root read-only, user 65532, no rights, the program as process 1. It serves the demo, is well, drains when it is stopped; with
MPI in it, two pods on a network of their own share the model, by tools/serve_ranks as the chart calls it.

Needs root, unshare, nsenter, ip and setpriv. ROOT is a folder, as `buildah mount` shows it (tests/deploy/offline_image).
Usage: image_e2e.py --root ROOT [unittest options]"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

OPTIONS = argparse.Namespace()
BODY = {"prompt": "Once upon a time", "temperature": 0, "ignore_eos": True}
# Process 1 of the pod's namespaces, before it becomes the program: mounts and the host's name.
ENTER = r"""
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$AT"; mount -o remount,ro,bind "$AT"
mount -t proc proc "$AT/proc"; mount -t sysfs -o ro sys "$AT/sys"; mount -t tmpfs -o mode=1777 tmp "$AT/tmp"
mount -t tmpfs -o mode=755 dev "$AT/dev"
for device in null zero random urandom; do touch "$AT/dev/$device"; mount --bind "/dev/$device" "$AT/dev/$device"; done
[ -z "$KEY" ] || { mount -t tmpfs keys "$AT/mnt"; cp "$KEY" "$AT/mnt/ssh-privatekey"; chmod 0440 "$AT/mnt/ssh-privatekey"; chown 0:65532 "$AT/mnt/ssh-privatekey"; }
mount --bind "$HOSTS" "$AT/etc/hosts"
hostname "$NAME"; ip link set lo up
exec chroot "$AT" /usr/bin/setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
  /usr/bin/env -i PATH=/opt/foregate/bin:/usr/sbin:/usr/bin:/sbin:/bin FOREGATE_HOST=0.0.0.0 $WORDS "$@"
"""


ASK = """import sys, urllib.request as u
answer = u.urlopen(u.Request('http://127.0.0.1:8000/v1/completions', sys.argv[1].encode(), {'Content-Type': 'application/json'}), timeout=100)
while line := answer.readline():
    print(line.decode(), end='', flush=True)
"""


def text_of(lines):
    text, ended = "", False
    for line in lines:
        ended = ended or line == "data: [DONE]\n"
        assert not line.startswith("data: {\"error"), line
        if line.startswith("data: {"):
            text += "".join(choice["text"] for choice in json.loads(line[6:])["choices"])
    assert ended, text
    return text


class Pod:
    """A pod: one process tree with a file system, a network and a process table of its own."""

    def __init__(self, name, *command, network=None, key="", variables=(), hosts="127.0.0.1 localhost\n"):
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "at").mkdir()
        (self.folder / "hosts").write_text(f"{hosts}127.0.0.1 {name}\n" if network is None else hosts)
        environment = dict(os.environ, ROOT=str(OPTIONS.root), AT=str(self.folder / "at"), HOSTS=str(self.folder / "hosts"), NAME=name,
                           KEY=str(key), WORDS=" ".join(variables))
        inside = ["ip", "netns", "exec", network] if network else []
        spaces = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", *([] if network else ["--net"])]
        self.said = open(self.folder / "said", "w+")
        self.process = subprocess.Popen([*inside, *spaces, "sh", "-c", ENTER, "sh", *command], env=environment, stdout=self.said, stderr=self.said)

    def first(self):
        """Process 1 of the pod, by the number that it has outside; 0 when it has none."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except OSError:
            return 0
        return int(children[0]) if children else 0

    def run(self, *command, given=None):
        words = ["nsenter", "-t", str(self.first()), "-m", "-n", "-p", "-u", "-r", "/usr/bin/setpriv", "--reuid", "65532", "--regid", "65532",
                 "--clear-groups", "/usr/bin/env", "PATH=/opt/foregate/bin:/usr/bin:/bin", *command]
        return subprocess.run(words, input=given, capture_output=True, text=True, timeout=120)

    def told(self):
        self.said.flush()
        return (self.folder / "said").read_text()

    def wait_until_well(self, seconds=120):
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            if self.first() and self.run("foregate", "health").returncode == 0:
                return
            time.sleep(0.3)
        raise AssertionError(f"not well: {self.told()}")

    def answer(self, **body):
        """A stream that is asked for within the pod's network, by this machine's Python: the image has no client."""
        words = ["nsenter", "-t", str(self.first()), "-n", sys.executable, "-c", ASK, json.dumps({**BODY, "stream": True, **body})]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def ask(self, **body):
        """The text of an answer, whole or not at all."""
        with self.answer(**body) as asked:
            return text_of(asked.stdout)

    def stop(self):
        """What the kubelet does: SIGTERM to process 1."""
        os.kill(self.first(), signal.SIGTERM)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self.said.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Image(unittest.TestCase):
    def pod(self, *words, **keywords):
        pod = Pod(*words, **keywords)
        self.addCleanup(pod.close)
        return pod

    def drains(self, pod, tokens=1500):
        """An answer that is open when the pod is told to end comes whole, and the exit code is 0."""
        want = pod.ask(max_tokens=tokens)
        with pod.answer(max_tokens=tokens) as asked:
            begun = asked.stdout.readline()
            pod.stop()
            self.assertEqual(text_of([begun, *asked.stdout]), want)
        self.assertEqual(pod.process.wait(60), 0, pod.told())
        return want

    def test_serves_the_demo_and_drains(self):
        pod = self.pod("demo", "foregate", "serve", "/models/demo")
        pod.wait_until_well()
        self.assertEqual(pod.run("id", "-u").stdout.strip(), "65532")
        self.assertNotEqual(pod.run("touch", "/opt/foregate/x").returncode, 0, "the root is read-only")
        self.drains(pod)

    def test_health_without_a_server(self):
        pod = self.pod("demo", "sleep", "60")
        until = time.monotonic() + 60
        while not pod.first() or Path(f"/proc/{pod.first()}/comm").read_text() != "sleep\n":
            self.assertLess(time.monotonic(), until, pod.told())
            time.sleep(0.05)
        self.assertEqual(pod.run("foregate", "health").returncode, 1)

    def test_a_group_of_pods_shares_the_model_and_drains(self):
        if not (OPTIONS.root / "opt/foregate/bin/serve_ranks").exists():
            self.skipTest("an image without MPI")
        alone = self.pod("demo", "foregate", "serve", "/models/demo")
        alone.wait_until_well()
        want = alone.ask(max_tokens=300)
        network = Network(2)
        self.addCleanup(network.close)
        key = network.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        hosts = "127.0.0.1 localhost\n10.78.0.1 demo-0 demo-0.demo.serving\n10.78.0.2 demo-0-1 demo-0-1.demo.serving\n"
        variables = ("RANK_KEY=/mnt/ssh-privatekey", "LWS_LEADER_ADDRESS=demo-0.demo.serving", "LWS_GROUP_SIZE=2")
        leader = self.pod("demo-0", "serve_ranks", "run", "/models/demo", network=network.of(0), key=key, variables=variables, hosts=hosts)
        time.sleep(2)  # the leader waits for its worker
        self.assertIsNone(leader.process.poll())
        worker = self.pod("demo-0-1", "serve_ranks", "host", network=network.of(1), key=key, variables=variables, hosts=hosts)
        leader.wait_until_well()
        self.assertEqual(leader.run("sh", "-c", "cat /proc/*/cmdline").stdout.replace("\0", " ").count("foregate serve"), 2, "mpirun and rank 0")
        self.assertIn("foregate", worker.run("sh", "-c", "cat /proc/*/comm").stdout.split())
        sent = network.sent(1)
        worker.stop()  # a group is told to end at once; the worker is needed until rank 0 has drained
        self.assertEqual(self.drains(leader, 300), want)
        self.assertGreater(network.sent(1) - sent, 100_000, "rows crossed the network")
        self.assertEqual(worker.process.wait(30), 0, worker.told())

    def test_a_worker_without_the_key_is_not_taken(self):
        if not (OPTIONS.root / "opt/foregate/bin/serve_ranks").exists():
            self.skipTest("an image without MPI")
        network = Network(2)
        self.addCleanup(network.close)
        for name in ("key", "other"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", network.folder / name], check=True)
        hosts = "127.0.0.1 localhost\n10.78.0.1 demo-0\n10.78.0.2 demo-0-1\n"
        variables = ("RANK_KEY=/mnt/ssh-privatekey", "RANK_HOSTS=demo-0-1")
        leader = self.pod("demo-0", "serve_ranks", "run", "/models/demo", network=network.of(0), key=network.folder / "key", variables=variables, hosts=hosts)
        self.pod("demo-0-1", "serve_ranks", "host", network=network.of(1), key=network.folder / "other", variables=variables, hosts=hosts)
        until = time.monotonic() + 30
        while "verification failed" not in leader.told() and time.monotonic() < until:
            time.sleep(0.2)
        self.assertIn("Host key verification failed", leader.told())
        leader.stop()
        self.assertEqual(leader.process.wait(30), 0)


class Network:
    """Namespaces on one bridge, with addresses 10.78.0.1 and up."""

    def __init__(self, hosts):
        self.folder, self.prefix, self.hosts = Path(tempfile.mkdtemp()), f"fi{os.getpid()}-", hosts
        self.ip("netns", "add", self.prefix + "switch")
        self.ip("-n", self.prefix + "switch", "link", "add", "br0", "type", "bridge")
        self.ip("-n", self.prefix + "switch", "link", "set", "br0", "up")
        for number in range(hosts):
            self.ip("netns", "add", self.of(number))
            self.ip("link", "add", f"port{number}", "netns", self.prefix + "switch", "type", "veth", "peer", "name", "eth0", "netns", self.of(number))
            self.ip("-n", self.prefix + "switch", "link", "set", f"port{number}", "master", "br0", "up")
            self.ip("-n", self.of(number), "addr", "add", f"10.78.0.{number + 1}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self.ip("-n", self.of(number), "link", "set", device, "up")

    @staticmethod
    def ip(*words):
        return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

    def of(self, number):
        return f"{self.prefix}{number}"

    def sent(self, number):
        return json.loads(self.ip("-n", self.of(number), "-s", "-j", "link", "show", "eth0"))[0]["stats64"]["tx"]["bytes"]

    def close(self):
        for name in ["switch", *map(str, range(self.hosts))]:
            subprocess.run(["ip", "netns", "del", self.prefix + name], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, type=Path)
    options, rest = parser.parse_known_args()
    OPTIONS.root = options.root.resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
