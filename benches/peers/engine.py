#!/usr/bin/env python3
"""How long it takes to find that there is nothing, or next to nothing, to do: ours, Snakemake's and DVC's, on the same graphs.

    python3 benches/peers/engine.py [--sizes 100 1000] [--rounds 5] [--peers snakemake dvc] [--json FILE]

Needs cargo and Python 3.10 or newer; the peers are installed into target/peers-engine. A graph has one stage for all and
one for each of the others, which reads what the first wrote. Everybody has run it before; in each round everybody is asked
again, one after the other. Figures are medians of wall time; a ratio is the median of the rounds' ratios to our run. DVC
needs minutes for 1,000 stages, and Snakemake for 10,000: leave them out of large graphs (`--peers` with no name).

Ours is asked four things: `run` and `plan` where all is cached; `top`, where the first stage must run again and gives the
others the same bytes as before; and `leaf`, where one of the others must.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "target" / "peers-engine"
PINNED = {"snakemake": "snakemake==9.27.1", "dvc": "dvc==3.67.1"}


def prepare(peers):
    """An environment with the peers in it."""
    if not (FOLDER / "bin" / "python").exists():
        venv.create(FOLDER, with_pip=True)
    missing = [PINNED[peer] for peer in peers if not (FOLDER / "bin" / peer).exists()]
    if missing:
        subprocess.run([FOLDER / "bin" / "pip", "install", "--quiet", *missing], check=True)


def ours(folder, size):
    """Models of a few parameters, trained for one step: what is measured is the engine."""
    values = ", ".join(str(i) for i in range(2, size))
    (folder / "pipeline.yaml").write_text(
        f"""name: engine
axes: {{ i: [{values}] }}
stages:
  first:
    uses: data
    with: {{ world: summary, demonstrations: 16, prompts: 1, evaluation: 1 }}
  other:
    uses: sft
    over: [i]
    inputs: {{ demonstrations: first }}
    with:
      model: {{ width: 8, layers: 1, heads: 1, kv_heads: 1, feed_forward: 8 }}
      training: {{ steps: 1, batch: 1 }}
      held_out: 1
  leaf:
    uses: sft
    inputs: {{ demonstrations: first }}
    with:
      model: {{ width: 8, layers: 1, heads: 1, kv_heads: 1, feed_forward: 8 }}
      training: {{ steps: 1, batch: 1 }}
      held_out: 1
"""
    )
    program = ROOT / "target" / "release" / "pipeline"
    run = [program, "run", "-q"]
    return {
        "run": lambda _: run,
        "plan": lambda _: [program, "plan", "--json"],
        "top": lambda turn: [*run, "--set", f"stages.first.with.evaluation={turn + 2}"],
        "leaf": lambda turn: [*run, "--set", f"stages.leaf.with.training.lr={(turn + 1) / 1000}"],
    }


def snakemake(folder, size):
    (folder / "Snakefile").write_text(
        f"""rule all:
    input: expand("out/{{i}}.txt", i=range(1, {size}))
rule first:
    output: "first.txt"
    shell: "echo 1 > {{output}}"
rule other:
    input: "first.txt"
    output: "out/{{i}}.txt"
    shell: "echo {{wildcards.i}} > {{output}}"
"""
    )
    return {"run": lambda _: [FOLDER / "bin" / "snakemake", "--cores", "2", "--quiet", "all"]}


def dvc(folder, size):
    stages = {"first": {"cmd": "echo 1 > first.txt", "outs": ["first.txt"]}}
    for i in range(1, size):
        stages[f"other{i}"] = {"cmd": f"echo {i} > {i}.txt", "deps": ["first.txt"], "outs": [f"{i}.txt"]}
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    subprocess.run([FOLDER / "bin" / "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    # Else it leaves processes behind that disturb whoever comes next.
    for option in ["core.analytics", "core.check_update"]:
        subprocess.run([FOLDER / "bin" / "dvc", "config", option, "false"], cwd=folder, check=True)
    return {"run": lambda _: [FOLDER / "bin" / "dvc", "repro", "--quiet"]}


MAKERS = {"ours": ours, "snakemake": snakemake, "dvc": dvc}


def call(command, folder):
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} failed in {folder}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - begun


def measure(size, peers, rounds):
    rows = {}
    with tempfile.TemporaryDirectory() as top:
        calls = []
        for who in ["ours", *peers]:
            folder = pathlib.Path(top) / who
            folder.mkdir()
            commands = MAKERS[who](folder, size)
            first = call(commands["run"](0), folder)
            print(f"{who}, {size} stages, first run: {first:.1f} s", file=sys.stderr)
            calls += [(f"{who} {name}", command, folder) for name, command in commands.items()]
        # What was written in the last two seconds is not taken for settled: read once more, and remembered then.
        time.sleep(3)
        for turn in range(-1, rounds):
            for name, command, folder in calls:
                seconds = call(command(turn + 1), folder)
                if turn >= 0:
                    rows.setdefault(name, []).append(seconds)
    base = rows["ours run"]
    return [
        {
            "stages": size,
            "who": name,
            "seconds": statistics.median(times),
            "times_ours": statistics.median(a / b for a, b in zip(times, base)),
        }
        for name, times in rows.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=list(PINNED), default=["snakemake"])
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    prepare(options.peers)
    rows = []
    for size in options.sizes:
        rows += measure(size, options.peers, options.rounds)
    print(f"{'stages':>8} {'who':16} {'seconds':>10} {'times ours':>12}")
    for row in rows:
        print(f"{row['stages']:>8} {row['who']:16} {row['seconds']:>10.4f} {row['times_ours']:>12.1f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
