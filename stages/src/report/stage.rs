//! The stage: reads, computes, writes.

use std::fs;

use super::{
    claim::examine, curves::Curves, observations::Observations, page::Page, params::Params, render::render,
    results::Results, verdicts,
};
use crate::contract::{Context, Input, Output, ParamError, Stage, StageError};

/// Measurements and curves of many runs, as a report that people read.
pub struct Report;

impl Stage for Report {
    const KIND: &'static str = "report";
    const ABOUT: &'static str = "Gathers measurements into tables and pictures, and says which claims held.";
    const INPUTS: &'static [Input] = &[
        Input::many("measurements", "measurements", "what was measured, of all tasks and seeds"),
        Input::many("curves", "curves", "how training went, of all tasks and seeds"),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output::published("index.html", "html", "the report: one file that needs nothing else"),
        Output::published("report.md", "markdown", "the report's verdicts and tables as Markdown"),
        Output::published("results.csv", "csv", "means by seed, pooled means and their intervals"),
        Output::published("verdicts.csv", "csv", "the claims' verdicts and what they rest on"),
    ];
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        params.check()
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let seed = ctx.seed("bootstrap");
        let all = Observations::read(ctx, &params)?;
        let curves = Curves::read(ctx, &params)?;
        let results = Results::of(&all, &params, seed)?;
        let findings = examine(&all, &params, seed);
        let (html, markdown) = render(&Page::new(&params, &all, &curves, &results, &findings))?;
        let write = |name: &str, text: String| {
            let failed = |e| StageError::because(format!("`{name}` could not be written"), e);
            fs::write(ctx.output(name), text).map_err(failed)
        };
        write("index.html", html)?;
        write("report.md", markdown)?;
        results.write(&ctx.output("results.csv"))?;
        verdicts::write(&ctx.output("verdicts.csv"), &params.claims, &findings)
    }
}
