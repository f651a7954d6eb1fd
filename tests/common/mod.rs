//! Runs the program as a user does, in a folder of its own.

#![allow(dead_code)] // each test file uses a part

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

pub mod chaos;

/// A comparison of both objectives in one world, small enough for a test.
pub const TINY: &str = r#"
name: tiny
axes:
  objective: [binary, sequence]
  seed: [1]
stages:
  data:
    uses: data
    with: { world: summary, demonstrations: 300, prompts: 80, evaluation: 10 }
  sft:
    uses: sft
    over: [seed]
    inputs: { demonstrations: data }
    with:
      training: { steps: 30, batch: 16, lr: 3.0e-3, warmup: 5 }
      held_out: 32
      model: { width: 32, layers: 2, heads: 2, kv_heads: 1, feed_forward: 48 }
  preferences:
    uses: preferences
    over: [seed]
    inputs: { policy: sft, prompts: data.prompts, evaluation: data.evaluation }
    with: { world: summary, prompts: 80 }
  rm:
    uses: reward-model
    over: [objective, seed]
    inputs: { init: sft, pairs: preferences }
    with: { objective: "${objective}", training: { steps: 20, batch: 16 } }
  ppo:
    uses: ppo
    over: [objective, seed]
    inputs: { policy: sft, reward: rm, prompts: data.prompts }
    with: { arm: "ppo-${objective}", updates: 2, batch: 16, calibration: 32 }
  answers-sft:
    uses: sample
    over: [seed]
    inputs: { policy: sft, reference: sft, prompts: data.evaluation }
    with: { arm: sft }
  answers-ppo:
    uses: sample
    over: [objective, seed]
    inputs: { policy: ppo, reference: sft, prompts: data.evaluation }
    with: { arm: "ppo-${objective}" }
  judge:
    uses: judge
    over: [seed]
    inputs: { responses: [answers-sft, answers-ppo] }
    with: { world: summary, baselines: [sft, ppo-binary] }
  report:
    uses: report
    inputs:
      measurements: [judge, rm.evaluation, preferences.audit, sft.evaluation]
      curves: [ppo.curve, rm.curve, sft.curve]
    with: { title: A tiny experiment }
"#;

/// Instances of [`TINY`].
pub const ALL: u64 = 12;

/// A record as the program writes it: with the hash of all that stands before that.
pub fn sealed(mut record: serde_json::Value) -> Vec<u8> {
    record.as_object_mut().expect("a record").remove("check");
    let mut bytes = serde_json::to_vec(&record).expect("JSON");
    bytes.pop();
    let check = blake3::hash(&bytes).to_hex();
    bytes.extend(format!(",\n  \"check\": \"{check}\"\n}}\n").into_bytes());
    bytes
}

/// A folder with an experiment file.
pub struct Lab {
    folder: tempfile::TempDir,
}

/// What a command left.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Lab {
    pub fn new(experiment: &str) -> Self {
        let lab = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        lab.write(experiment);
        lab
    }

    /// In memory where the system has such a place: for tests that write much, since syncs there take no time.
    pub fn in_memory(experiment: &str) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let lab = Self { folder: folder.expect("a temporary folder") };
        lab.write(experiment);
        lab
    }

    pub fn write(&self, experiment: &str) {
        fs::write(self.path("pipeline.yaml"), experiment).expect("the folder takes files");
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipeline"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn try_call(&self, arguments: &[&str]) -> Ran {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("output is text");
        Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// A call that must succeed.
    pub fn call(&self, arguments: &[&str]) -> Ran {
        let ran = self.try_call(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
        ran
    }

    /// `run --json` with more arguments: its summary.
    pub fn run(&self, arguments: &[&str]) -> Value {
        self.call(&[&["run", "--json"], arguments].concat()).json()
    }

    /// `plan --json` with more arguments: state and reason by instance.
    pub fn plan(&self, arguments: &[&str]) -> BTreeMap<String, (String, String)> {
        let plan = self.call(&[&["plan", "--json"], arguments].concat()).json_whole();
        let text = |v: &Value| v.as_str().expect("a text").to_string();
        let instances = plan["instances"].as_array().expect("a list").iter();
        instances.map(|i| (text(&i["name"]), (text(&i["state"]), text(&i["reason"])))).collect()
    }

    /// Instances that a plan says are not cached.
    pub fn stale(&self, arguments: &[&str]) -> Vec<String> {
        let plan = self.plan(arguments).into_iter();
        plan.filter(|(_, (state, _))| state != "hit").map(|(name, _)| name).collect()
    }

    /// How many results the cache has; what is being written is none.
    pub fn results(&self) -> usize {
        let entries = fs::read_dir(self.path("cache/results")).into_iter().flatten();
        entries.filter(|entry| entry.as_ref().is_ok_and(|e| e.path().extension().is_some())).count()
    }
}

impl Ran {
    /// The last line of standard output.
    pub fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}\n{}", self.stderr))
    }

    pub fn json_whole(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

/// Every file below a folder, with its bytes.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder_now) = waiting.pop() {
        for entry in fs::read_dir(&folder_now).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_path_buf();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}
