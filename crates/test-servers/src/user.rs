//! The user PostgreSQL runs as when we are root, which it refuses.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::error::{IoContext as _, IoError, StartError};
use crate::process::is_root;

/// An ordinary user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unprivileged {
    pub(crate) name: String,
    uid: u32,
    gid: u32,
}

impl Unprivileged {
    /// Nobody when this process is not root and so needs no other user; under root `postgres`, or
    /// `nobody` where there is none.
    pub(crate) fn if_root() -> Result<Option<Self>, StartError> {
        if !is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::parse(&users, name))
            .map(Some)
            .ok_or(StartError::NoUnprivilegedUser)
    }

    fn parse(users: &str, name: &str) -> Option<Self> {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let fields: Vec<&str> = line.split(':').collect();
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        (uid != 0).then(|| Self {
            name: name.to_owned(),
            uid,
            gid,
        })
    }

    /// Makes `command` run as this user, without the groups of this process.
    pub(crate) fn run(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    pub(crate) fn own(&self, path: &Path) -> Result<(), IoError> {
        chown(path, Some(self.uid), Some(self.gid)).context("change the owner of", path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name_and_never_is_root() {
        let users =
            "root:x:0:0::/root:/bin/sh\npostgres2:x:7:8::/:\npostgres:x:101:104::/:/bin/sh\n";
        let user = Unprivileged::parse(users, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert_eq!(Unprivileged::parse(users, "nobody"), None);
        assert_eq!(Unprivileged::parse(users, "root"), None);
    }
}
