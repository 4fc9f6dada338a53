//! Configuration of validation: severities, weights and thresholds, for all platforms and for one.
//!
//! A configuration with an unknown rule or an invalid weight can't be parsed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use backline_model::{Platform, Severity};

use super::rules::{RULES, Rule};
use crate::nearest;

/// Configuration of validation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Changes to rules by their ids, for all platforms.
    #[serde(skip_serializing_if = "RuleChanges::is_empty")]
    pub rules: RuleChanges,
    /// Thresholds for all platforms.
    pub thresholds: Thresholds,
    /// Configuration of single platforms.
    #[serde(rename = "platform", skip_serializing_if = "BTreeMap::is_empty")]
    pub platforms: BTreeMap<Platform, PlatformValidation>,
}

/// Configuration of one platform.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlatformValidation {
    /// Changes to rules by their ids. A missing field falls back to the change for all platforms.
    #[serde(skip_serializing_if = "RuleChanges::is_empty")]
    pub rules: RuleChanges,
    /// Thresholds. A missing field falls back to the threshold for all platforms.
    pub thresholds: ThresholdChanges,
}

/// A change to one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleChange {
    /// `note`, `warning` or `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What the rule subtracts from the quality score, 0 to 1. `None` with a changed severity means that severity's
    /// usual weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// Changes by rule id: only ids of the table, weights from 0 to 1, and severities that the rule may have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, RuleChange>", into = "BTreeMap<String, RuleChange>")]
pub struct RuleChanges(BTreeMap<String, RuleChange>);

/// Why a change to a rule is not valid.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RuleChangeError {
    /// No such rule.
    #[error("there is no validation rule '{given}'{remark}; the rules are {known}")]
    Unknown {
        /// The id that was given.
        given: String,
        /// The nearest valid one.
        remark: String,
        /// All valid ids.
        known: String,
    },
    /// The weight is not a share of the score.
    #[error("the weight {weight} of validation rule '{rule}' is not between 0 and 1")]
    Weight {
        /// Id of the rule.
        rule: String,
        /// The weight that was given.
        weight: f64,
    },
    /// The severity would let values pass that can't be stored.
    #[error("validation rule '{rule}' must stay an error: what it finds can't be stored; change its weight instead")]
    Fixed {
        /// Id of the rule.
        rule: String,
    },
}

impl RuleChanges {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, RuleChange>> for RuleChanges {
    type Error = RuleChangeError;

    fn try_from(changes: BTreeMap<String, RuleChange>) -> Result<Self, RuleChangeError> {
        for (id, change) in &changes {
            let Some(rule) = RULES.iter().find(|rule| rule.id == id) else {
                let known: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
                let remark = nearest::meant(id, known.iter().copied());
                return Err(RuleChangeError::Unknown { given: id.clone(), remark, known: known.join(", ") });
            };
            if let Some(weight) = change.weight.filter(|weight| !(0.0..=1.0).contains(weight)) {
                return Err(RuleChangeError::Weight { rule: id.clone(), weight });
            }
            if !rule.can_change_severity && change.severity.is_some_and(|severity| severity != rule.severity) {
                return Err(RuleChangeError::Fixed { rule: id.clone() });
            }
        }
        Ok(Self(changes))
    }
}

impl From<RuleChanges> for BTreeMap<String, RuleChange> {
    fn from(changes: RuleChanges) -> Self {
        changes.0
    }
}

macro_rules! thresholds {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr,)*) => {
        /// Thresholds that rules compare with.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Thresholds {
            $($(#[$doc])* pub $name: $type,)*
        }

        /// Thresholds of one platform that differ.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ThresholdChanges {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }

        impl Default for Thresholds {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Thresholds {
            fn changed_by(&self, changes: &ThresholdChanges) -> Self {
                Self { $($name: changes.$name.clone().unwrap_or_else(|| self.$name.clone()),)* }
            }
        }
    };
}

thresholds! {
    /// Highest engagement rate that is accepted, in percent.
    engagement_rate_max: f64 = 100.0,
    /// Engagement rate that is worth a warning, in percent.
    engagement_rate_high: f64 = 20.0,
    /// Fastest plausible growth of followers, in percent a day.
    followers_growth_percent_max: f64 = 100.0,
    /// Fastest plausible fall of followers, in percent a day.
    followers_fall_percent_max: f64 = 10.0,
    /// Days after which an earlier value is too old to compare with.
    gap_days_max: u16 = 14,
    /// Days without a change after which a source counts as stale.
    stale_days: u16 = 14,
    /// Metrics that change only when the artist does something, and so may stay the same.
    stale_exempt: Vec<String> = ["following", "posts_count", "recent_releases"].map(str::to_owned).to_vec(),
    /// Longest text, in characters.
    text_chars_max: usize = 500,
    /// Longest list of texts.
    texts_max: usize = 100,
}

/// A rule's severity and weight on one platform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judgement {
    pub severity: Severity,
    pub weight: f64,
}

impl ValidationConfig {
    pub(super) fn thresholds_for(&self, platform: &Platform) -> Cow<'_, Thresholds> {
        match self.platforms.get(platform) {
            Some(platform) => Cow::Owned(self.thresholds.changed_by(&platform.thresholds)),
            None => Cow::Borrowed(&self.thresholds),
        }
    }

    pub(super) fn judgement_of(&self, rule: &Rule, platform: &Platform) -> Judgement {
        let everywhere = self.rules.0.get(rule.id).copied().unwrap_or_default();
        let here = self
            .platforms
            .get(platform)
            .and_then(|platform| platform.rules.0.get(rule.id))
            .copied()
            .unwrap_or_default();
        let severity = here.severity.or(everywhere.severity).unwrap_or(rule.severity);
        let usual = if severity == rule.severity { rule.weight } else { usual_weight(severity) };
        // A weight for all platforms belongs to the severity that it was set with.
        let weight_everywhere =
            everywhere.weight.filter(|_| here.severity.is_none() || here.severity == everywhere.severity);
        Judgement { severity, weight: here.weight.or(weight_everywhere).unwrap_or(usual) }
    }
}

/// What a rule of this severity subtracts from the score, unless the table or the configuration says otherwise.
pub(super) const fn usual_weight(severity: Severity) -> f64 {
    match severity {
        Severity::Note => 0.0,
        Severity::Warning => 0.1,
        Severity::Error => 0.3,
    }
}
