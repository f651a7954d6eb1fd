//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::resources::Resources;
use crate::history::Ref;

/// Reproduce RLHF papers: a declarative graph of stages, remembered by content.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done; 1 a stage failed; 2 the command line or the experiment file is wrong; \
    3 the machine is in the way; 4 something would run (`plan --exit-code`); 130 interrupted."
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

    /// Say nothing but warnings and errors: no progress, and no last words where all went well.
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
    /// Say of one instance why it must run, or which result it has.
    Why(WhyOptions),
    /// List the runs, the newest first.
    Runs(RunsOptions),
    /// Show an instance of a run: parameters, inputs, outputs, metrics, log, and how to run it alone.
    Show(ShowOptions),
    /// Compare two runs: settings, results and metrics side by side.
    Diff(DiffOptions),
    /// The graph of stages, as a picture.
    Graph(GraphOptions),
    /// List the stage kinds, or describe one: inputs, outputs and parameters.
    Stages(StagesOptions),
    /// The JSON Schema of experiment files, for editors.
    Schema,
    /// Write a commented experiment to start from, and beside it the schema by which editors complete and check it.
    Init(InitOptions),
    /// Completions for a shell, to standard output.
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// A manual page, to standard output: `pipeline man | man -l -`.
    Man {
        /// Of a command, such as `run` or `cache gc`; otherwise of the program.
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
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

    /// Only this stage, or one instance such as `ppo[seed=1]`, and what it needs; can be given several times.
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
pub struct RemoteOption {
    /// A cache that machines share: `s3://bucket/folder`, `gs://…`, `az://…`, or a folder. Credentials come from the
    /// environment: AWS_…, GOOGLE_… or AZURE_…
    #[arg(long, value_name = "LOCATION", env = "PIPELINE_REMOTE", hide_env_values = true)]
    pub remote: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunOptions {
    #[command(flatten)]
    pub experiment: ExperimentOptions,

    #[command(flatten)]
    pub cache: CacheFolder,

    #[command(flatten)]
    pub remote: RemoteOption,

    /// Take results from the shared cache, and send none there.
    #[arg(long, requires = "remote")]
    pub read_only: bool,

    /// Reports go to a folder of the experiment's name in here.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub reports: PathBuf,

    #[command(flatten)]
    pub resources: Resources,

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

    #[command(flatten)]
    pub remote: RemoteOption,

    /// Not used: taken so that `run` and `plan` can be called alike.
    #[arg(long, hide = true)]
    pub read_only: bool,

    /// End with exit code 4 where something would run, for scripts; 0 where all is cached.
    #[arg(long)]
    pub exit_code: bool,

    /// Not used: taken so that `run` and `plan` can be called alike.
    #[arg(long, value_name = "DIR", default_value = "reports", hide = true)]
    pub reports: PathBuf,

    #[command(flatten)]
    pub resources: Resources,

    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct WhyOptions {
    /// The instance, as `plan` names it: `ppo[objective=binary,seed=1]`.
    pub instance: String,

    #[command(flatten)]
    pub experiment: ExperimentOptions,

    #[command(flatten)]
    pub cache: CacheFolder,

    #[command(flatten)]
    pub remote: RemoteOption,

    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RunsOptions {
    #[command(flatten)]
    pub cache: CacheFolder,

    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The instance, as `plan` names it: `ppo[objective=binary,seed=1]`.
    pub instance: String,

    /// The run: the beginning of its id, `latest`, or `latest~1` for the one before; by default the latest that had the
    /// instance.
    #[arg(long, value_name = "RUN")]
    pub run: Option<Ref>,

    #[command(flatten)]
    pub cache: CacheFolder,

    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DiffOptions {
    /// The run to compare with: the beginning of its id, `latest`, or `latest~1` for the one before.
    pub before: Ref,

    /// The run to compare.
    #[arg(default_value = "latest")]
    pub after: Ref,

    /// Show every metric that differs, not only those that differ most.
    #[arg(long)]
    pub all: bool,

    #[command(flatten)]
    pub cache: CacheFolder,

    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct InitOptions {
    /// The file to write; one that is there is left alone.
    #[arg(value_name = "FILE", default_value = "pipeline.yaml")]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct StagesOptions {
    /// The kind to describe; by default all are listed.
    pub kind: Option<String>,

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
    Ls(CacheOptions),
    /// Say what takes the space, by stage.
    Du(CacheOptions),
    /// Read every byte and say what is damaged.
    Verify {
        #[command(flatten)]
        options: CacheOptions,

        /// Set aside what is damaged, so that the next run makes it again.
        #[arg(long)]
        repair: bool,
    },
    /// Remove what no kept run needs: results, logs, and what crashes have left.
    Gc {
        #[command(flatten)]
        options: CacheOptions,

        /// Of each experiment and `--only`, how many of the latest finished runs are kept, with unfinished ones since; by
        /// default all.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,

        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write all results of a run to one file, for others to take in.
    Export {
        /// The run: the beginning of its id, `latest`, or `latest~1` for the one before.
        run: Ref,

        /// The file to write; one that is there is left alone.
        file: PathBuf,

        #[command(flatten)]
        cache: CacheFolder,
    },
    /// Send all results of a run to the shared cache.
    Push {
        /// The run: the beginning of its id, `latest`, or `latest~1` for the one before.
        #[arg(default_value = "latest")]
        run: Ref,

        #[command(flatten)]
        cache: CacheFolder,

        #[command(flatten)]
        remote: RemoteOption,
    },
    /// Bring all results of a run from the shared cache; all of it is verified.
    Pull {
        /// The run, of those in the shared cache: the beginning of its id, `latest`, or `latest~1` for the one before.
        #[arg(default_value = "latest")]
        run: Ref,

        #[command(flatten)]
        cache: CacheFolder,

        #[command(flatten)]
        remote: RemoteOption,
    },
    /// Take in what `export` wrote; all of it is verified.
    Import {
        file: PathBuf,

        #[command(flatten)]
        cache: CacheFolder,
    },
}

#[derive(Debug, Args)]
pub struct CacheOptions {
    #[command(flatten)]
    pub cache: CacheFolder,

    /// One JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

impl Command {
    pub fn is_exec(&self) -> bool {
        matches!(self, Self::Exec { .. })
    }
}
