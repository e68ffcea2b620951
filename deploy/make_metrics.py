#!/usr/bin/env python3
"""Writes metrics.md beside this file: every series of /metrics, as a server says itself.

It starts `foregate serve` with the demo model packed, once on two ranks, once with experts and dense weights partly on
disk and with drafts, and asks once.
Usage: make_metrics.py --binary FOREGATE --model DIR [--check]   Needs nothing but Python."""
import argparse
import http.client
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

OUT = Path(__file__).resolve().parent / "metrics.md"
HEAD = """# Every series of `/metrics`

Made by `deploy/make_metrics.py` from what a running server says of itself. Names that begin with `vllm:` mean what they mean
there; `moe_*` are about experts, `dense_window_*` appear where dense weights pass through memory, `moe_calibrated_*` where costs
were measured, `moe_exchange_*` and those of ranks where there is more than one, `vllm:spec_decode_*` where something drafts. A GPU
that does not hold all experts adds `moe_device_*` (hits, misses, fetches, evictions, slots, copies ahead, speed of the link),
`moe_host_computed_total` and a pair of tiers to `moe_expert_loaded_bytes_total`. A certificate adds `foregate_tls_*` (handshakes and
reloads by result, the certificate's end), `--files-dir` `foregate_batches_*`, `--span-file` `foregate_spans_*`,
`--preemption-mode swap` or `auto` `vllm:kv_offload_*`. The label `engine` is always 0. Histograms have `_bucket`, `_sum` and `_count`.
What to watch and what to do is in `deploy/README.md`.

| Series | Kind | Labels | Meaning |
|---|---|---|---|
"""

# Every series of vLLM under its name there: true where it is one of ours, else why it has no meaning here.
VLLM = {
    "num_requests_running": True, "num_requests_waiting": True, "num_requests_waiting_by_reason": True,
    "kv_cache_usage_perc": True, "cache_config_info": True,
    "engine_sleep_state": "an engine does not sleep: memory that others need is given back by the elastic budget",
    "lora_requests_info": "there are no adapters",
    "prompt_tokens_total": True, "generation_tokens_total": True, "prompt_tokens_cached_total": True,
    "prompt_tokens_by_source_total": True, "num_preemptions_total": True, "request_success_total": True,
    "corrupted_requests_total": True, "prefix_cache_queries_total": True, "prefix_cache_hits_total": True,
    "external_prefix_cache_queries_total": "no cache of prefixes outside the server",
    "external_prefix_cache_hits_total": "no cache of prefixes outside the server",
    "mm_cache_queries_total": "text only: there are no images or sounds to keep",
    "mm_cache_hits_total": "text only: there are no images or sounds to keep",
    "admission_rejections_total": True,
    "spec_decode_num_drafts_total": True, "spec_decode_num_draft_tokens_total": True,
    "spec_decode_num_accepted_tokens_total": True, "spec_decode_num_accepted_tokens_per_pos_total": True,
    "time_to_first_token_seconds": True, "inter_token_latency_seconds": True,
    "request_time_per_output_token_seconds": True, "e2e_request_latency_seconds": True,
    "request_queue_time_seconds": True, "request_prefill_time_seconds": True, "request_decode_time_seconds": True,
    "request_inference_time_seconds": True, "iteration_tokens_total": True, "request_prompt_tokens": True,
    "request_generation_tokens": True, "request_max_num_generation_tokens": True, "request_params_n": True,
    "request_params_max_tokens": True, "request_prefill_kv_computed_tokens": True, "kv_block_lifetime_seconds": True,
    "kv_block_idle_before_evict_seconds": True, "kv_block_reuse_gap_seconds": True,
    "kv_offload_load_bytes_total": True, "kv_offload_load_size": True, "kv_offload_load_time_total": True,
    "kv_offload_store_bytes_total": True, "kv_offload_store_size": True, "kv_offload_store_time_total": True,
    "kv_offload_total_bytes_total": True, "kv_offload_total_time_total": True, "kv_offload_cpu_cache_usage_perc": True,
    "kv_offload_allocation_failure_total": True, "kv_offload_stores_skipped_total": True,
}
VLLM_HEAD = """
## vLLM's series, one by one

| `vllm:` | Here |
|---|---|
"""


class Served:
    """One run of `foregate serve` on any free port, ready when entered, drained when left."""

    def __init__(self, binary, model, *flags, env=None):
        command = [str(binary), "serve", str(model), "--port", "0", "--grpc-port", "0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
        self.port, self.said = None, []
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"listening on http://[^ ]*:(\d+)", line):
                self.port = int(found.group(1))
                break
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr))
        self.reader.start()

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def __enter__(self):
        until = time.monotonic() + 120
        while self.port is None or self.request("GET", "/health")[0] != 200:
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                raise RuntimeError("the server is not ready: " + "".join(self.said))
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        self.reader.join()
        self.process.stderr.close()


def parsed(text):
    """{name: (kind, help, labels)} of an exposition; histograms under their own name."""
    series = {}
    for name, said in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        kind = re.search(rf"^# TYPE {re.escape(name)} (\w+)$", text, re.MULTILINE).group(1)
        labels = set()
        for found in re.findall(rf"^{re.escape(name)}(?:_bucket|_sum|_count)?\{{([^}}]*)\}}", text, re.MULTILINE):
            labels |= set(re.findall(r'(\w+)="', found)) - {"le"}
        series[name] = (kind, said, sorted(labels))
    return series


def collect(binary, model, work):
    """What servers export after one answer: one of two ranks, one with drafts and with experts and dense weights partly on disk."""
    packed = Path(work) / "packed"
    done = subprocess.run([binary, "pack", model, packed], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    on_disk = ("--preemption-mode", "swap", "--expert-memory", "40%", "--dense-memory", "60%", "--trace-routes", str(Path(work) / "routes.trace"),
               "--speculative-config", json.dumps({"method": "ngram", "num_speculative_tokens": 2}))
    series = {}
    for flags in (("--expert-parallel-size", "2", "--expert-memory", "60%", "--placement", "auto"), on_disk):
        with Served(binary, packed, *flags) as served:
            status, text = served.request("POST", "/v1/completions", {"prompt": "Once upon a time", "max_tokens": 8})
            if status != 200:
                raise RuntimeError(text)
            series |= parsed(served.request("GET", "/metrics")[1])
    return series


def table(series):
    lines = [f"| `{name}` | {kind} | {', '.join(labels) or '-'} | {said} |\n" for name, (kind, said, labels) in sorted(series.items())]
    missing = [name for name, here in VLLM.items() if (here is True) != (f"vllm:{name}" in series)]
    unknown = [name for name in series if name.startswith("vllm:") and name[5:] not in VLLM]
    if missing or unknown:
        raise RuntimeError(f"the list of vLLM's series is wrong about {missing} {unknown}")
    vllm = [f"| `{name}` | {'yes' if here is True else 'no meaning here: ' + here} |\n" for name, here in VLLM.items()]
    return HEAD + "".join(lines) + VLLM_HEAD + "".join(vllm)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        text = table(collect(options.binary, options.model, work))
    if options.check:
        same = OUT.exists() and OUT.read_text() == text
        print("metrics.md is current" if same else "metrics.md is stale: run deploy/make_metrics.py")
        return 0 if same else 1
    OUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
