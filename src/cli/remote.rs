//! A shared cache from the command line.

use super::args::RemoteOption;
use crate::{
    error::{Error, Result},
    remote::{Remote, Trouble},
};

impl RemoteOption {
    /// The shared cache that is named, with what the environment says of the service.
    pub fn open(&self) -> Result<Option<Remote>> {
        // What is no text is no setting.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let named = self.remote.as_deref().filter(|location| !location.is_empty());
        named.map(|location| Remote::open(location, environment)).transpose()
    }

    /// The same, for what cannot do without.
    pub fn needed(&self) -> Result<Remote> {
        self.open()?.ok_or_else(|| {
            Error::experiment("no shared cache is named")
                .hint("name one: `--remote s3://bucket/folder`, or in the environment as PIPELINE_REMOTE")
        })
    }
}

/// A failed transfer, with what to do next.
pub fn trouble(trouble: Trouble) -> Error {
    let hint = match &trouble {
        Trouble::Unreachable(_) => {
            "look at the location, the network and the credentials, and call again: what was transferred whole is not transferred again"
        }
        Trouble::Damaged(_) => {
            "remove it there; on a machine that has the results, `pipeline cache push` sends it again"
        }
        Trouble::Disk(_) | Trouble::Stopped => {
            "`pipeline cache verify` says whether it is damaged; or name another folder with `--cache DIR`, or make room in this one"
        }
    };
    Error::machine(trouble.to_string()).hint(hint)
}
