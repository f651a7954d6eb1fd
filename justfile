# Developers' tasks: `just` lists them.

_list:
    @just --list

# The default experiment
run *ARGS:
    cargo run --release -- run {{ARGS}}

# All tests, as the README has them
test *ARGS:
    cargo test --release --workspace {{ARGS}}

# All that must pass before a change lands
ci:
    .ci/run

# Format, then lint
tidy:
    cargo fmt --all
    cargo clippy --release --workspace --all-targets -- -D warnings

# Write the schema again by which editors check experiment files
schema:
    cargo run --release -- schema > pipeline.schema.json

# dfdx does not build with a nightly compiler: the usual one is allowed what sanitizers ask for.
# Feed a reader spoilt files for two minutes, or with `-max_total_time=N` for others (needs cargo-fuzz)
fuzz TARGET *ARGS:
    mkdir -p fuzz/corpus/{{TARGET}}
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{TARGET}} fuzz/corpus/{{TARGET}} fuzz/seeds/{{TARGET}} -- -max_total_time=120 {{ARGS}}

# Tokens per second of training, scoring and sampling on this machine
throughput:
    cargo run --release -p lm --example throughput

# What is gained by what is not computed
savings:
    cargo run --release -p lm --example savings

# Each operation, fused and composed
operations *ARGS:
    cargo bench -p lm --features check --target-dir target/bench {{ARGS}}

# Our speed against PyTorch's, side by side (installs PyTorch into target/)
peers *ARGS:
    python3 benches/peers/run.py {{ARGS}}

# How long it takes to find that there is nothing to do, beside Snakemake and DVC (installs them into target/)
engine *ARGS:
    python3 benches/peers/engine.py {{ARGS}}

# How fast the cache hashes and takes in
store *ARGS:
    cargo bench -p pipeline --bench store -- {{ARGS}}

# Our decoder against Hugging Face transformers, on random checkpoints
checkpoints *ARGS:
    python3 benches/peers/checkpoints.py {{ARGS}}

# Open the last report
report:
    xdg-open reports/seq2seq-reward/index.html
