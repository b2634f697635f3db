use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Longest name of a bucket, and of a prefix, in bytes.
const BUCKET_MAX: usize = 63;
const PREFIX_MAX: usize = 512;
const SCHEME: &str = "s3://";

/// Where blobs are kept: `folder`, or `s3://BUCKET/PREFIX`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Place {
    /// The folder `blobs` of the state folder.
    #[default]
    Folder,
    /// S3-compatible storage. Only with the cargo feature `s3`.
    S3(Bucket),
}

/// A bucket of S3-compatible storage, and the prefix of its keys that belongs to one fog.
#[derive(Clone, Eq, PartialEq)]
pub struct Bucket {
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) settings: Vec<(String, Zeroizing<String>)>,
}

// Settings may be secret.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.name, self.prefix)
    }
}

impl Bucket {
    /// Sets one of the variables `AWS_…`, in place of the environment's. [`Blobs::open_at`](crate::Blobs::open_at) refuses those that it does not know.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.settings
            .push((variable.to_owned(), Zeroizing::new(value.to_owned())));
        self
    }
}

/// The reason why a text names no place of blobs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// It has neither form.
    #[error("blobs are kept in \"folder\", or at s3://BUCKET/PREFIX")]
    Form,
    /// The name of the bucket is not one of S3.
    #[error("the name of a bucket has 3 to {BUCKET_MAX} of a-z, 0-9, - and .")]
    Bucket,
    /// The prefix is not one that this store uses.
    #[error(
        "the prefix of a bucket has at most {PREFIX_MAX} of A-Z, a-z, 0-9, -, _, . and /, and no empty, . or .. part"
    )]
    Prefix,
    /// This program was built without S3.
    #[error("this program was built without s3: keep blobs in \"folder\"")]
    NotBuilt,
}

fn is_bucket(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (3..=BUCKET_MAX).contains(&name.len()) && name.bytes().all(known)
}

fn is_prefix(prefix: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(known);
    prefix.is_empty() || prefix.len() <= PREFIX_MAX && prefix.split('/').all(part)
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if text == "folder" {
            return Ok(Self::Folder);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(PlaceError::Form)?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !is_bucket(name) {
            return Err(PlaceError::Bucket);
        }
        if !is_prefix(prefix) {
            return Err(PlaceError::Prefix);
        }
        if !cfg!(feature = "s3") {
            return Err(PlaceError::NotBuilt);
        }
        Ok(Self::S3(Bucket {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            settings: Vec::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket_and_tells_no_secret() {
        assert_eq!("folder".parse(), Ok(Place::Folder));
        for (text, shown) in [
            ("s3://fog", "s3://fog/"),
            ("s3://fog/", "s3://fog/"),
            ("s3://my.fog-1/a/b_2/", "s3://my.fog-1/a/b_2"),
        ] {
            let place = text.parse::<Place>();
            if !cfg!(feature = "s3") {
                assert_eq!(place, Err(PlaceError::NotBuilt));
                continue;
            }
            let Ok(Place::S3(bucket)) = place else {
                panic!("{text}: {place:?}");
            };
            assert_eq!(format!("{bucket:?}"), shown);
            let bucket = bucket.with("AWS_SECRET_ACCESS_KEY", "hunter2");
            assert_eq!(format!("{bucket:?}"), shown);
        }
        let long = format!("s3://fog/{}", "x".repeat(PREFIX_MAX + 1));
        for (text, error) in [
            ("", PlaceError::Form),
            ("/var/blobs", PlaceError::Form),
            ("S3://fog", PlaceError::Form),
            ("s3://", PlaceError::Bucket),
            ("s3://ab", PlaceError::Bucket),
            ("s3://Fog/a", PlaceError::Bucket),
            ("s3://user:key@fog/a", PlaceError::Bucket),
            ("s3://fog/a//b", PlaceError::Prefix),
            ("s3://fog/../a", PlaceError::Prefix),
            ("s3://fog/a?b", PlaceError::Prefix),
            (&long, PlaceError::Prefix),
        ] {
            assert_eq!(text.parse::<Place>(), Err(error), "{text}");
        }
    }
}
