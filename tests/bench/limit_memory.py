#!/usr/bin/env python3
"""Runs a command in a memory control group of its own, page cache included, and reports what it took.

Needs root and a memory controller, of version 2 or 1. The peak, the bytes read from disks and the time go to stderr, or as
JSON to --report. With --read-ahead-kb the read-ahead of the disk that holds FILE is set for the run and put back after it.

    limit_memory.py --share 0.5 --of olmoe-q4_0.gguf -- llama-bench -m olmoe-q4_0.gguf ...
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class Group:
    """A control group with a limit; removed when left."""

    def __init__(self, limit):
        controllers = ROOT / "cgroup.controllers"
        if controllers.exists() and "memory" in controllers.read_text().split():
            subtree = ROOT / "cgroup.subtree_control"
            if "memory" not in subtree.read_text().split():
                subtree.write_text("+memory")
            base, limit_name, self.peak_name = ROOT, "memory.max", "memory.peak"
        elif (ROOT / "memory" / "cgroup.procs").exists():
            base, limit_name, self.peak_name = ROOT / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"
        else:
            raise SystemExit("limit_memory: there is no memory controller")
        self.path = Path(tempfile.mkdtemp(prefix="foregate-bench-", dir=base))
        (self.path / limit_name).write_text(str(limit))

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self):
        name = self.path / self.peak_name
        return int(name.read_text()) if name.exists() else None

    def remove(self):
        for _ in range(50):
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.1)  # the last pages are still being given back


def disk_of(path):
    """(/sys/block folder, bytes read so far) of the disk that holds a file."""
    device = os.stat(path).st_dev
    place = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    place = place.parent if (place / "partition").exists() else place
    return place, 512 * int((place / "stat").read_text().split()[2])


def drop_from_cache(path):
    with open(path, "rb") as file:
        os.fdatasync(file.fileno())  # pages not yet written would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def files_of(paths):
    files = []
    for path in paths:
        files += [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file())
    return files


def run(command, limit, files):
    group = Group(limit)
    for file in files:
        drop_from_cache(file)
    _, before = disk_of(files[0])
    start = time.monotonic()
    child = subprocess.Popen(command, preexec_fn=group.enter)
    try:
        code = child.wait()
    finally:
        child.kill()
        report = {"limit_bytes": limit, "peak_bytes": group.peak(), "disk_read_bytes": disk_of(files[0])[1] - before,
                  "seconds": time.monotonic() - start}
        group.remove()
    return code, report


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--bytes", type=int, help="the limit")
    size.add_argument("--share", type=float, help="the limit as a share of the files of --of")
    parser.add_argument("--of", type=Path, nargs="+", required=True, metavar="FILE",
                        help="files or folders of the model; they leave the page cache before the run")
    parser.add_argument("--read-ahead-kb", type=int)
    parser.add_argument("--report", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    options.command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not options.command:
        parser.error("give a command")
    return options


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    files = files_of(options.of)
    if not files:
        print(f"limit_memory: no files in {options.of}", file=sys.stderr)
        return 2
    limit = options.bytes or int(options.share * sum(file.stat().st_size for file in files))
    read_ahead = disk_of(files[0])[0] / "queue/read_ahead_kb"
    kept = read_ahead.read_text()
    try:
        if options.read_ahead_kb is not None:
            read_ahead.write_text(str(options.read_ahead_kb))
        code, report = run(options.command, limit, files)
    finally:
        read_ahead.write_text(kept)
    report["read_ahead_kb"] = options.read_ahead_kb if options.read_ahead_kb is not None else int(kept)
    text = json.dumps(report)
    options.report.write_text(text + "\n") if options.report else print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
