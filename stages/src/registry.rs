//! All stage kinds. A new one is a module and a line here.

use crate::{
    best_of_n,
    contract::{Code, Kind, Registry},
    data, dpo, evidence, judge, match_kl, metrics, overoptimization, ppo, ppo_gold, preferences, report,
    reward_model, sample, select, sft,
};

include!(concat!(env!("OUT_DIR"), "/fingerprints.rs"));

/// The stage kinds of this crate.
pub fn registry() -> Registry {
    let mut kinds = Registry::default();
    kinds.add(Kind::of::<data::Data>(code("data")));
    kinds.add(Kind::of::<sft::Sft>(code("sft")));
    kinds.add(Kind::of::<preferences::Preferences>(code("preferences")));
    kinds.add(Kind::of::<reward_model::RewardModel>(code("reward_model")));
    kinds.add(Kind::of::<ppo::Ppo>(code("ppo")));
    kinds.add(Kind::of::<ppo_gold::PpoGold>(code("ppo_gold")));
    kinds.add(Kind::of::<dpo::Dpo>(code("dpo")));
    kinds.add(Kind::of::<best_of_n::BestOfN>(code("best_of_n")));
    kinds.add(Kind::of::<sample::Sample>(code("sample")));
    kinds.add(Kind::of::<match_kl::MatchKl>(code("match_kl")));
    kinds.add(Kind::of::<overoptimization::Overoptimization>(code("overoptimization")));
    kinds.add(Kind::of::<evidence::Evidence>(code("evidence")));
    kinds.add(Kind::of::<select::SelectReward>(code("select")));
    kinds.add(Kind::of::<select::SelectPolicy>(code("select")));
    kinds.add(Kind::of::<judge::Judge>(code("judge")));
    kinds.add(Kind::of::<report::Report>(code("report")));
    kinds.read_metrics_with(metrics::metrics);
    kinds
}
