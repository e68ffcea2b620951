#!/usr/bin/env python3
"""Writes foregate.json, the Grafana board, beside this file. Panels are lines of ROWS: change them here, then run this.

With --check nothing is written; the exit code says whether the file is what this would write."""
import json
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parent / "foregate.json"
SELECT = 'namespace=~"$namespace",instance=~"$instance"'
MODEL = SELECT + ',model_name=~"$model_name"'
WIDTH, HEIGHT = 24, 8


def rate(name, by="", labels=MODEL):
    """The rate of a counter, summed, by labels when any are named."""
    return f"sum{f' by ({by})' if by else ''} (rate({name}_total{{{labels}}}[$__rate_interval]))"


def quantiles(name):
    return [(f"histogram_quantile({q}, sum by (le) (rate({name}_bucket{{{MODEL}}}[$__rate_interval])))", f"p{int(q * 100)}")
            for q in (0.5, 0.95, 0.99)]


def mean(name):
    return f"sum (rate({name}_sum{{{MODEL}}}[$__rate_interval])) / sum (rate({name}_count{{{MODEL}}}[$__rate_interval]))"


def share(part, *others, labels=MODEL):
    """Of the first counter and the others, the share of the first."""
    whole = " + ".join(rate(name, labels=labels) for name in (part, *others))
    return f"{rate(part, labels=labels)} / ({whole})"


def gauge(name, how="sum", by="", labels=MODEL):
    return f"{how}{f' by ({by})' if by else ''} ({name}{{{labels}}})"


# (title, unit, width, what it tells, [(expression, legend), ...]); a width of 4 makes a single figure of it.
ROWS = [
    ("Now", [
        ("Servers up", "short", 4, "Servers that answer /metrics.", [('count(up{job=~".*foregate.*"} == 1)', "up")]),
        ("Running", "short", 4, "Samples in the running batches.", [(gauge("vllm:num_requests_running"), "running")]),
        ("Waiting", "short", 4, "Samples that wait to be run.", [(gauge("vllm:num_requests_waiting"), "waiting")]),
        ("KV cache used", "percentunit", 4, "Share of KV blocks in use, the fullest server.",
         [(gauge("vllm:kv_cache_usage_perc", "max"), "used")]),
        ("Tokens generated", "short", 4, "Per second.", [(rate("vllm:generation_tokens"), "tokens/s")]),
        ("Experts found in memory", "percentunit", 4, "Of those that layers needed; 1 when all are in memory.",
         [(share("moe_expert_hits", "moe_expert_misses"), "hits")]),
    ]),
    ("Latency", [
        ("Time to first token", "s", 8, "From the request's arrival, waiting included.", quantiles("vllm:time_to_first_token_seconds")),
        ("Time between tokens", "s", 8, "Of one sample.", quantiles("vllm:inter_token_latency_seconds")),
        ("Time to the end", "s", 8, "From arrival to the last token.", quantiles("vllm:e2e_request_latency_seconds")),
        ("Time in the queue", "s", 8, "From arrival to the first step.", quantiles("vllm:request_queue_time_seconds")),
        ("Samples by state", "short", 8, "Running and waiting, all servers.",
         [(gauge("vllm:num_requests_running"), "running"), (gauge("vllm:num_requests_waiting"), "waiting")]),
        ("Samples that ended", "short", 8, "Per second, by reason.",
         [(rate("vllm:request_success", "finished_reason"), "{{finished_reason}}"),
          (rate("vllm:corrupted_requests"), "logits not finite")]),
    ]),
    ("Throughput", [
        ("Tokens", "short", 8, "Per second: prompts computed, tokens generated.",
         [(rate("vllm:prompt_tokens"), "prompt"), (rate("vllm:prompt_tokens_cached"), "of it in the cache"),
          (rate("vllm:generation_tokens"), "generated")]),
        ("Prompt tokens by source", "short", 8, "Per second.", [(rate("vllm:prompt_tokens_by_source", "source"), "{{source}}")]),
        ("Steps", "short", 8, "Per second; batched: with rows of several samples; parts: of prompts that came in pieces.",
         [(rate("foregate_steps"), "steps"), (rate("foregate_batched_steps"), "batched"), (rate("foregate_chunked_prefills"), "parts of prompts")]),
        ("Rows of a step", "short", 8, "On average.", [(mean("vllm:iteration_tokens_total"), "rows")]),
        ("Length of a sample", "short", 8, "Tokens on average.",
         [(mean("vllm:request_prompt_tokens"), "prompt"), (mean("vllm:request_generation_tokens"), "generated")]),
    ]),
    ("Keys and values", [
        ("KV cache used", "percentunit", 8, "Share of blocks in use, each server.",
         [(gauge("vllm:kv_cache_usage_perc", "max", "instance"), "{{instance}}")]),
        ("Preemptions", "short", 8, "Samples per second taken off the batch because blocks ran out.", [(rate("vllm:num_preemptions"), "preemptions")]),
        ("Prompts found in the prefix cache", "percentunit", 8, "Share of prompt tokens that were not computed again.",
         [(f"{rate('vllm:prefix_cache_hits')} / {rate('vllm:prefix_cache_queries')}", "found")]),
        ("Blocks kept", "short", 8, "Free blocks whose contents later prompts may use.", [(gauge("foregate_kv_blocks_kept"), "kept")]),
        ("Prefix cache at work", "short", 8, "Per second.",
         [(rate("foregate_prefix_waits"), "samples that waited for the same prefix"), (rate("foregate_prefix_copies"), "blocks copied"),
          (rate("foregate_prefix_merges"), "blocks merged"), (rate("foregate_prefix_evictions"), "contents given up"),
          (rate("foregate_prefix_resume_hits"), "tokens found by samples that came back")]),
    ]),
    ("Experts", [
        ("Found in memory", "percentunit", 8, "Of the experts that layers needed.",
         [(share("moe_expert_hits", "moe_expert_misses"), "hits"),
          (f"{rate('moe_expert_late')} / ({rate('moe_expert_hits')} + {rate('moe_expert_misses')})", "on their way")]),
        ("Read from disk", "Bps", 8, "Bytes of experts per second; speed: while any read is in flight.",
         [(rate("moe_expert_loaded_bytes"), "read"), (gauge("moe_expert_read_bytes_per_second", "avg"), "speed"),
          (gauge("moe_calibrated_observed_read_bytes_per_second", "avg"), "as the cost model has it")]),
        ("Waiting for experts", "percentunit", 8, "Share of the time that steps wait with no expert ready.",
         [(f"sum by (instance) (rate(moe_expert_stall_seconds_total{{{MODEL}}}[$__rate_interval]))", "{{instance}}")]),
        ("Memory for experts", "short", 8, "Experts that it holds.",
         [(gauge("moe_expert_slots"), "places"), (gauge("moe_expert_slots_used"), "taken"), (rate("moe_expert_evictions"), "given up per second")]),
        ("Bytes loaded ahead", "Bps", 8, "By guesses of later layers' routers, or of routes known before.",
         [(rate("moe_expert_hint_bytes", "kind"), "{{kind}}: begun"), (rate("moe_expert_hint_useful_bytes", "kind"), "{{kind}}: in time"),
          (rate("moe_expert_hint_late_bytes", "kind"), "{{kind}}: late"), (rate("moe_expert_hint_wasted_bytes", "kind"), "{{kind}}: in vain")]),
        ("Loads ahead", "short", 8, "Per second.",
         [(rate("moe_hints"), "guessed"), (rate("moe_hints_useful"), "guessed: used"), (rate("moe_hints_wasted"), "guessed: not used"),
          (rate("moe_certain_hints"), "known"), (rate("moe_certain_hints_useful"), "known: in time"), (rate("moe_certain_hints_late"), "known: late")]),
        ("Guesses that come true", "percentunit", 8, "Of the experts guessed for rows by the routers ahead.",
         [(f"{rate('moe_lookahead_guesses_right')} / {rate('moe_lookahead_guesses')}", "right"),
          (f"{rate('moe_lookahead_guesses_right_plain')} / {rate('moe_lookahead_guesses')}", "right without the correction (shadow)"),
          (f"{rate('moe_certain_experts_right')} / {rate('moe_certain_experts')}", "known ahead")]),
        ("Prompts: experts read a layer ahead", "short", 8, "Per second.",
         [(rate("moe_prompt_reads_ahead"), "begun"), (rate("moe_prompt_reads_ahead_useful"), "used"),
          (rate("moe_prompt_reads_ahead_late"), "used, late"), (rate("moe_prompt_reads_ahead_wasted"), "not used")]),
        ("What each policy would have found", "percentunit", 8, "On the layers where policies are compared.",
         [(gauge("moe_expert_shadow_hit_ratio", "avg", "policy"), "{{policy}}")]),
        ("The policy that decides", "short", 8, "1 for it, on each server.",
         [(gauge("moe_expert_policy", "sum", "policy"), "{{policy}}"), (rate("moe_expert_policy_switches"), "changes per second")]),
        ("Faults of reads", "short", 8, "Per second; a retry that succeeds harms nobody.",
         [(rate("moe_expert_load_retries"), "begun again"), (rate("moe_expert_load_failures"), "failed")]),
        ("Routing traced", "Bps", 8, "Bytes per second of --trace-routes.", [(rate("moe_trace_bytes"), "bytes"), (rate("moe_traced_rows"), "rows")]),
    ]),
    ("Drafts of later tokens", [
        ("Drafted tokens that stood", "percentunit", 8, "Of those that steps computed rows for; without --speculative-config there are none.",
         [(f"{rate('vllm:spec_decode_num_accepted_tokens')} / {rate('vllm:spec_decode_num_draft_tokens')}", "accepted")]),
        ("Tokens that stood by place in the draft", "percentunit", 8, "Of the drafts: how many stood as far as that.",
         [(f"sum by (position) (rate(vllm:spec_decode_num_accepted_tokens_per_pos_total{{{MODEL}}}[$__rate_interval])) / ignoring (position) "
           f"group_left () {rate('vllm:spec_decode_num_drafts')}", "place {{position}}")]),
        ("Drafts", "short", 8, "Per second.",
         [(rate("vllm:spec_decode_num_drafts"), "drafts"), (rate("vllm:spec_decode_num_draft_tokens"), "tokens drafted"),
          (rate("vllm:spec_decode_num_accepted_tokens"), "tokens that stood"), (rate("foregate_spec_gated_turns"), "turns without: no gain expected"),
          (rate("foregate_spec_probes"), "turns that measured anew")]),
    ]),
    ("Who comes first", [
        ("Policy", "short", 8, "1 for the one in force, on each server.", [(gauge("foregate_scheduling_info", "sum", "policy, preemption_mode"), "{{policy}}, {{preemption_mode}}")]),
        ("Prompt tokens in the queue", "short", 8, "Of samples that have not run yet.", [(gauge("foregate_queued_tokens", "sum", "instance"), "{{instance}}")]),
        ("Refused", "short", 8, "Requests per second turned away at a bound of the queue.", [(rate("foregate_refused_requests", "reason"), "{{reason}}")]),
        ("Policies at work", "short", 8, "Per second.",
         [(rate("foregate_policy_demotions"), "levels fallen (mlfq)"), (rate("foregate_policy_promotions"), "brought up (mlfq)"),
          (rate("foregate_policy_refills"), "quanta given out (dlpm)")]),
        ("Blocks of preempted samples in host memory", "bytes", 8, "Copies that are kept until their samples come back.", [(gauge("foregate_swap_bytes"), "kept")]),
        ("Copies", "short", 8, "Per second.", [(rate("foregate_swaps_out"), "out"), (rate("foregate_swaps_in"), "back")]),
    ]),
    ("Answers in a form", [
        ("Forms", "short", 8, "Per second: grammars, schemas and patterns.",
         [(rate("foregate_grammar_compiles", labels=SELECT), "compiled"), (rate("foregate_grammar_cache_hits", labels=SELECT), "known"),
          (rate("foregate_grammar_failures", labels=SELECT), "refused")]),
        ("Time to compile one", "s", 8, "On average.",
         [(f"{rate('foregate_grammar_compile_seconds', labels=SELECT)} / {rate('foregate_grammar_compiles', labels=SELECT)}", "seconds")]),
        ("Token masks that were known", "percentunit", 8, "Of those that steps asked for.",
         [(share("foregate_grammar_masks_reused", "foregate_grammar_masks_computed", labels=SELECT), "known")]),
    ]),
    ("Ranks", [
        ("Ranks that serve", "short", 8, "Each server's own among them.", [(gauge("foregate_ranks_serving", "sum", "instance"), "{{instance}}")]),
        ("Started again", "short", 8, "Ranks in an hour, because they died, hung or talked nonsense.",
         [(f"sum by (instance) (increase(foregate_rank_restarts_total{{{MODEL}}}[1h]))", "{{instance}}")]),
        ("Rows sent to other ranks", "short", 8, "Per second, for their experts, and back.", [(rate("moe_exchange_rows"), "rows")]),
        ("Bytes between ranks", "Bps", 8, "Of the messages that carry them.", [(rate("moe_exchange_bytes"), "bytes")]),
        ("Experts that other ranks had in memory", "percentunit", 8, "Of those that rows came for.",
         [(share("moe_rank_expert_hits", "moe_rank_expert_misses"), "there")]),
        ("Experts that follow what is routed", "short", 8, "Per second, with --placement auto.", [(rate("foregate_placement_moves"), "moved")]),
    ]),
    ("Dense weights that pass through memory", [
        ("Layers", "short", 8, "Streamed layers that a step came to, per second: there already, or waited for.",
         [(rate("dense_window_ready"), "there"), (rate("dense_window_late"), "waited for")]),
        ("Read from disk", "Bps", 8, "Bytes per second.", [(rate("dense_window_read_bytes"), "read")]),
        ("Waiting", "percentunit", 8, "Share of the time that steps wait for dense weights.", [(rate("dense_window_stall_seconds"), "waiting")]),
    ]),
    ("Requests", [
        ("By status", "short", 8, "HTTP answers per second.", [(rate("http_requests", "handler, status", SELECT), "{{handler}} {{status}}")]),
        ("Connections", "short", 8, "Open now.", [(gauge("foregate:http_connections", labels=SELECT), "open")]),
        ("Clients", "short", 8, "Per second.",
         [(rate("foregate:http_clients_gone", labels=SELECT), "left early"), (rate("foregate:http_stalled_clients", labels=SELECT), "did not read"),
          (rate("foregate:http_connections_refused", labels=SELECT), "refused: too many")]),
        ("Start", "s", 8, "Seconds it took to load the weights.", [(gauge("foregate_load_seconds", "max", "instance"), "{{instance}}")]),
        ("Bookkeeping", "short", 8, "Broken bookkeeping found and survived; always 0.", [(f"sum (increase(foregate_bugs_total{{{SELECT}}}[1h]))", "in an hour")]),
    ]),
]


def panel(number, title, unit, width, tells, targets, x, y):
    single = width == 4
    made = {
        "id": number, "title": title, "description": tells, "type": "stat" if single else "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": x, "y": y, "w": width, "h": 4 if single else HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": chr(ord("A") + i), "expr": expression, "legendFormat": legend,
                     "datasource": {"type": "prometheus", "uid": "${datasource}"}}
                    for i, (expression, legend) in enumerate(targets)],
    }
    if single:
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    else:
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
        made["fieldConfig"]["defaults"]["custom"] = {"fillOpacity": 10, "showPoints": "never"}
    return made


def panels():
    made, y = [], 0
    for title, lines in ROWS:
        made.append({"id": len(made) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                     "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        x, y, tallest = 0, y + 1, 0
        for name, unit, width, tells, targets in lines:
            if x + width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            made.append(panel(len(made) + 1, name, unit, width, tells, targets, x, y))
            x += width
            tallest = max(tallest, made[-1]["gridPos"]["h"])
        y += tallest
    return made


def variable(name, label):
    return {"name": name, "label": label, "type": "query", "query": f"label_values(vllm:num_requests_running, {name})",
            "datasource": {"type": "prometheus", "uid": "${datasource}"}, "refresh": 2, "includeAll": True, "multi": True,
            "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "sort": 1}


def board():
    return {
        "uid": "foregate", "title": "Foregate", "tags": ["foregate", "llm"], "schemaVersion": 39, "version": 1,
        "editable": True, "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}},
            variable("namespace", "Namespace"), variable("model_name", "Model"), variable("instance", "Server")]},
        "panels": panels(),
    }


def main():
    text = json.dumps(board(), indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        same = OUT.exists() and OUT.read_text() == text
        print("the board is what make_dashboard.py writes" if same else "foregate.json is stale: run make_dashboard.py")
        return 0 if same else 1
    OUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
