//! Bad input: what is said of it. Nothing runs, nothing panics.

mod common;

use common::{Lab, TINY};

/// What the program says of an edited experiment, and of arguments.
fn says(edit: (&str, &str), arguments: &[&str]) -> String {
    assert!(TINY.contains(edit.0), "{}", edit.0);
    let lab = Lab::new(&TINY.replacen(edit.0, edit.1, 1));
    let ran = lab.try_call(&[&["run"], arguments].concat());
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    assert!(!lab.path("cache").exists(), "something ran");
    ran.stderr
}

macro_rules! refuse {
    ($name:ident, $edit:expr, $arguments:expr) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), says($edit, $arguments));
        }
    };
}

const SAME: (&str, &str) = ("", "");

refuse!(unknown_key_at_the_top, ("axes:", "axess:"), &[]);
refuse!(a_name_that_reports_keep, ("name: tiny", "name: published"), &[]);
refuse!(unknown_key_of_a_stage, ("    over: [seed]", "    ovr: [seed]"), &[]);
refuse!(unknown_stage_kind, ("uses: sft", "uses: stf"), &[]);
refuse!(unknown_axis, ("over: [seed]", "over: [sede]"), &[]);
refuse!(unknown_parameter, ("steps: 30", "stpes: 30"), &[]);
refuse!(parameter_of_the_wrong_type, ("steps: 30", "steps: many"), &[]);
refuse!(
    unknown_parameter_in_a_list,
    ("{ title: A tiny experiment }", "{ claims: [{ name: a, text: b, expcet: {} }] }"),
    &[]
);
refuse!(parameter_out_of_range, ("steps: 30", "steps: 0"), &[]);
refuse!(unknown_world, ("world: summary, demonstrations", "world: sumary, demonstrations"), &[]);
refuse!(unknown_axis_in_a_parameter, ("ppo-${objective}", "ppo-${objectiv}"), &[]);
refuse!(missing_input, ("{ init: sft, pairs: preferences }", "{ init: sft }"), &[]);
refuse!(unknown_input, ("{ init: sft, pairs: preferences }", "{ init: sft, paris: preferences }"), &[]);
refuse!(unknown_stage_as_input, ("pairs: preferences", "pairs: preference"), &[]);
refuse!(unknown_output, ("policy: sft, prompts: data.prompts", "policy: sft, prompts: data.promts"), &[]);
refuse!(input_of_the_wrong_type, ("pairs: preferences", "pairs: sft"), &[]);
refuse!(ambiguous_output, ("policy: sft, prompts: data.prompts", "policy: sft, prompts: data"), &[]);
refuse!(
    gathering_into_a_single_input,
    ("    over: [objective, seed]\n    inputs: { policy: sft", "    over: [seed]\n    inputs: { policy: sft"),
    &[]
);
refuse!(circle, ("{ demonstrations: data }", "{ demonstrations: data, init: ppo }"), &[]);
refuse!(key_said_twice, ("  objective: [binary", "  seed: [2]\n  objective: [binary"), &[]);
refuse!(no_yaml, ("axes:", "axes: ]["), &[]);
refuse!(name_that_leaves_the_folder, ("name: tiny", "name: ../../tiny"), &[]);
refuse!(axis_value_that_is_no_value, ("seed: [1]", "seed: [[1]]"), &[]);
refuse!(axis_value_twice, ("seed: [1]", "seed: [1, 1]"), &[]);
refuse!(value_that_is_no_list, ("over: [seed]", "over: seed"), &[]);
refuse!(number_that_does_not_count, ("lr: 3.0e-3", "lr: .nan"), &[]);
refuse!(axis_that_is_not_closed, ("ppo-${objective}", "ppo-${objective"), &[]);
refuse!(axis_that_is_no_list, ("seed: [1]", "seed: 1"), &[]);
refuse!(axis_without_values, ("seed: [1]", "seed: []"), &[]);
refuse!(key_that_is_no_text, ("name: tiny", "~: tiny"), &[]);
refuse!(second_document, ("stages:", "---\nstages:"), &[]);
refuse!(nothing_to_merge, ("  objective: [binary", "  <<: 3\n  objective: [binary"), &[]);
refuse!(tag, ("name: tiny", "name: !env tiny"), &[]);
refuse!(profiles_that_are_no_map, ("axes:", "profiles: 5\naxes:"), &[]);
refuse!(override_below_an_unknown_key, SAME, &["--set", "stages.ppo.wiht.kl=0.1"]);
refuse!(override_of_a_profile, SAME, &["--set", "profiles.full.axes.seed=[1]"]);
refuse!(override_that_is_no_number, SAME, &["--set", "stages.preferences.with.bias=.inf"]);
refuse!(override_of_an_unknown_stage, SAME, &["--set", "stages.pppo.with.kl=0.1"]);
refuse!(override_of_an_unknown_parameter, SAME, &["--set", "stages.ppo.with.klx=0.1"]);
refuse!(override_without_a_value, SAME, &["--set", "stages.ppo.with.kl"]);
refuse!(unknown_profile, SAME, &["--profile", "fulll"]);
refuse!(unknown_only, SAME, &["--only", "judgee"]);
refuse!(no_file, SAME, &["-f", "nowhere.yaml"]);

/// Where `objective` is a map.
const OBJECTIVE: &str = "objective: [binary, sequence]";

refuse!(
    change_of_an_unknown_stage,
    (OBJECTIVE, "objective:\n    binary:\n    sequence: { pppo: { kl: 1 } }"),
    &[]
);
refuse!(
    change_of_a_stage_that_does_not_vary,
    (OBJECTIVE, "objective: { binary: , sequence: { sft: { held_out: 3 } } }"),
    &[]
);
refuse!(changes_that_are_no_map, (OBJECTIVE, "objective: { binary: , sequence: 3 }"), &[]);
refuse!(change_that_is_no_map, (OBJECTIVE, "objective: { binary: , sequence: { ppo: 3 } }"), &[]);
refuse!(changing_value_that_is_no_name, (OBJECTIVE, "objective: { binary: , a/b: }"), &[]);
refuse!(
    unknown_parameter_in_a_change,
    (OBJECTIVE, "objective:\n    binary:\n    sequence: { ppo: { extraction: { positve: 0 } } }"),
    &[]
);
refuse!(
    parameter_out_of_range_in_a_change,
    (OBJECTIVE, "objective: { binary: , sequence: { rm: { training: { steps: 0 } } } }"),
    &[]
);
refuse!(
    change_that_takes_away_what_is_needed,
    (OBJECTIVE, "objective: { binary: , sequence: { rm: { objective: null } } }"),
    &[]
);
refuse!(
    change_at_odds_with_a_parameter,
    (OBJECTIVE, "objective: { binary: , sequence: { ppo: { batch: 3 } } }"),
    &["--set", "stages.ppo.with.minibatches=4"]
);
refuse!(minibatches_of_different_sizes, SAME, &["--set", "stages.ppo.with.minibatches=3"]);
refuse!(score_that_is_no_number, SAME, &["--set", "stages.ppo.with.extraction={ negative: -.inf }"]);
refuse!(
    parameter_that_no_change_makes_wrong,
    (OBJECTIVE, "objective: { binary: { ppo: { kl: 0.1 } }, sequence: { ppo: { kl: 0.2 } } }"),
    &["--set", "stages.ppo.with.updates=0"]
);
refuse!(
    unknown_axis_in_a_change,
    (OBJECTIVE, "objective: { binary: , sequence: { ppo: { arm: '${objectiv}' } } }"),
    &[]
);
refuse!(override_of_a_change, SAME, &["--set", "axes.objective={binary: {ppo: {klx: 1}}}"]);
refuse!(seeded_by_an_axis_of_other_stages, ("over: [seed]", "over: [seed]\n    seeded_by: [objective]"), &[]);
refuse!(seeded_by_an_unknown_axis, ("over: [seed]", "over: [seed]\n    seeded_by: [sede]"), &[]);

/// What is said of a file that no editor would write.
fn says_of(bytes: &[u8]) -> String {
    let lab = Lab::new("");
    std::fs::write(lab.path("pipeline.yaml"), bytes).unwrap();
    let ran = lab.try_call(&["plan"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    ran.stderr
}

#[test]
fn what_is_no_text_says_where() {
    let stderr = says_of(b"name: x\nabout: \xff\xfe\n");
    assert!(stderr.contains("is not text in UTF-8\n --> pipeline.yaml:2:8\n"), "{stderr}");
}

#[test]
fn depth_costs_no_time_and_length_no_screen() {
    // A parser that looks back at each bracket would be at it for an hour.
    let stderr = says_of(format!("stages: {}", "[".repeat(500_000)).as_bytes());
    assert!(stderr.contains("hint: ") && stderr.len() < 2000, "{stderr}");
    let stderr = says_of(format!("name: x\nstages: {{ a: {{ uses: {} }} }}", "u".repeat(500_000)).as_bytes());
    assert!(stderr.contains("hint: known are") && stderr.len() < 6000, "{stderr}");
}

#[test]
fn what_steers_a_terminal_is_not_echoed() {
    let stderr = says_of(b"name: \"\\e[31mred\"\nstages: {}\n");
    assert!(stderr.contains("cannot be the experiment's name") && !stderr.contains('\u{1b}'), "{stderr}");
}

#[test]
fn what_yaml_allows_and_is_harmless_is_allowed() {
    let lab = Lab::new(&format!("\u{feff}{}", TINY.trim_start()));
    lab.call(&["plan"]);
    lab.write(&TINY.replace(
        "    with: { title: A tiny experiment }",
        "    with:\n      title: &t A tiny experiment\n      about: *t",
    ));
    lab.call(&["plan"]);
    lab.write(&TINY.replace("axes:", "about:\nprofiles:\naxes:").replace("about:\n", "about: ''\n"));
    lab.call(&["plan"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_the_machines_fault() {
    let lab = Lab::new(TINY);
    std::fs::write(lab.path("cache"), "a file").unwrap();
    let ran = lab.try_call(&["run"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("cannot write in the cache") && ran.stderr.contains("hint: "),
        "{}",
        ran.stderr
    );
}
