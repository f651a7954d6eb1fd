//! Statistics that verdicts rest on, and nothing that knows of stages or reports.
//!
//! # Intervals and p-values
//!
//! Arms are measured on the same items with several seeds: seeds and items are crossed, and neither may be taken
//! for independent observations (H. H. Clark, "The language-as-fixed-effect fallacy", Journal of Verbal Learning and
//! Verbal Behavior 12(4), 1973). A value is modelled as `x_si = μ + a_s + b_i + e_si`.
//!
//! 1. *Variance of the mean* ([`variance`]): a part that more seeds make smaller, from the unbiased variance of
//!    the seeds' means, and a part that they do not, from the covariance that shared items give to those means.
//! 2. *Degrees of freedom*: F. E. Satterthwaite, "An approximate distribution of estimates of variance
//!    components", Biometrics Bulletin 2(6), 1946, from `S - 1` for seeds and `I - 1` for items. Seeds that agree by
//!    luck would make their part look small and its `S - 1` unimportant; it counts for half of the variance at least,
//!    which bounds the degrees of freedom by `4 (S - 1)`. This guard is our own.
//! 3. *Interval* ([`bootstrap`]): Student's t times the standard error to both sides together, divided between the
//!    sides as the percentiles of a pigeonhole bootstrap are (A. B. Owen, "The pigeonhole bootstrap", Annals of
//!    Applied Statistics 1(2), 2007). The percentiles alone are too narrow: resampling `S` seeds shows
//!    `(S - 1) / S` of their variance, and takes it for known (T. C. Hesterberg, "What teachers should know about
//!    the bootstrap", The American Statistician 69(4), 2015, expands percentile intervals for that).
//! 4. *p-value*: two-sided, by Student's t with the same standard error and degrees of freedom.
//!
//! What 95 % intervals cover in simulations (`stages/tests/coverage.rs`), and how wide they are in the median, as
//! multiples of the normal interval of somebody who knows the variance:
//!
//! | what varies | 2 seeds | 3 seeds | 5 seeds |
//! | --- | --- | --- | --- |
//! | seeds alone | 95 %, 4.6 | 95 %, 1.8 | 95 %, 1.3 |
//! | items alone | 99 %, 1.5 | 97 %, 1.2 | 97 %, 1.1 |
//! | noise alone | 100 %, 1.7 | 98 %, 1.5 | 99 %, 1.3 |
//! | seeds and items alike | 98 %, 1.3 | 96 %, 1.1 | 95 %, 1.1 |
//! | seeds 10 times as much as items | 91 %, 2.4 | 93 %, 1.5 | 94 %, 1.2 |
//! | seeds 30 times as much as items | 90 %, 3.5 | 92 %, 1.7 | 94 %, 1.3 |
//!
//! So 2 seeds cover too little where seeds vary much more than items: then two that agree by luck are not found out. What
//! never covers too little (S. K. Banerjee, "On confidence interval for two-means problem based on separate estimates of
//! variances and tabulated values of t-table", Sankhyā A 23, 1961) is in the median 4 times as wide with 2 seeds also where
//! these differ by noise alone. Three seeds are nearly enough, five are.
//!
//! Small p-values suffer more than intervals do. Of 20 true null hypotheses the first step of Holm's correction at 5 %
//! should reject 0.05 on average, and does so or less where seeds vary 3 times as much as items and noise each. Where
//! seeds vary 30 times as much as items it rejects 0.4 with 2 seeds, 0.3 with 3 and 0.1 with 5.
//!
//! # Statistics of a whole dataset
//!
//! An AUC, a partial correlation or a length-controlled win rate is one number for all items. Its [`jackknife()`]
//! pseudo-values are one for each item, and go the same way as any other values.

pub mod bootstrap;
pub mod correlation;
pub mod holm;
pub mod jackknife;
pub mod length_control;
pub mod logistic;
pub mod power;
pub mod ranking;
pub mod sample;
pub mod student;
pub mod variance;

pub use bootstrap::Estimate;
pub use correlation::partial_correlation;
pub use holm::holm;
pub use jackknife::jackknife;
pub use length_control::length_controlled_wins;
pub use ranking::{auc, pairs_won};
pub use sample::{Sample, Seed, mean};
