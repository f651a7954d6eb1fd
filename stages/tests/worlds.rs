//! What every world owes whoever draws from it.

use std::collections::BTreeSet;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use stages::worlds::{self, Split};

#[test]
fn as_many_prompts_of_every_split_as_an_experiment_asks_for() {
    for name in ["safety", "summary", "dialogue"] {
        let world = worlds::get(name).expect("a world");
        let draw = |split, count| {
            let prompts = world.prompts(split, count, &mut ChaCha8Rng::seed_from_u64(1));
            assert_eq!(prompts.len(), count, "{name} {split}");
            prompts.into_iter().collect::<BTreeSet<_>>()
        };
        let [train, within, out] = [(Split::Train, 12_000), (Split::In, 512), (Split::Out, 512)]
            .map(|(split, count)| draw(split, count));
        let distinct: BTreeSet<_> = train.iter().chain(&within).chain(&out).collect();
        assert_eq!(distinct.len(), 13_024, "{name}: a prompt stands twice");
    }
}
