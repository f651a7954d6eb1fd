//! The rules of the house (ARCHITECTURE.md): who may import whom, and what library code never does.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo knows of the workspace and its dependencies on this platform, without the network.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").expect("cargo runs this test");
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let args = ["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", &platform];
    let output = Command::new(cargo).args(args).current_dir(root()).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Names of the normal dependencies of a workspace crate.
fn dependencies(metadata: &Value, name: &str) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("a list");
    let package =
        packages.iter().find(|p| p["name"] == name && p["source"].is_null()).expect("a crate of ours");
    let normal = package["dependencies"].as_array().expect("a list").iter().filter(|d| d["kind"].is_null());
    normal.map(|d| d["name"].as_str().expect("a name").to_string()).collect()
}

/// A Rust file below the root, with its code: what is compiled into the program, and not for tests alone.
struct Source {
    name: String,
    code: Vec<TokenTree>,
}

/// The Rust files below a folder that have code.
fn sources(folder: &str) -> Vec<Source> {
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        Source { name, code: code_of(&fs::read_to_string(&path).unwrap()) }
    };
    let mut all: Vec<Source> = rust_files(&root().join(folder)).into_iter().map(read).collect();
    assert!(!all.is_empty(), "no sources in {folder}");
    // A file of tests: no code declares it as a module.
    let mut declared = BTreeSet::new();
    for source in &all {
        let path = Path::new(&source.name);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let is_folder = ["lib", "main", "mod"].contains(&stem);
        let below = if is_folder { path.parent().unwrap().into() } else { path.with_extension("") };
        for module in paths(&source.code).iter().filter_map(|path| path.strip_prefix(&["mod".to_string()])) {
            declared.insert(below.join(&module[0]));
        }
    }
    all.retain(|source| {
        let path = Path::new(&source.name).with_extension("");
        let module = if path.ends_with("mod") { path.parent().unwrap() } else { &path };
        path.ends_with("lib") || path.ends_with("main") || declared.contains(module)
    });
    all
}

/// The tokens of a file, without comments and without what is compiled for tests only.
fn code_of(text: &str) -> Vec<TokenTree> {
    code(text.parse().expect("the file compiles"))
}

fn code(tokens: TokenStream) -> Vec<TokenTree> {
    let is = |token: Option<&TokenTree>, text: &str| {
        token.is_some_and(|token| token.to_string().replace(' ', "") == text)
    };
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let (mut kept, mut i) = (vec![], 0);
    while i < tokens.len() {
        if is(tokens.get(i), "#") && is(tokens.get(i + 1), "[cfg(test)]") {
            // Up to the item's body or to what ends it.
            let ends = |token: &TokenTree| match token {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                other => is(Some(other), ";") || is(Some(other), ","),
            };
            i += tokens[i..].iter().position(ends).unwrap_or(tokens.len()) + 1;
            continue;
        }
        kept.push(match &tokens[i] {
            TokenTree::Group(group) => {
                let inner = code(group.stream()).into_iter().collect();
                Group::new(group.delimiter(), inner).into()
            }
            other => other.clone(),
        });
        i += 1;
    }
    kept
}

/// Every path that the tokens spell, in code, in `use` and in macros alike. `use a::{b as c, d::*}` has
/// `a::b::as::c` and `a::d::*`, `print!(…)` has `print!`, and `mod a` has `mod::a`.
fn paths(tokens: &[TokenTree]) -> Vec<Vec<String>> {
    let mut found = vec![];
    let mut i = 0;
    while i < tokens.len() {
        match &tokens[i] {
            TokenTree::Group(group) => {
                found.extend(paths(&group.stream().into_iter().collect::<Vec<_>>()));
                i += 1;
            }
            TokenTree::Ident(_) => i += path(&tokens[i..], vec![], &mut found),
            _ => i += 1,
        }
    }
    found
}

/// Reads one path, or tree of paths, that goes on from `path`; gives its length in tokens.
fn path(tokens: &[TokenTree], mut path: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let punct = |i: usize, c: char| matches!(tokens.get(i), Some(TokenTree::Punct(p)) if p.as_char() == c);
    let ident = |i: usize| match tokens.get(i) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string().trim_start_matches("r#").to_string()),
        _ => None,
    };
    let mut i = 0;
    loop {
        match tokens.get(i) {
            Some(TokenTree::Ident(_)) => path.extend(ident(i)),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for branch in inner.split(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ',')) {
                    self::path(branch, path.clone(), found);
                }
                return i + 1;
            }
            Some(TokenTree::Punct(p)) if p.as_char() == '*' => path.push("*".into()),
            // `::<T>`, or the end of a branch.
            _ => break,
        }
        i += 1;
        if punct(i, ':') && punct(i + 1, ':') {
            i += 2;
            continue;
        }
        if ident(i).is_some_and(|word| word == "as")
            || path.last().is_some_and(|w| w == "as")
            || path == ["mod"]
        {
            continue;
        }
        if punct(i, '!') && !punct(i + 1, '=') {
            path.iter_mut().last().into_iter().for_each(|last| last.push('!'));
        }
        break;
    }
    found.push(path);
    i
}

/// Whether a path has the words of `a::b` in a row.
fn has(path: &[String], words: &str) -> bool {
    let words: Vec<&str> = words.split("::").collect();
    path.windows(words.len()).any(|window| window == words)
}

/// Fails for every file below `folders` that names one of `words` and is not excused.
fn nowhere(words: &[&str], folders: &[&str], excused: &[&str]) {
    let files = folders.iter().flat_map(|f| sources(f));
    let guilty: Vec<String> = files
        .filter(|source| !excused.iter().any(|e| source.name.starts_with(e)))
        .flat_map(|source| {
            let paths = paths(&source.code);
            let found = words.iter().filter(|w| paths.iter().any(|path| has(path, w)));
            found.map(|w| format!("{} names `{w}`", source.name)).collect::<Vec<_>>()
        })
        .collect();
    assert!(guilty.is_empty(), "{guilty:#?}");
}

#[test]
fn imports_run_one_way() {
    let metadata = metadata();
    let ours = ["pipeline", "stages", "lm"];
    let of = |name: &str| -> Vec<String> {
        dependencies(&metadata, name).into_iter().filter(|d| ours.contains(&d.as_str())).collect()
    };
    assert_eq!(of("pipeline"), ["stages"]);
    assert_eq!(of("stages"), ["lm"]);
    assert_eq!(of("lm"), [""; 0]);
}

#[test]
fn tensors_stay_in_lm_and_tables_in_the_report() {
    let metadata = metadata();
    for (name, banned) in
        [("pipeline", &["dfdx", "polars", "arrow"][..]), ("stages", &["dfdx"]), ("lm", &["polars", "arrow"])]
    {
        let dependencies = dependencies(&metadata, name);
        assert!(!banned.iter().any(|b| dependencies.iter().any(|d| d == b)), "{name}: {dependencies:?}");
    }
    nowhere(&["polars"], &["stages/src"], &["stages/src/report/"]);
}

/// `stages` as a crate is followed by what is wanted of it; as a variable or a field it stands alone.
#[test]
fn the_engine_meets_stages_through_their_contract_alone() {
    let mut met = BTreeSet::new();
    for source in sources("src") {
        let who = if source.name == "src/main.rs" { "main" } else { "engine" };
        for path in paths(&source.code) {
            let wanted = path.iter().skip_while(|word| *word != "stages").nth(1);
            met.extend(wanted.map(|wanted| (who, wanted.clone())));
        }
    }
    let allowed = [("engine", "contract".to_string()), ("main", "registry".to_string())];
    assert_eq!(met, allowed.into());
}

#[test]
fn no_training_sees_gold() {
    let allowed = [
        "stages/src/oracle/",
        "stages/src/annotator.rs",
        "stages/src/preferences.rs",
        "stages/src/evidence.rs",
        "stages/src/judge.rs",
        "stages/src/overoptimization.rs",
        "stages/src/ppo_gold.rs",
        "stages/src/lib.rs",
    ];
    nowhere(&["oracle", "annotator"], &["stages/src", "lm/src"], &allowed);
    // Nor by way of a module that sees it.
    let modules = ["preferences", "evidence", "judge", "overoptimization", "ppo_gold"];
    nowhere(&modules, &["stages/src"], &["stages/src/registry.rs", "stages/src/lib.rs"]);
    // Nor by another name for the crate's root, or by something that the root hands on.
    nowhere(&["crate::*", "crate::as"], &["stages/src"], &[]);
    let root = sources("stages/src").into_iter().find(|source| source.name == "stages/src/lib.rs");
    let names = paths(&root.expect("the crate's root").code);
    let plain = |path: &&Vec<String>| !["mod", "pub", "doc"].contains(&path[0].as_str());
    let others: Vec<String> = names.iter().filter(plain).map(|path| path.join("::")).collect();
    assert_eq!(others, ["use", "registry::registry"], "lib.rs holds modules and the registry");
}

#[test]
fn libraries_neither_print_nor_exit_nor_look_around() {
    let deeds =
        ["println!", "eprintln!", "print!", "eprint!", "dbg!", "process::exit", "process::abort", "std::env"];
    nowhere(&deeds, &["src", "stages/src", "lm/src"], &["src/cli/", "src/main.rs"]);
}

/// What these tests see of a file, and what they do not.
#[test]
fn code_is_read_as_the_compiler_reads_it() {
    let spelt = |text: &str| -> Vec<String> { paths(&code_of(text)).iter().map(|p| p.join("::")).collect() };
    // Neither comments nor strings nor tests, and what follows a test is seen again.
    assert_eq!(spelt("// a\n/* b */ #[cfg(test)] mod tests { c!() } #[cfg(test)] use d; e(\"f\");"), ["e"]);
    assert_eq!(spelt("S { #[cfg(test)] a: b, c }"), ["S", "c"]);
    assert_eq!(
        spelt("use crate::{a as b, c::{d, *}}; r#e!(f::g)"),
        ["use", "crate::a::as::b", "crate::c::d", "crate::c::*", "e!", "f::g"]
    );
    assert_eq!(spelt("x.a::<B>() != c"), ["x", "a", "B", "c"]);
    assert_eq!(spelt("mod a; use {b as c}; d(e as f)"), ["mod::a", "use", "b::as::c", "d", "e::as::f"]);
}

#[test]
fn a_file_holds_one_idea() {
    let long: Vec<String> = ["src", "stages/src", "lm/src", "tests", "stages/tests", "lm/tests"]
        .iter()
        .filter(|f| root().join(f).exists())
        .flat_map(|f| rust_files(&root().join(f)))
        .filter(|f| fs::read_to_string(f).unwrap().lines().count() > 450)
        .map(|f| f.display().to_string())
        .collect();
    assert!(long.is_empty(), "more than 450 lines: {long:#?}");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|p| if p.is_dir() { rust_files(&p) } else { vec![p] })
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .collect()
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    let allowed: Vec<&str> =
        deny.lines().filter_map(|l| l.trim().strip_prefix('"')?.strip_suffix("\",")).collect();
    // `(MIT OR Apache-2.0) AND Unicode-3.0`: every part of an AND needs one of its ORs.
    let fits = |licence: &str| {
        let clean = licence.replace(['(', ')'], "").replace('/', " OR ");
        clean.split(" AND ").all(|part| part.split(" OR ").any(|l| allowed.contains(&l.trim())))
    };
    let metadata = metadata();
    let refused: Vec<String> = metadata["packages"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|p| !p["license"].as_str().is_some_and(fits))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
