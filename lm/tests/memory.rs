//! Memory: nothing stays behind from one step to the next, and logits are never all there at once.

mod common;

use common::*;
use lm::{AdamW, Batch, Config, Head, Model, Sampling, Schedule, Trainer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts the bytes in use, and the most there were.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes in use after the work, and the most meanwhile, beyond what was there before.
fn used(work: impl FnOnce()) -> (isize, usize) {
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    (IN_USE.load(Relaxed) as isize - before as isize, PEAK.load(Relaxed) - before)
}

// One test: others beside it would be counted too.
#[test]
fn memory_is_flat_over_steps_of_changing_shapes_and_never_holds_all_logits() {
    with_threads(2, || {
        let mut trainer = trainer(Head::Lm);
        let mut step = |n: u64| {
            let few = sequences(n, 1 + (n % 7) as usize);
            trainer.step(&batch(&few), negative_mean).unwrap();
            let sampling = Sampling { max_new_tokens: 1 + (n % 5) as usize, ..Sampling::default() };
            let prompts: Vec<Vec<u32>> = few.iter().map(|s| s[..s.len().min(9)].to_vec()).collect();
            trainer.model().sample(&prompts, &sampling, &vec![n; prompts.len()]).unwrap();
        };
        (0..50).for_each(&mut step);
        let (first, _) = used(|| (50..1050).for_each(&mut step));
        let (second, _) = used(|| (1050..2050).for_each(&mut step));
        // Each thread keeps half a mebibyte for products from its first one on. A tensor left behind at each step would be
        // twice as much as both at least.
        let (most, more) = (1 << 20, first.max(second));
        assert!(more <= most, "{first} and {second} bytes more after 1000 steps");

        let wide = Config { vocab_size: 2048, tie_word_embeddings: true, ..config() };
        let model = Model::new(wide, Head::Lm, 1).unwrap();
        let mut batch = Batch::new();
        let tokens = 16_384;
        (0..tokens / 64).for_each(|i| batch.push(&[i as u32; 64], 0..63));
        // Each of at most 8 parts may hold a slice of 512 rows: a quarter.
        let all_logits = tokens * 2048 * size_of::<f32>();
        let parameters = model.parameter_count() * size_of::<f32>();
        let mut trainer = Trainer::new(model, AdamW::default(), Schedule::default()).unwrap();
        let (_, peak) = used(|| _ = trainer.step(&batch, negative_mean).unwrap());
        assert!(peak < all_logits / 2, "a step took {peak} bytes, all logits are {all_logits}");
        assert!(peak > 3 * parameters, "a step took {peak} bytes: the allocator does not count");
        let (_, peak) = used(|| _ = trainer.model().log_probs(&batch).unwrap());
        assert!(peak < all_logits / 2, "scoring took {peak} bytes, all logits are {all_logits}");
    });
}
