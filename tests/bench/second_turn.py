#!/usr/bin/env python3
"""Time to the first token of the second turn of a conversation over that of the first, with the prefix cache and without it.
Turns are long; conversations come one after another, each with words of its own."""
import argparse
import asyncio
import json
import random
import statistics

from serving import Server, ask, body_of, words


async def conversation(port, number, args):
    draw = random.Random(number)
    text = f"Conversation {number}: " + words(draw, args.words)
    first = await ask(port, body_of(text, args.tokens))
    text += first.text + " " + words(draw, args.more)
    second = await ask(port, body_of(text, args.tokens))
    if not (first.ok and second.ok):
        raise SystemExit(f"no answer: {first.error or first.status} {second.error or second.status}")
    return first, second


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--words", type=int, default=1000, help="of the first turn")
    parser.add_argument("--more", type=int, default=8, help="words of the second")
    parser.add_argument("--tokens", type=int, default=16, help="of each answer")
    parser.add_argument("--conversations", type=int, default=40)
    args = parser.parse_args()
    texts = None
    for flags in ((), ("--no-enable-prefix-caching",)):
        server = Server(args.binary, args.model, *flags)
        try:
            turns = [asyncio.run(conversation(server.port, i, args)) for i in range(args.conversations + 3)][3:]
            stats = server.stats()
        finally:
            server.stop()
        got = [(a.text, b.text) for a, b in turns]
        texts = texts or got
        first, second = (statistics.median(turn[i].first for turn in turns) for i in (0, 1))
        print(json.dumps({"prefix_cache": not flags, "n": len(turns), "first_turn_ms": round(1000 * first, 2),
                          "second_turn_ms": round(1000 * second, 2),
                          "ratio": round(statistics.median(b.first / a.first for a, b in turns), 3),
                          "found": round(stats["prefix_hits"] / max(1, stats["prefix_queries"]), 3),
                          "same_answers": got == texts}), flush=True)


if __name__ == "__main__":
    main()
