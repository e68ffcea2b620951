"""Writes the generated corpus as JSON lines: {"text": story} and {"chat": [[role, text], ...]}. Deterministic by seed.

    python generate.py --out DIR --stories 60000 --chats 90000 --seed 1
"""
import argparse
import json
import pathlib
import random

import chats
import stories


def write_lines(path, count, make, seed):
    """`count` records made by make(rng), one JSON object per line; exact duplicates are dropped."""
    rng = random.Random(f"{path.name}:{seed}")
    seen = set()
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(count):
            line = json.dumps(make(rng), ensure_ascii=False)
            if line not in seen or "chat" in line[:8]:
                out.write(line + "\n")
            seen.add(line)
    print(f"{path.name}: {count} records, {len(seen)} different")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for stories.jsonl, chats.jsonl and quizzes.jsonl")
    parser.add_argument("--stories", type=int, default=60000)
    parser.add_argument("--chats", type=int, default=90000)
    parser.add_argument("--quizzes", type=int, default=120000, help="chats of questions only")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    write_lines(args.out / "stories.jsonl", args.stories, lambda rng: {"text": stories.make_story(rng)[0]}, args.seed)
    write_lines(args.out / "chats.jsonl", args.chats, lambda rng: {"chat": chats.make_chat(rng)}, args.seed)
    write_lines(args.out / "quizzes.jsonl", args.quizzes, lambda rng: {"chat": chats.make_quiz(rng)}, args.seed)


if __name__ == "__main__":
    main()
