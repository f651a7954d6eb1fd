//! From the name of a location to something that can be asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use object_store::{
    BackoffConfig, ClientOptions, DynObjectStore, ObjectStoreScheme, RetryConfig, aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder, local::LocalFileSystem, path::Path,
};
use url::Url;

use super::Remote;
use crate::error::{Error, Result};

/// Within this time a question is asked again.
const PATIENCE: Duration = Duration::from_secs(30);
/// A piece of a file may take so long, on a slow line.
const LONGEST: Duration = Duration::from_secs(600);
/// A connection may take so long.
const CONNECT: Duration = Duration::from_secs(10);
const TRIES: usize = 5;

impl Remote {
    /// Opens `s3://bucket/folder`, `gs://…`, `az://…`, `file:///…` or a folder. `settings` are names and values as the
    /// services' own tools read them from the environment: `AWS_ACCESS_KEY_ID` and so on.
    ///
    /// # Errors
    /// If it is no location, or lacks a setting.
    pub fn open(location: &str, settings: impl Iterator<Item = (String, String)>) -> Result<Self> {
        let shown = without_secrets(location);
        let mut place = shown.clone();
        let url = location.contains("://").then(|| place_of(location, &shown)).transpose()?;
        let folder = match &url {
            None => Some(std::path::absolute(location).map_err(Error::io(format!("cannot use `{shown}`")))?),
            Some(url) if url.scheme() == "file" => url.to_file_path().ok(),
            Some(_) => None,
        };
        let (store, prefix) = match (folder, url) {
            (None, Some(url)) => {
                let settings: BTreeMap<String, String> = settings.collect();
                let servers = settings.iter().filter(|(name, _)| SERVERS.contains(&name.as_str()));
                servers.for_each(|(name, value)| place += &format!(" {name}={value}"));
                cloud(&url, settings.into_iter()).map_err(|e| {
                    let why = without_secrets(&e.to_string());
                    Error::experiment(format!("cannot use the location `{shown}`: {why}")).hint(KNOWN)
                })?
            }
            (folder, _) => {
                // As a bucket must be: one that is only misspelled, or not mounted, is not taken for a new one.
                let folder = folder.filter(|folder| folder.is_dir()).ok_or_else(|| {
                    Error::experiment(format!("there is no folder `{shown}` to share a cache in"))
                        .hint("make the folder, if it is meant")
                })?;
                place = folder.display().to_string();
                let store = LocalFileSystem::new_with_prefix(&folder)
                    .map_err(|e| Error::machine(format!("cannot use the folder `{shown}`: {e}")))?;
                (Box::new(store) as Box<DynObjectStore>, Path::default())
            }
        };
        // Names of services are looked up, and TLS spoken, on few threads: a network is slow.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::io("cannot start threads for the network"))?;
        Ok(Self { store, prefix, name: shown, place, runtime, suspects: Mutex::new(BTreeSet::new()) })
    }
}

/// A location that is a URL and says a place, nothing more.
fn place_of(location: &str, shown: &str) -> Result<Url> {
    let url = Url::parse(location)
        .map_err(|e| Error::experiment(format!("`{shown}` is no location: {e}")).hint(KNOWN))?;
    if url.password().is_some() || !url.username().is_empty() || url.query().is_some() {
        return Err(Error::experiment(format!("the location `{shown}` holds more than a place"))
            .hint("give credentials in the environment, where the service's own tools look for them"));
    }
    Ok(url)
}

/// What says whose bucket of a name is meant: on which server, of which account.
const SERVERS: [&str; 8] = [
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AZURE_ENDPOINT",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_STORAGE_USE_EMULATOR",
    "GOOGLE_BASE_URL",
];

const KNOWN: &str = "give `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder`, or a folder; credentials and \
    endpoints come from the environment (AWS_…, GOOGLE_…, AZURE_…)";

fn cloud(
    url: &Url,
    settings: impl Iterator<Item = (String, String)>,
) -> object_store::Result<(Box<DynObjectStore>, Path)> {
    // Already there if something else has chosen one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (scheme, path) = ObjectStoreScheme::parse(url)?;
    let retry =
        RetryConfig { backoff: BackoffConfig::default(), max_retries: TRIES, retry_timeout: PATIENCE };
    // Only what is meant for the service: the builders take `TOKEN` and `TIMEOUT`, too, which may be anybody's.
    macro_rules! build {
        ($builder:ty, $prefix:literal) => {{
            let known = settings.filter(|(name, _)| name.starts_with($prefix));
            let known =
                known.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)));
            let builder = <$builder>::new().with_client_options(client()).with_url(url.as_str());
            let builder = known.fold(builder, |b, (key, value)| b.with_config(key, value));
            Box::new(builder.with_retry(retry).build()?) as Box<DynObjectStore>
        }};
    }
    let store = match scheme {
        ObjectStoreScheme::AmazonS3 => build!(AmazonS3Builder, "AWS_"),
        ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder, "GOOGLE_"),
        ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder, "AZURE_"),
        _ => {
            let source = format!("the scheme `{}` is not known", url.scheme()).into();
            return Err(object_store::Error::Generic { store: "location", source });
        }
    };
    Ok((store, path))
}

fn client() -> ClientOptions {
    ClientOptions::new().with_timeout(LONGEST).with_connect_timeout(CONNECT)
}

/// An error of a service, fit to be shown: what a service answers can hold the request, and the credentials in it.
pub(super) fn plain(text: &str) -> String {
    let (before, answer) = text.split_at(text.find('<').unwrap_or(text.len()));
    let code = answer.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let shown = without_secrets(before) + code.map_or("", |(code, _)| code);
    shown.chars().take(500).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Without what may be a secret: queries of URLs hold signatures, and what stands before an `@` passwords.
pub(super) fn without_secrets(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '>' | '`');
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let (url, behind) = after.split_at(after.find(ends).unwrap_or(after.len()));
        let place = url.split(['?', '#']).next().unwrap_or_default();
        let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
        shown += before;
        shown += host;
        if place.len() < url.len() {
            shown += "?…";
        }
        rest = behind;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_a_url_is_shown() {
        for (text, shown) in [
            ("s3://bucket/a", "s3://bucket/a"),
            ("at https://me:pw@host/x?sig=abc: no", "at https://host/x?… no"),
            ("(http://a/b?c) and http://d@e", "(http://a/b?…) and http://e"),
            ("nothing?of=that", "nothing?of=that"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn what_is_not_meant_for_the_service_is_not_taken() {
        let open = |name: &str, value: &str| {
            let settings = [("AWS_REGION", "us-east-1"), (name, value)];
            Remote::open("s3://bucket/x", settings.map(|(n, v)| (n.to_string(), v.to_string())).into_iter())
        };
        // Each would be refused if it were read.
        for name in ["TIMEOUT", "CONNECT_TIMEOUT", "AWS_TIMEOUT"] {
            assert_eq!(open(name, "no time").is_err(), name.starts_with("AWS_"), "{name}");
        }
    }

    #[test]
    fn what_a_service_says_is_cut_to_its_code() {
        let said = "status 403: <?xml?><Error><Code>SignatureDoesNotMatch</Code><Request>x-token:abc</Request></Error>";
        assert_eq!(plain(said), "status 403: SignatureDoesNotMatch");
        assert_eq!(plain("no\u{1b}[2J answer at s3://b?x"), "no\u{fffd}[2J answer at s3://b?…");
    }

    #[test]
    fn a_location_holds_no_credentials() {
        for location in ["https://me:secret@host/x", "s3://secret@bucket/x", "az://c/x?sig=secret"] {
            let error = Remote::open(location, std::iter::empty()).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(Remote::open("ftp://host/x", std::iter::empty()).is_err());
    }
}
