#!/usr/bin/env python3
"""Tokens per second with speculation over plain decoding, by kind of text and number of clients. One server for each
way to draft, all up at once; in every round each of them gets the same requests in turn, and the first of them changes
from round to round. `control` is a second plain server: what it differs from the first by is noise. All servers are
started anew --starts times, because a process keeps its luck with memory. Answers must be equal.

  compare_spec.py --binary build/foregate --model models/demo --draft models/demo-draft --clients 1 8 --rounds 7

Kinds: `free`, stories from their first words; `quote`, a text that stands in the prompt and is begun again; `again`,
questions that were asked before in the same round.
"""
import argparse
import json
import random
import statistics
import subprocess
import threading
import time
import urllib.request

WORDS = ("the a little dog cat bird tree house garden river stone red blue old kind happy went saw found took gave ran "
         "sat asked said and then but one day in on by with his her").split()


class Server:
    def __init__(self, binary, model, config, extra):
        spec = ["--speculative-config", json.dumps(config)] if config else []
        self.process = subprocess.Popen([binary, "serve", model, "--port", "0", "--no-grpc", *spec, *extra],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if " serves " in line:
                self.address = line.split(" at ")[1].strip()
                return
        raise SystemExit("the server did not start")

    def metric(self, name):
        text = urllib.request.urlopen(self.address + "/metrics").read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith(name + "{") or line.startswith(name + " "))

    def ask(self, prompt, tokens):
        body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
        request = urllib.request.Request(self.address + "/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))["choices"][0]["text"]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def made_prompts(kind, seed, count):
    draw = random.Random(f"{kind} {seed}")
    prompts = []
    for i in range(count):
        words = [draw.choice(WORDS) for _ in range(60)]
        text = " ".join(words)
        if kind == "quote":
            prompts.append(f"{text}.\n{text}.\n{' '.join(words[:6])}")
        else:
            prompts.append(f"Once upon a time, {' '.join(words[:4])}")
    return prompts


def run_batch(server, prompts, tokens, clients):
    """All prompts by so many clients: seconds, answers."""
    answers, waiting, lock = [None] * len(prompts), list(range(len(prompts))), threading.Lock()

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                i = waiting.pop(0)
            answers[i] = server.ask(prompts[i], tokens)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    if None in answers:
        raise SystemExit("a request had no answer")
    return took, answers


def measure(server, kind, prompts, tokens, clients):
    if kind == "again":
        run_batch(server, prompts, tokens, clients)
    drafted = server.metric("vllm:spec_decode_num_draft_tokens_total")
    accepted = server.metric("vllm:spec_decode_num_accepted_tokens_total")
    took, answers = run_batch(server, prompts, tokens, clients)
    return {"tokens_per_s": len(prompts) * tokens / took, "answers": answers,
            "drafted": server.metric("vllm:spec_decode_num_draft_tokens_total") - drafted,
            "accepted": server.metric("vllm:spec_decode_num_accepted_tokens_total") - accepted}


def one_round(servers, kind, number, clients, args):
    prompts = made_prompts(kind, number, max(clients, args.requests))
    names = list(servers)
    names = names[number % len(names):] + names[:number % len(names)]
    figures = {name: measure(servers[name], kind, prompts, args.tokens, clients) for name in names}
    for name, figure in figures.items():
        if figure["answers"] != figures["plain"]["answers"]:
            raise SystemExit(f"{name}: other answers than plain, {kind}, {clients} clients, round {number}")
    return figures


def table(rows, names):
    lines = ["| text | clients | plain, tokens/s | " + " | ".join(names) + " |",
             "|---|---:|---:|" + "---:|" * len(names)]
    for row in rows:
        cells = [f"{row[name]['median']:.2f} ({row[name]['least']:.2f}-{row[name]['most']:.2f}; "
                 f"{row[name]['accepted']:.0f} of {row[name]['drafted']:.0f})" for name in names]
        lines.append(f"| {row['kind']} | {row['clients']} | {row['plain']:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--draft", help="draft model")
    parser.add_argument("--self", type=int, dest="experts", help="the model drafts for itself with so many experts")
    parser.add_argument("--only", nargs="+", help="of the ways to draft, these; control always runs")
    parser.add_argument("--kind", nargs="+", default=["free", "quote", "again"], choices=["free", "quote", "again"])
    parser.add_argument("--clients", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--requests", type=int, default=4, help="in a round, one for each client at least")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("extra", nargs="*", help="further arguments of the servers")
    args = parser.parse_args()
    configs = {"plain": None, "control": None, "ngram": {"method": "ngram"}, "suffix": {"method": "suffix"}}
    if args.draft:
        configs["draft"] = {"method": "draft_model", "model": args.draft}
    if args.experts:
        configs["self"] = {"method": "self", "num_experts": args.experts}
    if args.only:
        configs = {name: config for name, config in configs.items() if not config or name in args.only}
    names = [name for name in configs if name != "plain"]
    measured = {(kind, clients): [] for kind in args.kind for clients in args.clients}
    for start in range(args.starts):
        servers = {name: Server(args.binary, args.model, config, args.extra) for name, config in configs.items()}
        for (kind, clients), rounds in measured.items():
            first = 1000 * start - 1
            rounds += [one_round(servers, kind, n, clients, args) for n in range(first, first + 1 + args.rounds)][1:]
        for server in servers.values():
            server.stop()
    rows = []
    for (kind, clients), rounds in measured.items():
        row = {"kind": kind, "clients": clients,
               "plain": statistics.median(r["plain"]["tokens_per_s"] for r in rounds)}
        for name in names:
            ratios = [r[name]["tokens_per_s"] / r["plain"]["tokens_per_s"] for r in rounds]
            row[name] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
                         "drafted": sum(r[name]["drafted"] for r in rounds),
                         "accepted": sum(r[name]["accepted"] for r in rounds)}
        rows.append(row)
    print(table(rows, names))
    print(f"\nOver plain in the same round: median (least-most; tokens accepted of those drafted). {args.starts} starts "
          f"of {args.rounds} rounds, after one that does not count, {args.tokens} tokens an answer; answers equal in all.")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows, "starts": args.starts, "rounds": args.rounds, "tokens": args.tokens}, file, indent=1)


if __name__ == "__main__":
    main()
