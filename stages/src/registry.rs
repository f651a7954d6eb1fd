//! All stage kinds. A new one is a module and a line here.

use crate::{
    contract::{Kind, Registry},
    data, judge, ppo, ppo_gold, preferences, report, reward_model, sample, sft,
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
    kinds.add(Kind::of::<sample::Sample>(fingerprint("sample")));
    kinds.add(Kind::of::<judge::Judge>(fingerprint("judge")));
    kinds.add(Kind::of::<report::Report>(fingerprint("report")));
    kinds
}
