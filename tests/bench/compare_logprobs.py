#!/usr/bin/env python3
"""What `foregate serve` and llama-server think of the next token, on the same GGUF files: random prompts of token ids, of
each answer the most likely tokens with their log-probabilities. Says how far apart they are for the tokens that both name.

    compare_logprobs.py --foregate build/foregate --llama-server PATH --prompts 16 MODEL...
"""
import argparse
import http.client
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from compare_servers import FIRST_PLAIN_TOKEN, OURS, PEER, PLAIN_TOKENS, free_port, server_command, stop, wait_ready

MOST = 20  # tokens of an answer that are compared


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}: {text[:300]}")
        return json.loads(text)
    finally:
        connection.close()


def first_tokens(name, port, prompt):
    """{token id: log-probability} of the most likely next tokens, likeliest first."""
    if name == PEER:
        body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": MOST, "cache_prompt": False, "ignore_eos": False}
        top = post(port, "/completion", body)["completion_probabilities"][0]["top_logprobs"]
        return {entry["id"]: entry["logprob"] for entry in top}
    body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": MOST, "return_tokens_as_token_ids": True}
    top = post(port, "/v1/completions", body)["choices"][0]["logprobs"]["top_logprobs"][0]
    return {int(token.removeprefix("token_id:")): value for token, value in top.items()}


def answers(name, model, prompts, options):
    """The answers of one server, or why there are none."""
    port = free_port()
    options.prompt, options.generate = max(map(len, prompts)), 1
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(server_command(name, model, port, 1, options), stdout=log, stderr=log)
        try:
            if not wait_ready(port, child, options.timeout):
                log.seek(0)
                return None, f"did not start: {log.read().decode(errors='replace').strip()[-300:]}"
            return [first_tokens(name, port, prompt) for prompt in prompts], ""
        except (OSError, RuntimeError, KeyError, IndexError, ValueError) as error:
            return None, repr(error)
        finally:
            stop(child)


def apart(ours, theirs):
    """Differences of log-probabilities over all tokens that both answers name, and how often the likeliest is the same."""
    differences = [abs(mine[token] - its[token]) for mine, its in zip(ours, theirs) for token in mine if token in its]
    same = sum(next(iter(mine)) == next(iter(its)) for mine, its in zip(ours, theirs))
    return {"compared": len(differences), "median": statistics.median(differences) if differences else None,
            "most": max(differences, default=None), "same_first": same, "prompts": len(ours)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="GGUF files")
    parser.add_argument("--foregate", required=True)
    parser.add_argument("--llama-server", required=True)
    parser.add_argument("--foregate-args", default="")
    parser.add_argument("--llama-args", default="")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--length", type=int, default=40, help="tokens of a prompt")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=300)
    parser.add_argument("--most-apart", type=float, help="fail when a log-probability differs by more")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.prompts < 1 or options.length < 1:
        parser.error("--prompts and --length must be at least 1")
    draw = random.Random(options.seed)
    prompts = [[draw.randrange(FIRST_PLAIN_TOKEN, PLAIN_TOKENS) for _ in range(options.length)]
               for _ in range(options.prompts)]
    rows, failed = [], False
    print("| file | tokens compared | median difference | largest | likeliest token the same |\n|---|---|---|---|---|")
    for model in options.models:
        row, replies = {"model": str(model)}, {}
        for name in (OURS, PEER):
            replies[name], error = answers(name, model, prompts, options)
            if error:
                row.setdefault("failures", {})[name] = error
        if "failures" in row:
            failed = True
            print(f"| {model.name} | " + "; ".join(f"{name} {why}" for name, why in row["failures"].items()) + " | | | |")
        else:
            row |= apart(replies[OURS], replies[PEER])
            failed |= row["compared"] == 0 or (options.most_apart is not None and row["most"] > options.most_apart)
            print(f"| {model.name} | {row['compared']} | {row['median']} | {row['most']} | {row['same_first']} of {row['prompts']} |",
                  flush=True)
        rows.append(row)
    if options.json:
        options.json.write_text(json.dumps({"arguments": sys.argv[1:], "models": rows}, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
