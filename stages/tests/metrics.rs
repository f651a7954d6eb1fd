//! What tables say in numbers, and tables that are damaged.

use proptest::{collection::vec, prelude::*, sample::Index};
use stages::dataset::{self, CurvePoint, Measurement};

fn measurement(split: &str, item: u32, value: f32) -> Measurement {
    Measurement { arm: "ppo".into(), split: split.into(), item, metric: "gold".into(), value }
}

#[test]
fn measurements_give_means_and_curves_their_last_step() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, path) = (stages::registry(), folder.path().join("table"));
    let rows = [measurement("in", 0, 0.5), measurement("out", 0, 4.0), measurement("in", 1, 1.0)];
    dataset::write(&path, &rows).unwrap();
    let metrics = registry.metrics(&path).unwrap();
    assert_eq!(metrics, [("ppo/in/gold".to_string(), 0.75), ("ppo/out/gold".to_string(), 4.0)].into());
    let point = |step, value| CurvePoint { arm: "rm".into(), step, metric: "loss".into(), value };
    dataset::write(&path, &[point(1, 3.0), point(3, 1.0), point(2, 2.0)]).unwrap();
    assert_eq!(registry.metrics(&path).unwrap(), [("rm/loss".to_string(), 1.0)].into());
    std::fs::write(&path, "no table").unwrap();
    assert!(
        registry.metrics(&path).unwrap().is_empty() && registry.metrics(folder.path()).unwrap().is_empty()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_make_them_panic(edits in vec((any::<Index>(), any::<u8>()), 1..4), cut in any::<Index>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        dataset::write(&path, &[measurement("in", 0, 0.5)]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte) in &edits {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        std::fs::write(&path, &bytes).unwrap();
        let _ = stages::registry().metrics(&path);
        std::fs::write(&path, &bytes[..cut.index(bytes.len())]).unwrap();
        let _ = stages::registry().metrics(&path);
        let _ = dataset::read::<Measurement>(&path);
    }
}
