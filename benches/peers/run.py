#!/usr/bin/env python3
"""Our training, sampling and PPO against PyTorch's, and PPO against TRL's, on this machine.

    python3 benches/peers/run.py [--rounds 3] [--seconds 2] [--shapes S M] [--works peak training ...]
                                   [--peers eager compile bf16 trl] [--json FILE]

Needs cargo and Python 3.10 or newer; PyTorch and TRL are installed into target/peers (some gigabytes). In each round
everybody runs once, one process after the other, so that a noisy moment meets all alike. Figures are medians over the
rounds; a ratio is the median of the rounds' ratios. `peak` is the product of two matrices of 1024 by 1024; the others'
share of it counts the products of the model (its attention too), nothing else. Losses are compared in training only: in
PPO everybody draws responses of their own.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

from environment import HERE, OURS, PYTHON, ROOT, prepare

WORKS = {
    "peak": ["eager"],
    "training": ["eager", "compile", "bf16"],
    "sampling": ["eager"],
    "ppo-1": ["eager", "trl"],
    "ppo-4": ["eager", "trl"],
}
SHAPES = json.loads((HERE / "shapes.json").read_text())


def operations(shape, work):
    """Floating-point operations of the products that a work asks for."""
    s, m = SHAPES[shape], SHAPES[shape]["model"]
    width, layers = m["hidden_size"], m["num_hidden_layers"]
    weights = layers * width * (4 * width + 3 * m["intermediate_size"])

    def forward(sequences, length, logits):
        """`logits` of each sequence's tokens are asked for their distribution."""
        # A token attends to half of the sequence on average, in two products.
        body = length * (2 * weights + layers * 2 * width * length)
        return sequences * (body + logits * 2 * m["vocab_size"] * width)

    if work == "peak":
        return 2 * 1024**3
    if work == "training":
        tokens = s["length"] - 1
        return 3 * forward(s["sequences"], tokens, tokens)
    tokens = s["prompt"] + s["response"]
    policy, scalar = (forward(s["prompts"], tokens, logits) for logits in (s["response"], 0))
    if work == "sampling":
        return policy
    # Sampling, three models that score, and two that learn.
    return 2 * policy + 2 * scalar + 3 * int(work[-1]) * (policy + scalar)


def timed(command):
    """The last line of a process as JSON, or None if it failed."""
    # As `pipeline` starts the processes of its stages; nobody else has this allocator.
    environment = os.environ | {"MIMALLOC_PURGE_DELAY": "-1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        print(f"failed: {command}\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def same_losses(ours, theirs, variant):
    """Whether both sides went through the same first steps."""
    tolerance = 3e-2 if variant == "bf16" else 1e-3
    return all(abs(a - b) <= tolerance * abs(a) for a, b in zip(ours["losses"], theirs["losses"], strict=True))


def measure(shape, work, options):
    model = ROOT / "target/peers-model" / shape
    variants = [variant for variant in WORKS[work] if variant in options.peers]
    rounds = []
    for number in range(options.rounds):
        print(f"{shape} {work}: round {number + 1} of {options.rounds}", file=sys.stderr)
        figures = {"pipeline": timed([OURS / "peer", shape, work, options.seconds, model])}
        for variant in variants:
            script = HERE / ("trl_peer.py" if variant == "trl" else "torch_peer.py")
            peer = [PYTHON, script, variant, shape, work, options.seconds, model]
            figures[variant] = timed(peer)
        rounds.append(figures)
    rows = []
    for who in ["pipeline", *variants]:
        found = [(r["pipeline"], r[who]) for r in rounds if r["pipeline"] and r[who]]
        if not found:
            rows.append({"shape": shape, "work": work, "who": who, "failed": True})
            continue
        row = {
            "shape": shape,
            "work": work,
            "who": who,
            "ms": statistics.median(theirs["ms"] for _, theirs in found),
            "tokens_per_second": statistics.median(theirs["tokens"] / theirs["ms"] * 1e3 for _, theirs in found),
            # How many times faster than this one we are.
            "ratio": statistics.median(theirs["ms"] / ours["ms"] for ours, theirs in found),
            "threads": found[0][1]["threads"],
            "mib": statistics.median(theirs["mib"] or math.nan for _, theirs in found),
        }
        row["gflops"] = operations(shape, work) / row["ms"] / 1e6
        if work == "training":
            row["same_losses"] = all(same_losses(ours, theirs, who) for ours, theirs in found)
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--shapes", nargs="+", default=["S", "M"])
    parser.add_argument("--works", nargs="+", default=list(WORKS), choices=list(WORKS))
    parser.add_argument("--peers", nargs="+", default=["eager", "compile", "bf16", "trl"])
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    prepare("peer")
    print(f"{'shape':<7}{'work':<10}{'who':<10}{'ms':>10}{'tokens/s':>12}{'GFLOP/s':>9}{'of peak':>9}", end="")
    print(f"{'MiB':>7}{'we are':>9}  losses", flush=True)
    rows = []
    for shape in options.shapes:
        peak = None
        for work in options.works:
            found = measure(shape, work, options)
            peak = found[0].get("gflops") if work == "peak" else peak
            for row in found:
                show(row, peak)
            rows += found
            if options.json:
                options.json.write_text(json.dumps({"rounds": options.rounds, "results": rows}, indent=2) + "\n")


def show(row, peak):
    head = f"{row['shape']:<7}{row['work']:<10}{row['who']:<10}"
    if row.get("failed"):
        print(f"{head}{'failed':>10}", flush=True)
        return
    losses = {True: "the same", False: "DIFFER", None: ""}[row.get("same_losses")]
    share = f"{row['gflops'] / peak:.0%}" if peak else ""
    print(f"{head}{row['ms']:>10.1f}{row['tokens_per_second']:>12.0f}{row['gflops']:>9.1f}{share:>9}", end="")
    print(f"{row['mib']:>7.0f}{row['ratio']:>8.2f}x  {losses}", flush=True)


main()
