//! The secret that lets its bearer change pools.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Fewer characters could be guessed.
const SHORTEST: usize = 16;

/// The digest of a token; the token itself is not kept.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl Token {
    /// `None` when it is too short.
    pub(super) fn new(token: &str) -> Option<Self> {
        (token.len() >= SHORTEST).then(|| Self(digest(token)))
    }

    /// Whether an `Authorization` header bears it.
    ///
    /// Compares digests, of one length, in a time that does not depend on where they differ.
    pub(super) fn is_in(&self, authorization: &str) -> bool {
        let Some((scheme, token)) = authorization.split_once(' ') else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer") && digest(token.trim()).ct_eq(&self.0).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: bool) {
        let token = Token::new("correct horse battery").unwrap();
        assert_eq!(token.is_in(header), expected, "{header}");
    }

    #[test]
    fn only_the_token_opens() {
        check("Bearer correct horse battery", true);
        check("bearer correct horse battery", true);
        check("Bearer correct horse batterz", false);
        check("Bearer correct horse batter", false);
        check("Bearer ", false);
        check("Basic correct horse battery", false);
        check("correct horse battery", false);
        check("", false);
    }

    #[test]
    fn a_short_token_is_none() {
        assert!(Token::new("fifteen letters").is_none());
        assert!(Token::new("sixteen letters!").is_some());
    }

    #[test]
    fn a_token_does_not_print() {
        let token = Token::new("correct horse battery").unwrap();
        assert_eq!(format!("{token:?}"), "Token");
    }
}
