#!/usr/bin/env python3
"""SIGTERM at random moments under load: every request that was accepted ends by itself or with an explicit error, the exit code
is 0, and it happens within the time that was given."""
import argparse
import asyncio
import json
import random
import time

from serving import Server, ask, body_of


async def load(server, args, draw):
    accepted = []

    async def one(number):
        while server.process.poll() is None:
            answer = await ask(server.port, body_of(f"Moment {number}:", draw.randrange(1, args.tokens)), limit_s=60)
            if answer.status != 200:  # refused, or nobody listens any more
                return
            accepted.append(answer)

    tasks = [asyncio.ensure_future(one(i)) for i in range(args.clients)]
    await asyncio.sleep(draw.uniform(0.0, args.within))
    began = time.monotonic()
    server.process.terminate()
    code = await asyncio.get_running_loop().run_in_executor(None, lambda: server.process.wait(timeout=60))
    seconds = time.monotonic() - began
    await asyncio.gather(*tasks)
    return accepted, code, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--within", type=float, default=0.8, help="seconds of load before the signal")
    parser.add_argument("--shutdown-timeout", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    draw, whole, explicit, silent, codes, slowest = random.Random(args.seed), 0, 0, 0, {}, 0.0
    for _ in range(args.moments):
        server = Server(args.binary, args.model, "--shutdown-timeout", args.shutdown_timeout, "--max-num-seqs", 4)
        accepted, code, seconds = asyncio.run(load(server, args, draw))
        codes[code] = codes.get(code, 0) + 1
        slowest = max(slowest, seconds)
        whole += sum(1 for a in accepted if a.ok)
        explicit += sum(1 for a in accepted if not a.ok and a.error and a.finish is None and " " in a.error)
        silent += sum(1 for a in accepted if not a.ok and not (a.error and " " in a.error))
    print(json.dumps({"moments": args.moments, "accepted": whole + explicit + silent, "ended_by_themselves": whole,
                      "ended_with_an_error": explicit, "without_an_end": silent, "exit_codes": codes,
                      "slowest_exit_s": round(slowest, 2), "shutdown_timeout_s": args.shutdown_timeout}), flush=True)


if __name__ == "__main__":
    main()
