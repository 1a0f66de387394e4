//! Who a connection logs in as, when that changes while the pool runs.

use secrecy::SecretString;

/// What a credential provider returns: a password or token, and the user it belongs to.
///
/// Its `Debug` shows no secret.
///
/// # Example
///
/// ```
/// use pool_postgres::Credentials;
///
/// let credentials = Credentials::password("short-lived token").user("app_7");
/// assert!(!format!("{credentials:?}").contains("token"));
/// ```
#[derive(Clone, Debug)]
pub struct Credentials {
    pub(crate) user: Option<String>,
    pub(crate) password: SecretString,
}

impl Credentials {
    /// A password for the user of the connection options.
    #[must_use]
    pub fn password(password: impl Into<SecretString>) -> Self {
        Self {
            user: None,
            password: password.into(),
        }
    }

    /// Logs in as another user than the connection options say.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }
}
