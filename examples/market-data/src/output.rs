//! Standard output, whose reader may go away.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use tokio_util::sync::CancellationToken;

/// Prints a line. A reader that has gone away has had enough: that tells the run to stop, and is no
/// error.
pub(crate) fn say(stop: &CancellationToken, line: impl Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(gone) if gone.kind() == ErrorKind::BrokenPipe => {
            stop.cancel();
            Ok(())
        }
        written => written,
    }
}
