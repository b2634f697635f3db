//! Rules for the templates that a node allows.

use std::path::Path;
use std::sync::Arc;

use betanet_carrier::disk;
use betanet_keys::{Envelope, Maintainers};
use betanet_traffic::template::front::{FrontError, Fronts, Profile, TemplateStatus};
use betanet_wire::text::{hex, unhex};

use crate::files::file_error;
use crate::{Error, FrontProblem, Network};

/// The registry of front origins, and how strictly it applies.
#[derive(Clone, Debug, Default)]
pub struct FrontRules {
    /// STANDARD allows templates that are not in the registry, EXTENDED does not.
    pub profile: Profile,
    /// The known records. `None` if there is no registry; STANDARD then accepts all templates silently.
    pub fronts: Option<Arc<Fronts>>,
}

impl FrontRules {
    /// Reads records from a file: one envelope per line, in hex, signed by the network's maintainers.
    ///
    /// # Errors
    ///
    /// [`Error::File`], or [`Error::Front`] with the line.
    pub fn read(profile: Profile, file: Option<&Path>, network: &Network) -> Result<Self, Error> {
        let maintainers = Maintainers::new(&network.maintainers);
        let mut fronts = Fronts::default();
        if let Some(path) = file {
            let text = disk::read_text(path, disk::TEXT_MAX).map_err(file_error(path))?;
            let lines = text.lines().map(str::trim).enumerate();
            for (n, line) in lines.filter(|(_, l)| !l.is_empty() && !l.starts_with('#')) {
                let wrong = |why: FrontProblem| Error::Front {
                    path: path.to_owned(),
                    line: n + 1,
                    why,
                };
                let bytes = unhex(line).ok_or_else(|| wrong(FrontProblem::NotHex))?;
                Envelope::from_bytes(&bytes)
                    .map_err(FrontError::from)
                    .and_then(|e| fronts.add(&e, &maintainers))
                    .map_err(|e| wrong(FrontProblem::Record(e)))?;
            }
        }
        Ok(Self {
            profile,
            fronts: file.map(|_| Arc::new(fronts)),
        })
    }

    /// Checks whether a session may have this template.
    ///
    /// # Errors
    ///
    /// [`Error::OriginMismatch`]: the session ends with L2_ORIGIN_MISMATCH.
    pub fn check(&self, template: &[u8; 32], host: Option<&str>, now_ms: u64) -> Result<(), Error> {
        let none = Fronts::default();
        let fronts = self.fronts.as_deref().unwrap_or(&none);
        let standing = fronts.standing(template, host, now_ms);
        let refusal = fronts.refusal(self.profile, template, host, now_ms);
        if refusal.is_some() {
            return Err(Error::OriginMismatch {
                template: *template,
                why: said(standing),
            });
        }
        let known = matches!(standing, TemplateStatus::Listed | TemplateStatus::None);
        if !known && self.fronts.is_some() {
            tracing::warn!(template = %hex(template), "the template {}", said(standing));
        }
        Ok(())
    }
}

const fn said(standing: TemplateStatus) -> &'static str {
    match standing {
        TemplateStatus::Listed => "is in the registry",
        TemplateStatus::Expired => "has a record in the registry that has expired",
        TemplateStatus::Unlisted => "is not in the registry",
        TemplateStatus::None => "is missing",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Collects log lines.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn standard_says_what_is_not_in_a_registry_that_there_is() {
        let said = |fronts| {
            let rules = FrontRules {
                profile: Profile::Standard,
                fronts,
            };
            let log = Log::default();
            let to = log.clone();
            let logs = tracing_subscriber::fmt().with_writer(move || to.clone());
            tracing::subscriber::with_default(logs.finish(), || {
                rules.check(&[7; 32], Some("a.example"), 0).unwrap();
            });
            String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
        };
        assert_eq!(said(None), "");
        // A registry without records is still a registry.
        let warned = said(Some(Arc::default()));
        assert!(warned.contains("is not in the registry"), "{warned}");
    }
}
