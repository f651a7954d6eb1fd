//! Each operation of a decoder, forward and back on the shapes of a training step of S (see `peers/shapes.json`): ours
//! beside the same composed of dfdx's operations.
//!
//!     cargo bench -p lm --features check --target-dir target/bench

use criterion::{Criterion, criterion_group, criterion_main};
use lm::check::{Timed, timed};
use std::time::Duration;

fn operations(criterion: &mut Criterion) {
    for Timed { name, fused, composed } in timed() {
        let mut group = criterion.benchmark_group(name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        group.bench_function("fused", |bencher| bencher.iter(&fused));
        group.bench_function("composed", |bencher| bencher.iter(&composed));
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
