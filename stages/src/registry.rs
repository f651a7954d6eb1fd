//! All stage kinds. A new one is a module and a line here.

use crate::{
    best_of_n,
    contract::{Kind, Registry},
    data, dpo, evidence, judge, match_kl, overoptimization, ppo, ppo_gold, preferences, report, reward_model,
    sample, select, sft,
};

include!(concat!(env!("OUT_DIR"), "/fingerprints.rs"));

/// The stage kinds of this crate.
pub fn registry() -> Registry {
    let mut kinds = Registry::default();
    kinds.add(Kind::of::<data::Data>(fingerprint("data")));
    kinds.add(Kind::of::<sft::Sft>(fingerprint("sft")));
    kinds.add(Kind::of::<preferences::Preferences>(fingerprint("preferences")));
    kinds.add(Kind::of::<reward_model::RewardModel>(fingerprint("reward_model")));
    kinds.add(Kind::of::<ppo::Ppo>(fingerprint("ppo")));
    kinds.add(Kind::of::<ppo_gold::PpoGold>(fingerprint("ppo_gold")));
    kinds.add(Kind::of::<dpo::Dpo>(fingerprint("dpo")));
    kinds.add(Kind::of::<best_of_n::BestOfN>(fingerprint("best_of_n")));
    kinds.add(Kind::of::<sample::Sample>(fingerprint("sample")));
    kinds.add(Kind::of::<match_kl::MatchKl>(fingerprint("match_kl")));
    kinds.add(Kind::of::<overoptimization::Overoptimization>(fingerprint("overoptimization")));
    kinds.add(Kind::of::<evidence::Evidence>(fingerprint("evidence")));
    kinds.add(Kind::of::<select::SelectReward>(fingerprint("select")));
    kinds.add(Kind::of::<select::SelectPolicy>(fingerprint("select")));
    kinds.add(Kind::of::<judge::Judge>(fingerprint("judge")));
    kinds.add(Kind::of::<report::Report>(fingerprint("report")));
    kinds
}
