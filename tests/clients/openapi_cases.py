"""Cases that schemathesis makes of /openapi.json, sent to a server. Run by run_openapi.py, in its virtual environment."""
import argparse
import json
import sys
import time
from collections import Counter

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks

CHECKS = [checks.status_code_conformance, checks.content_type_conformance, checks.response_headers_conformance,
          checks.response_schema_conformance, checks.negative_data_rejection]
FINE = {503, 504}  # a full server; a deadline that the case itself has set
HANG_SECONDS = 10
BARE = 4  # cases of an operation that takes nothing


class Run:
    def __init__(self, url):
        self.url = url
        self.session = requests.Session()
        self.statuses, self.modes, self.operations = Counter(), Counter(), Counter()
        self.unsent, self.slowest, self.findings = 0, 0.0, {}

    def find(self, case, what, text):
        label = f"{case.operation.label}: {what}"
        if label not in self.findings:
            self.findings[label] = [0, text[:1500]]
            print(f"found: {label}", file=sys.stderr, flush=True)
        self.findings[label][0] += 1

    def send(self, case, mode):
        begin = time.monotonic()
        try:
            response = case.call(base_url=self.url, session=self.session, timeout=HANG_SECONDS)
        except requests.Timeout:
            return self.find(case, "hangs", case.as_curl_command())
        except requests.ConnectionError as error:
            return self.find(case, "breaks the connection", f"{error}\n{case.as_curl_command()}")
        except (requests.RequestException, UnicodeError, ValueError):
            self.unsent += 1  # no HTTP client can say this
            return None
        self.slowest = max(self.slowest, time.monotonic() - begin)
        self.statuses[response.status_code] += 1
        self.modes[mode.value] += 1
        self.operations[case.operation.label] += 1
        if response.status_code >= 500 and response.status_code not in FINE:
            self.find(case, f"status {response.status_code}", response.text + "\n" + case.as_curl_command())
        self.check(case, response)
        return None

    def check(self, case, response):
        # All values of a form are texts: one of another kind cannot be told from the text that it is sent as.
        form = (case.media_type or "").startswith("multipart/")
        refused = response.status_code in (408, 411, 413, 431)  # as much as 400, which the check does not know
        try:
            case.validate_response(response, checks=CHECKS[:-1] if form or refused else CHECKS)
        except FailureGroup as group:
            failures = group.exceptions
        except Failure as failure:
            failures = [failure]
        else:
            return
        for failure in failures:
            self.find(case, type(failure).__name__, f"{failure}\n{response.status_code} {response.text[:300]}\n{case.as_curl_command()}")

    def operation(self, operation, mode, count, number):
        @seed(number)
        @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def each(case):
            self.send(case, mode)
        try:
            each()
        except Exception as error:  # nothing of that kind can be made of this operation
            if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):
                raise


def takes_something(operation):
    return bool(operation.body) or any(getattr(operation, kind) for kind in ("path_parameters", "query", "headers"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="one after the other, from --seed on; the cases are shared out among them")
    options = parser.parse_args()
    schema = schemathesis.openapi.from_url(options.url + "/openapi.json")
    operations = [one.ok() for one in schema.get_all_operations()]
    rich = [one for one in operations if takes_something(one)]
    bodies = [one for one in rich if one.body]
    run = Run(options.url)
    left = options.cases // options.seeds - BARE * (len(operations) - len(rich))
    share = max(2, left // (len(rich) + 3 * len(bodies)))  # of an operation without a body; four times as much with one
    begin = time.monotonic()
    planned = 0
    for one in range(options.seed, options.seed + options.seeds):
        for number, operation in enumerate(operations):
            if operation not in rich:
                planned += BARE
                run.operation(operation, GenerationMode.POSITIVE, BARE, one)
                continue
            each = max(1, share * (4 if operation.body else 1) // 2)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                planned += each
                run.operation(operation, mode, each, one * 1000 + number)
        print(f"seed {one}: {sum(run.statuses.values())} sent in {time.monotonic() - begin:.0f} s, {len(run.findings)} findings",
              file=sys.stderr, flush=True)
    sent = sum(run.statuses.values())
    print(json.dumps({"planned": planned, "sent": sent, "unsent": run.unsent, "seconds": round(time.monotonic() - begin, 1), "seed": options.seed, "seeds": options.seeds,
                      "slowest_seconds": round(run.slowest, 2), "modes": run.modes, "statuses": dict(sorted(run.statuses.items())),
                      "operations": run.operations, "findings": len(run.findings)}, indent=1))
    for label, (count, text) in run.findings.items():
        print(f"\nFOUND {count} x {label}\n{text}")
    missing = {one.label for one in operations} - set(run.operations)
    if missing:
        print(f"never asked: {sorted(missing)}")
    return 1 if run.findings or missing or sent < 0.75 * planned else 0


if __name__ == "__main__":
    sys.exit(main())
