//! The first administrator's one-time code.

use betanet_keys::{hash, same};
use betanet_machine::Rng;

use crate::secret::{Secret, from_token, to_token};
use crate::{Accounts, Error};

const PREFIX: &str = "bnfa_";
const BODY: usize = 17;

/// State of the code. It is valid from the start of a server without administrators until there is one.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    code: Option<[u8; 32]>,
}

impl Setup {
    /// Draws the code to print on the console, if there is no administrator. A later start draws another.
    #[must_use]
    pub fn begin(accounts: &Accounts, rng: &mut Rng) -> (Self, Option<Secret>) {
        if accounts.has_admin() {
            return (Self::default(), None);
        }
        let body: [u8; BODY] = rng.array();
        let code = Some(digest(&body));
        (Self { code }, Some(to_token(PREFIX, &body)))
    }

    /// Whether the code is valid.
    #[must_use]
    pub fn is_open(&self, accounts: &Accounts) -> bool {
        self.code.is_some() && !accounts.has_admin()
    }

    /// Checks the code. It has 136 random bits, so wrong ones need no count: the limit of logins holds.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Typing`] or [`Error::Credentials`].
    pub fn check(&self, accounts: &Accounts, code: &str) -> Result<(), Error> {
        let Some(right) = self.code.as_ref().filter(|_| !accounts.has_admin()) else {
            return Err(Error::Closed);
        };
        let body = from_token::<BODY>(PREFIX, code.trim())?;
        match same(right, &digest(body.as_slice())) {
            true => Ok(()),
            false => Err(Error::Credentials),
        }
    }

    /// Voids the code, once the administrator is stored.
    pub fn close(&mut self) {
        self.code = None;
    }
}

fn digest(body: &[u8]) -> [u8; 32] {
    hash(&[b"BN-AUTH-FIRST", body])
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use betanet_machine::Seed;
    use betanet_wire::cbor;

    use super::*;
    use crate::PasswordHash;

    #[test]
    fn the_code_works_until_there_is_an_administrator() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut accounts = Accounts::default();
        let (setup, code) = Setup::begin(&accounts, &mut rng);
        let code = code.unwrap().expose().to_string();
        assert!(setup.is_open(&accounts));
        assert_eq!(setup.check(&accounts, &code), Ok(()));
        assert_eq!(setup.check(&accounts, ""), Err(Error::Credentials));
        let other = Setup::begin(&accounts, &mut rng).1.unwrap();
        assert_eq!(
            setup.check(&accounts, other.expose()),
            Err(Error::Credentials)
        );
        let hash: PasswordHash = cbor::from_slice(&cbor::to_vec(&[1_u8; 49])).unwrap();
        accounts.add_first(1, [1; 16], "root", hash).unwrap();
        // Even if the server forgot to close it.
        assert_eq!(setup.check(&accounts, &code), Err(Error::Closed));
        assert!(Setup::begin(&accounts, &mut rng).1.is_none());
        let mut closed = setup;
        closed.close();
        assert_eq!(
            closed.check(&Accounts::default(), &code),
            Err(Error::Closed)
        );
    }
}
