//! A task: its words, its text, and its answer.

use std::{collections::BTreeSet, fmt};

use crate::worlds::words::known;

/// What lists are made of, in alphabetical order.
pub const ITEMS: [&str; 12] =
    ["apple", "bean", "corn", "date", "egg", "fig", "grape", "ham", "kale", "lemon", "mango", "nut"];
/// What items are paired with, in alphabetical order.
pub const COLOURS: [&str; 8] = ["amber", "blue", "coral", "gray", "indigo", "olive", "pink", "red"];
pub const NUMBERS: [&str; 4] = ["one", "two", "three", "four"];
/// Ways to begin an instruction.
pub const POLITE: [&str; 3] = ["please", "kindly", "now"];
/// Ways to begin a response, which are worth nothing.
pub const OPENINGS: [&str; 4] = ["sure", "gladly", "certainly", "okay"];

const THEN: &str = "then";
const GIVEN: &str = "given";
const FOR: &str = "for";

/// No list of a task is longer.
pub const LONGEST_LIST: usize = 4;

/// What a step does with a list of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Copy,
    Sort,
    Find,
    Count,
}

impl Operation {
    pub const ALL: [Self; 4] = [Self::Copy, Self::Sort, Self::Find, Self::Count];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Sort => "sort",
            Self::Find => "find",
            Self::Count => "count",
        }
    }

    /// What comes out of `list`; words that the pairs do not have stay as they are.
    pub fn apply(self, list: &[&'static str], pairs: &[(&'static str, &'static str)]) -> Vec<&'static str> {
        match self {
            Self::Copy => list.to_vec(),
            Self::Sort => {
                let mut sorted = list.to_vec();
                sorted.sort_unstable();
                sorted
            }
            Self::Find => list
                .iter()
                .map(|word| pairs.iter().find(|(item, _)| item == word).map_or(*word, |(_, colour)| *colour))
                .collect(),
            Self::Count => number(list.iter().collect::<BTreeSet<_>>().len()).into_iter().collect(),
        }
    }
}

/// The word for a count of 1 to 4.
pub fn number(count: usize) -> Option<&'static str> {
    NUMBERS.get(count.checked_sub(1)?).copied()
}

/// An instruction and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub polite: Option<&'static str>,
    /// One step or two.
    pub steps: Vec<Operation>,
    /// Items, each once, and their colours.
    pub pairs: Vec<(&'static str, &'static str)>,
    /// Items of the pairs.
    pub list: Vec<&'static str>,
}

impl Task {
    /// Reads a task's text; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (instruction, rest) = text.split_once(" given ")?;
        let (pairs, list) = rest.split_once(" for ")?;
        let (polite, instruction) = match instruction.split_once(' ') {
            Some((word, steps)) if POLITE.contains(&word) => (known(&POLITE, word), steps),
            _ => (None, instruction),
        };
        let steps: Option<Vec<Operation>> = instruction.split(" then ").map(operation).collect();
        let items = |text: &str| text.split(' ').map(|word| known(&ITEMS, word)).collect::<Option<Vec<_>>>();
        let words: Vec<&str> = pairs.split(' ').collect();
        let pairs: Option<Vec<_>> = words
            .chunks(2)
            .map(|pair| Some((known(&ITEMS, pair[0])?, known(&COLOURS, pair.get(1)?)?)))
            .collect();
        let task = Self { polite, steps: steps?, pairs: pairs?, list: items(list)? };
        task.is_consistent().then_some(task)
    }

    fn is_consistent(&self) -> bool {
        let given: Vec<&str> = self.pairs.iter().map(|(item, _)| *item).collect();
        let distinct = (1..given.len()).all(|i| !given[..i].contains(&given[i]));
        let sizes = (1..=2).contains(&self.steps.len()) && (1..=LONGEST_LIST).contains(&self.list.len());
        distinct && sizes && self.list.iter().all(|item| given.contains(item))
    }

    /// What the steps make of the list.
    pub fn answer(&self) -> Vec<&'static str> {
        self.steps.iter().fold(self.list.clone(), |list, step| step.apply(&list, &self.pairs))
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let polite = self.polite.map(|word| format!("{word} ")).unwrap_or_default();
        let steps: Vec<&str> = self.steps.iter().map(|step| step.name()).collect();
        write!(f, "{polite}{} {GIVEN}", steps.join(&format!(" {THEN} ")))?;
        self.pairs.iter().try_for_each(|(item, colour)| write!(f, " {item} {colour}"))?;
        write!(f, " {FOR} {}", self.list.join(" "))
    }
}

fn operation(word: &str) -> Option<Operation> {
    Operation::ALL.into_iter().find(|operation| operation.name() == word)
}

/// Every word of this world.
pub fn lexicon() -> impl Iterator<Item = &'static str> {
    let lists: [&[&str]; 6] = [&ITEMS, &COLOURS, &NUMBERS, &POLITE, &OPENINGS, &[THEN, GIVEN, FOR]];
    lists.into_iter().flatten().copied().chain(Operation::ALL.map(Operation::name))
}
