//! The code fingerprint: a hash that changes when the code that a module runs changes.
//!
//! A module's code is the token streams (so neither comments nor white space, nor tests) of its file and of all files
//! that its paths reach in the crate, the files that they include, the library `lm` as a whole if one of them names it,
//! the locked versions of the crates that they name, and the compiler.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The code that a module runs.
pub struct Code {
    /// A hash of `parts`.
    pub fingerprint: String,
    /// What it consists of, each with a hash or a version: `stages::ppo::objective`, `lm::decoder`, `crate gemm`,
    /// `compiler`.
    pub parts: BTreeMap<String, String>,
}

/// The code of all modules of the crate in `root/stages`, by path (`ppo::stage`).
pub fn of_stages(root: &Path, compiler: &[u8]) -> io::Result<BTreeMap<String, Code>> {
    let sources = Sources::read(&root.join("stages/src"))?;
    let lock = Lock::parse(&fs::read_to_string(root.join("Cargo.lock"))?);
    let lm = Sources::read(&root.join("lm/src"))?;
    let code = |module: &String| {
        let mut parts = BTreeMap::from([("compiler".to_string(), short(&[compiler]))]);
        let mut crates = BTreeSet::new();
        for reached in sources.reach(module) {
            let source = &sources.modules[&reached];
            parts.insert(named("stages", &reached), source.hash());
            crates.extend(source.names.iter().filter(|n| lock.direct.contains(*n)).cloned());
        }
        if crates.contains("lm") {
            parts.extend(lm.modules.iter().map(|(name, source)| (named("lm", name), source.hash())));
        }
        parts.extend(lock.closure(&crates));
        let mut hash = blake3::Hasher::new();
        for (name, part) in &parts {
            feed(&mut hash, name.as_bytes());
            feed(&mut hash, part.as_bytes());
        }
        (module.clone(), Code { fingerprint: hash.finalize().to_hex()[..32].to_string(), parts })
    };
    Ok(sources.modules.keys().map(code).collect())
}

fn named(of: &str, module: &str) -> String {
    if module.is_empty() { of.into() } else { format!("{of}::{module}") }
}

fn short(parts: &[&[u8]]) -> String {
    let mut hash = blake3::Hasher::new();
    parts.iter().for_each(|part| feed(&mut hash, part));
    hash.finalize().to_hex()[..16].to_string()
}

/// Length first, so that no two sequences of parts give the same bytes.
fn feed(hash: &mut blake3::Hasher, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// The modules of a crate, one for each file.
struct Sources {
    modules: BTreeMap<String, Source>,
}

struct Source {
    tokens: String,
    /// Paths that the file names, from the crate's root.
    paths: BTreeSet<Vec<String>>,
    /// First segments of the paths that may lead into another crate.
    names: BTreeSet<String>,
    /// The contents of `include_str!` files.
    included: Vec<Vec<u8>>,
}

impl Sources {
    fn read(src: &Path) -> io::Result<Self> {
        let mut modules = BTreeMap::new();
        for file in rust_files(src)? {
            let relative = file.strip_prefix(src).expect("found below src").with_extension("");
            let mut module: Vec<String> =
                relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
                module.pop();
            }
            let text = fs::read_to_string(&file)?;
            let tokens = TokenStream::from_str(&text).map_err(|e| io::Error::other(format!("{e}")))?;
            let source = Source::parse(tokens, &module, file.parent().expect("a file has a folder"))?;
            modules.insert(module.join("::"), source);
        }
        Ok(Self { modules })
    }

    /// The module and all that its code can reach.
    fn reach(&self, module: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![module.to_string()];
        while let Some(module) = waiting.pop() {
            let Some(source) = self.modules.get(&module) else { continue };
            if reached.insert(module) {
                waiting.extend(source.paths.iter().filter_map(|path| self.resolve(path)));
            }
        }
        reached
    }

    /// The file that a path leads into: the longest beginning of it that is a module. The crate's root is
    /// not one: what it holds is the list of modules.
    fn resolve(&self, path: &[String]) -> Option<String> {
        let beginnings = (1..=path.len()).rev().map(|n| path[..n].join("::"));
        beginnings.into_iter().find(|m| self.modules.contains_key(m))
    }
}

fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Source {
    fn parse(tokens: TokenStream, module: &[String], folder: &Path) -> io::Result<Self> {
        let tokens: Vec<TokenTree> = code(tokens);
        let mut source = Self {
            tokens: render(&tokens),
            paths: BTreeSet::new(),
            names: BTreeSet::new(),
            included: vec![],
        };
        source.scan(&tokens, module, folder)?;
        Ok(source)
    }

    fn hash(&self) -> String {
        let included = self.included.iter().map(Vec::as_slice);
        short(&std::iter::once(self.tokens.as_bytes()).chain(included).collect::<Vec<_>>())
    }

    /// Collects every path that the tokens spell, in code, in `use` and inside macros alike.
    fn scan(&mut self, tokens: &[TokenTree], module: &[String], folder: &Path) -> io::Result<()> {
        let mut i = 0;
        while i < tokens.len() {
            match &tokens[i] {
                TokenTree::Group(group) => {
                    self.scan(&group.stream().into_iter().collect::<Vec<_>>(), module, folder)?;
                    i += 1;
                }
                TokenTree::Ident(ident) if ident == "include_str" || ident == "include_bytes" => {
                    if let Some(TokenTree::Group(group)) = tokens.get(i + 2) {
                        let name = group.stream().to_string();
                        self.included.push(fs::read(folder.join(name.trim_matches('"')))?);
                    }
                    i += 3;
                }
                TokenTree::Ident(ident) if !is_joined(tokens, i) => {
                    let mut path = match ident.to_string().as_str() {
                        "crate" => vec![],
                        "self" => module.to_vec(),
                        "super" => module[..module.len().saturating_sub(1)].to_vec(),
                        // A child module, or the name of another crate.
                        name => {
                            self.names.insert(name.to_string());
                            [module, &[name.to_string()]].concat()
                        }
                    };
                    i += 1;
                    self.tree(&mut path, tokens, &mut i);
                }
                _ => i += 1,
            }
        }
        Ok(())
    }

    /// The rest of a path or `use` tree: `::a::b`, `::{a, b::c}`.
    fn tree(&mut self, path: &mut Vec<String>, tokens: &[TokenTree], i: &mut usize) {
        while is_colons(tokens, *i) {
            match tokens.get(*i + 2) {
                Some(TokenTree::Ident(ident)) if ident == "super" => drop(path.pop()),
                Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for branch in inner.split(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ',')) {
                        let Some(TokenTree::Ident(first)) = branch.first() else { continue };
                        let mut path = path.clone();
                        if first != "self" {
                            path.push(first.to_string());
                        }
                        self.tree(&mut path, branch, &mut 1);
                    }
                    *i += 3;
                    return;
                }
                _ => break,
            }
            *i += 3;
        }
        self.paths.insert(path.clone());
    }
}

/// Whether `::` stands at `i`.
fn is_colons(tokens: &[TokenTree], i: usize) -> bool {
    let colon = |i: usize| matches!(tokens.get(i), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(i) && colon(i + 1)
}

/// Whether the token at `i` goes on a path that began before it.
fn is_joined(tokens: &[TokenTree], i: usize) -> bool {
    i >= 2 && is_colons(tokens, i - 2)
}

/// The tokens that are code: without doc comments and without what is compiled for tests only.
fn code(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = vec![];
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let TokenTree::Punct(p) = &token else {
            kept.push(match token {
                TokenTree::Group(group) => {
                    let inner: TokenStream = code(group.stream()).into_iter().collect();
                    proc_macro2::Group::new(group.delimiter(), inner).into()
                }
                other => other,
            });
            continue;
        };
        if p.as_char() != '#' {
            kept.push(token);
            continue;
        }
        let bang = tokens.next_if(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == '!'));
        let attribute = tokens.next_if(|t| matches!(t, TokenTree::Group(_)));
        let text = attribute.as_ref().map(ToString::to_string).unwrap_or_default().replace(' ', "");
        if text.starts_with("[doc=") {
            continue;
        }
        if text == "[cfg(test)]" {
            skip_item(&mut tokens);
            continue;
        }
        kept.push(token);
        kept.extend(bang);
        kept.extend(attribute);
    }
    kept
}

/// Up to the item's body or its semicolon.
fn skip_item(tokens: &mut impl Iterator<Item = TokenTree>) {
    for token in tokens {
        match token {
            TokenTree::Group(g) if g.delimiter() == Delimiter::Brace => return,
            // A field or a variant ends at a comma. An item with a comma before its body ends too soon, which is
            // no harm: what is not skipped counts.
            TokenTree::Punct(p) if matches!(p.as_char(), ';' | ',') => return,
            _ => {}
        }
    }
}

fn render(tokens: &[TokenTree]) -> String {
    tokens.iter().cloned().collect::<TokenStream>().to_string()
}

/// What Cargo.lock says of the packages.
struct Lock {
    /// Name to version with checksum, and dependencies.
    packages: BTreeMap<String, Vec<(String, Vec<String>)>>,
    /// Direct dependencies of `stages` and `lm`, as code names them.
    direct: BTreeSet<String>,
}

impl Lock {
    fn parse(text: &str) -> Self {
        let mut packages: BTreeMap<String, Vec<(String, Vec<String>)>> = BTreeMap::new();
        for block in text.split("[[package]]").skip(1) {
            let field = |name: &str| {
                let line = block.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(" = "));
                line.unwrap_or_default().trim_matches('"').to_string()
            };
            let checksum = field("checksum");
            let identity = format!("{} {}", field("version"), checksum.get(..16).unwrap_or_default());
            let list = block.split("dependencies = [").nth(1).and_then(|l| l.split(']').next());
            let needs = list.unwrap_or_default().split(',').map(|d| d.trim().trim_matches('"').to_string());
            let needs = needs.filter(|d| !d.is_empty()).collect();
            packages.entry(field("name")).or_default().push((identity, needs));
        }
        let of = |name: &str| packages.get(name).into_iter().flatten().flat_map(|(_, needs)| needs.clone());
        let direct = of("stages").chain(of("lm")).map(|d| name_of(&d).replace('-', "_")).collect();
        Self { packages, direct }
    }

    /// The packages that these crates are built from, with versions and checksums. Where the lock has
    /// several versions of a package, all count: that can only be too careful.
    fn closure(&self, crates: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let known = |c: &String| self.packages.keys().find(|p| p.replace('-', "_") == *c).cloned();
        let mut waiting: Vec<String> = crates.iter().filter_map(known).collect();
        while let Some(name) = waiting.pop() {
            let part = format!("crate {name}");
            if found.contains_key(&part) {
                continue;
            }
            let locked = self.packages.get(&name).into_iter().flatten();
            let (versions, needs): (Vec<&str>, Vec<&Vec<String>>) =
                locked.map(|(version, needs)| (version.as_str(), needs)).unzip();
            waiting.extend(needs.into_iter().flatten().map(|d| name_of(d).to_string()));
            found.insert(part, versions.join(", "));
        }
        found
    }
}

/// The name in a lock file's dependency: `name` or `name version`.
fn name_of(dependency: &str) -> &str {
    dependency.split(' ').next().unwrap_or(dependency)
}
