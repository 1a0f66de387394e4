//! Passwords for servers that live as long as a test.

use std::fs::File;
use std::io::{self, Read as _};

/// 128 random bits in hexadecimal, which needs no escaping in a URL, a file or a command.
pub(crate) fn password() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
