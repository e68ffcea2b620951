#!/usr/bin/env python3
"""Job completion times of scheduling policies on the same arrivals: an open loop of Poisson arrivals with answers of
heavy-tailed length, against one server for each policy.

  compare_policies.py --binary build/foregate --model models/demo --rate 12 --jobs 200 --policy fcfs --policy mlfq
"""
import argparse
import json
import random
import statistics
import subprocess
import threading
import time
import urllib.request


class Server:
    def __init__(self, binary, model, policy, width):
        self.process = subprocess.Popen(
            [binary, "serve", model, "--port", "0", "--no-grpc", "--scheduling-policy", policy, "--max-num-seqs",
             str(width), "--max-num-queued-reqs", "100000", "--mlfq-quantum", "32"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if " serves " in line:
                self.address = line.split(" at ")[1].strip()
                return
        raise SystemExit("the server did not start")

    def metric(self, name):
        text = urllib.request.urlopen(self.address + "/metrics").read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def stop(self):
        self.process.terminate()
        self.process.wait()


def made_jobs(seed, count, rate, share_long, short, long):
    """(arrival in seconds, tokens): most answers are short, a few long."""
    draw = random.Random(seed)
    at, jobs = 0.0, []
    for _ in range(count):
        at += draw.expovariate(rate)
        jobs.append((at, long if draw.random() < share_long else short))
    return jobs


def run_job(address, number, tokens, due, times, answers):
    time.sleep(max(0.0, due - time.monotonic()))
    body = {"prompt": f"Story {number}: once upon a time", "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    request = urllib.request.Request(address + "/v1/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    answers[number] = json.load(urllib.request.urlopen(request))["choices"][0]["text"]
    times[number] = time.monotonic() - due


def run_policy(args, policy, jobs):
    server = Server(args.binary, args.model, policy, args.width)
    times, answers = [None] * len(jobs), [None] * len(jobs)
    start = time.monotonic() + 0.5
    threads = [threading.Thread(target=run_job, args=(server.address, i, tokens, start + at, times, answers))
               for i, (at, tokens) in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = {"policy": policy, "demotions": server.metric("foregate_policy_demotions_total"),
               "promotions": server.metric("foregate_policy_promotions_total"),
               "preemptions": server.metric("vllm:num_preemptions_total")}
    server.stop()
    if None in times:
        raise SystemExit(f"{policy}: {times.count(None)} jobs had no answer")
    ordered = sorted(times)
    shorts = [t for t, job in zip(times, jobs) if job[1] == args.short]
    figures.update(n=len(jobs), mean_s=round(statistics.mean(times), 3), median_s=round(statistics.median(times), 3),
                   p99_s=round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 3),
                   mean_short_s=round(statistics.mean(shorts), 3), makespan_s=round(max(
                       at + t for (at, _), t in zip(jobs, times)), 1))
    return figures, answers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--policy", action="append")
    parser.add_argument("--rate", type=float, default=8.0, help="arrivals a second")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--share-long", type=float, default=0.1)
    parser.add_argument("--short", type=int, default=8, help="tokens")
    parser.add_argument("--long", type=int, default=300, help="tokens")
    parser.add_argument("--width", type=int, default=2, help="--max-num-seqs of the servers")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    jobs = made_jobs(args.seed, args.jobs, args.rate, args.share_long, args.short, args.long)
    first = None
    for policy in args.policy or ["fcfs", "mlfq"]:
        figures, answers = run_policy(args, policy, jobs)
        first = first or answers
        figures["same_answers"] = answers == first
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
