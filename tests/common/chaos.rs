//! What tests of crashes share: chance that can be repeated, an experiment of many short stages, and what must hold always.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Lab, Ran, files};

/// Instances of [`many`] beside those of its axis.
pub const OTHERS: usize = 2;

/// One stage, `size` that read what it wrote, and a report of all of these. Each takes some ten milliseconds.
pub fn many(size: usize) -> String {
    let values = (1..=size).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    format!(
        "name: many
axes: {{ i: [{values}] }}
stages:
  data:
    uses: data
    with: {{ world: summary, demonstrations: 16, prompts: 1, evaluation: 1 }}
  sft:
    uses: sft
    over: [i]
    inputs: {{ demonstrations: data }}
    with:
      arm: \"arm-${{i}}\"
      model: {{ width: 8, layers: 1, heads: 1, kv_heads: 1, feed_forward: 8 }}
      training: {{ steps: 1, batch: 1 }}
      held_out: 1
  report:
    uses: report
    inputs: {{ measurements: [sft.evaluation], curves: [sft.curve] }}
    with: {{ title: Many, resamples: 100 }}
"
    )
}

/// Numbers that look like chance and are the same for the same seed (SplitMix64).
pub struct Dice {
    state: u64,
    seed: u64,
}

impl Dice {
    /// Seeded by `PIPELINE_CRASH_SEED`, and by what is tested, so that tests differ.
    pub fn of(test: &str) -> Self {
        let seed = number("PIPELINE_CRASH_SEED", 20_261_128);
        let state = test.bytes().fold(seed, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
        Self { state, seed }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Says how to repeat what has failed.
impl Drop for Dice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat this: PIPELINE_CRASH_SEED={}", self.seed);
        }
    }
}

/// A number from the environment.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

pub fn signal(pid: u32, name: &str) -> bool {
    Command::new("kill").args([name, &pid.to_string()]).output().expect("`kill` is there").status.success()
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// If there is none within a minute.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: it does not happen");
        sleep(Duration::from_millis(1));
    }
}

/// Puts other bytes into a file of the cache, which is read-only.
pub fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).expect("it is there");
    fs::write(path, bytes).expect("the folder takes files");
}

impl Lab {
    /// Processes of stages that work in this lab's cache.
    pub fn stages(&self) -> Vec<u32> {
        let cache = self.path("cache").display().to_string();
        let processes = fs::read_dir("/proc").expect("Linux").filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).into_owned();
            (command.contains("exec") && command.contains(&cache)).then_some(pid)
        });
        processes.collect()
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program starts")
    }

    /// What `cache verify` says, which must be that all is sound.
    pub fn verified(&self) -> Value {
        let ran = self.try_call(&["cache", "verify", "--json"]);
        assert_eq!(ran.code, Some(0), "something is damaged: {}{}", ran.stdout, ran.stderr);
        ran.json_whole()
    }

    /// The names and bytes of the records of results.
    pub fn records(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let all = fs::read_dir(self.path("cache/results")).into_iter().flatten();
        let records = all.map(|entry| entry.expect("an entry").path());
        let records = records.filter(|path| path.extension().is_some_and(|e| e == "json"));
        records.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
    }

    /// What results are made of: all objects, what each key has given, and the reports.
    pub fn bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let folders = ["cache/objects", "reports"].map(|folder| self.path(folder));
        let mut all: Vec<_> = folders.iter().flat_map(|folder| files(folder)).collect();
        for (path, bytes) in self.records() {
            let mut record: Value = serde_json::from_slice(&bytes).expect("a record is JSON");
            record
                .as_object_mut()
                .expect("a map")
                .retain(|name, _| ["key", "outputs"].contains(&name.as_str()));
            all.push((path.file_name().expect("a name").into(), record.to_string().into_bytes()));
        }
        all.sort();
        all
    }

    /// Sees that nothing is left to do and all is as in a lab that nothing happened to.
    pub fn is_as(&self, undisturbed: &Self) {
        let (found, expected) = (self.bytes(), undisturbed.bytes());
        let names = |all: &[(PathBuf, Vec<u8>)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected));
        let differs = found.iter().zip(&expected).find(|(a, b)| a != b).map(|((name, _), _)| name);
        assert_eq!(differs, None, "its bytes are others");
    }
}

/// A run that has failed says what to do.
pub fn explains(ran: &Ran, why: &str) {
    assert!(ran.stderr.contains(why) && ran.stderr.contains("hint: "), "{}", ran.stderr);
}
