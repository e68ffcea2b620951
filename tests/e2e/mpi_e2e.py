#!/usr/bin/env python3
"""`mpirun -np N foregate serve` from outside: the text of one process, no process beside those of mpirun, a rank that is
stopped, and what is said when it cannot be.

Needs Python, and mpirun and the MPI module; without them it says so and is skipped (77).
Usage: mpi_e2e.py --binary FOREGATE --model DIR --work DIR [unittest options]"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pack_e2e
from pack_e2e import OPTIONS, Served, foregate
from ranks import RankTest, answers, figure

ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
               "OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}


def mpirun(ranks):
    return ["mpirun", "-np", str(ranks)]


def processes(served):
    """{rank: pid} of the server's processes; of those that no rank is, the name."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            variables = dict(v.split("=", 1) for v in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0") if "=" in v)
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, UnicodeDecodeError):
            continue
        if state != "Z" and command[0] == str(OPTIONS.binary) and variables.get("FOREGATE_TEST_JOB") == served.job:
            found[int(variables["OMPI_COMM_WORLD_RANK"])] = int(pid)
    return found


class Job(Served):
    """A job of mpirun. It ends when rank 0 is told to."""

    def __init__(self, model, ranks, *flags, starter=None):
        self.job = os.environ["FOREGATE_TEST_JOB"] = f"{os.getpid()}-{time.monotonic_ns()}"
        super().__init__(model, "--no-grpc", *flags, starter=starter or mpirun(ranks))

    def __exit__(self, *_):
        ranks = processes(self)
        if 0 in ranks:
            os.kill(ranks[0], signal.SIGTERM)
        self.process.wait(60)
        self.drain.join()
        self.process.stderr.close()


class Mpi(RankTest):
    def test_the_text_is_that_of_one_process(self):
        packed = OPTIONS.work / "packed"
        done = foregate("pack", OPTIONS.model, packed)
        self.assertEqual(done.returncode, 0, done.stderr)
        for model, ranks, flags in ((OPTIONS.model, 2, ()), (OPTIONS.model, 3, ("--placement", "round-robin")),
                                    (packed, 2, ("--expert-memory", "50%"))):
            with Job(model, ranks, *flags) as served:
                self.assertEqual(answers(served), self.want)
                self.assertEqual(figure(served, "foregate_ranks_serving"), ranks)
                self.assertGreater(figure(served, "moe_exchange_rows_total"), 0)
                self.assertEqual(figure(served, "moe_rank_expert_loads_total") > 0, bool(flags) and model == packed)
                self.assertEqual(figure(served, "foregate_rank_restarts_total"), 0)
                self.assertIn("over MPI", json.loads(served.request("GET", "/version")[1])["experts"])
                self.assertEqual(sorted(processes(served)), list(range(ranks)))
            self.assertEqual(served.process.returncode, 0, served.said)

    def test_a_rank_that_hangs_fails_requests_and_is_followed_on_this_machine(self):
        with Job(OPTIONS.model, 2) as served:
            running, got = self.start_long(served)
            stopped = processes(served)[1]
            os.kill(stopped, signal.SIGSTOP)
            start = time.monotonic()
            for thread in running:
                thread.join()
            print(f"requests over after {time.monotonic() - start:.2f} s,", [status for status, _ in got], end=", ")
            self.ended_explicitly(got)
            self.recover(served)
            print(f"serves again after {time.monotonic() - start:.2f} s")
            self.assertEqual(answers(served), self.want)
            self.assertGreaterEqual(figure(served, "foregate_rank_restarts_total"), 1)
        until = time.monotonic() + 10
        while os.path.exists(f"/proc/{stopped}"):
            self.assertLess(time.monotonic(), until, "mpirun ends what is left")
            time.sleep(0.05)

    def test_what_cannot_be_is_said(self):
        done = subprocess.run([*mpirun(2), str(OPTIONS.binary), "serve", str(OPTIONS.model), "--port", "0", "--no-grpc",
                               "--expert-parallel-size", "3"], capture_output=True, text=True, timeout=120)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("expert_parallel_size is 3, and 2 processes", done.stderr)
        done = foregate("serve", OPTIONS.model, "--port", "0", "--rank-launcher", "mpi", "--mpi-module", "/nowhere.so")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nowhere.so", done.stderr)


if __name__ == "__main__":
    if shutil.which("mpirun") is None or not any("--binary" == a for a in sys.argv):
        print("skipped: there is no mpirun")
        sys.exit(77)
    binary = Path(sys.argv[sys.argv.index("--binary") + 1])
    if not (binary.parent / "libforegate_mpi.so").exists():
        print("skipped: the MPI module was not built")
        sys.exit(77)
    os.environ.update(ENVIRONMENT)
    pack_e2e.main()
