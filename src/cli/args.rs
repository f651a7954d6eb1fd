//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Reproduce RLHF papers: a declarative graph of stages, remembered by content.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done; 1 a stage failed; 2 the command line or the experiment file is wrong; \
    3 the machine is in the way; 130 interrupted."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub log: LogOptions,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct LogOptions {
    /// How logs are written to standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human, value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Say nothing but warnings and errors, and show no progress.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring every result up to date and write the report.
    Run(RunOptions),
    /// Say what `run` would do and why; run nothing.
    Plan(PlanOptions),
    /// The graph of stages, as a picture.
    Graph(GraphOptions),
    /// The JSON Schema of experiment files, for editors.
    Schema,
    /// What the cache remembers.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Run one instance from its manifest. What `run` starts, for each instance.
    #[command(hide = true)]
    Exec { manifest: PathBuf },
}

#[derive(Debug, Args)]
pub struct ExperimentOptions {
    /// The experiment file.
    #[arg(short, long, value_name = "FILE", default_value = "pipeline.yaml")]
    pub file: PathBuf,

    /// Merge a profile of the file over it.
    #[arg(short, long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Override a value: a dotted path and a YAML value, such as `stages.ppo.with.kl=0.1` or `axes.seed=[1,2]`.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,

    /// Only this stage and what it needs; can be given several times.
    #[arg(long, value_name = "STAGE")]
    pub only: Vec<String>,
}

#[derive(Debug, Args)]
pub struct CacheFolder {
    /// The folder in which results are remembered.
    #[arg(long = "cache", value_name = "DIR", default_value = "cache")]
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
pub struct RunOptions {
    #[command(flatten)]
    pub experiment: ExperimentOptions,

    #[command(flatten)]
    pub cache: CacheFolder,

    /// Reports go to a folder of the experiment's name in here.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub reports: PathBuf,

    /// Instances that run side by side, at most; by default as many as there are processors.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,

    /// Threads that all of them share; by default as many as there are processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// End with one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PlanOptions {
    #[command(flatten)]
    pub experiment: ExperimentOptions,

    #[command(flatten)]
    pub cache: CacheFolder,

    /// Not used: taken so that `run` and `plan` can be called alike.
    #[arg(long, value_name = "DIR", default_value = "reports", hide = true)]
    pub reports: PathBuf,

    /// Not used: taken so that `run` and `plan` can be called alike.
    #[arg(short, long, value_name = "N", hide = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,

    /// Not used: taken so that `run` and `plan` can be called alike.
    #[arg(long, value_name = "N", hide = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct GraphOptions {
    #[command(flatten)]
    pub experiment: ExperimentOptions,

    #[arg(long, value_enum, default_value_t = Picture::Mermaid)]
    pub format: Picture,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Picture {
    /// For Graphviz: `pipeline graph --format dot | dot -Tsvg`.
    Dot,
    /// For Markdown.
    Mermaid,
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List the results, the newest first.
    Ls {
        #[command(flatten)]
        cache: CacheFolder,

        /// One JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub fn is_exec(&self) -> bool {
        matches!(self, Self::Exec { .. })
    }
}
