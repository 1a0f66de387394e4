//! The suite that every backend runs, on the scripted one.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{ConnectFault, Pool, PoolBuilder, SharedError};
use pool_testkit::conformance::Backend;
use pool_testkit::{Answer, Script, ScriptedConnection, ScriptedManager};

struct Scripted {
    manager: ScriptedManager,
    script: Script,
}

impl Scripted {
    fn start() -> Self {
        let (manager, script) = ScriptedManager::new();
        // As with a server: who looks all the time sees connects under way.
        script.connect().takes(Duration::from_millis(1));
        Self { manager, script }
    }
}

impl Backend for Scripted {
    type Manager = ScriptedManager;

    fn builder(&self) -> PoolBuilder<ScriptedManager> {
        Pool::builder(self.manager.another())
    }

    async fn ping(&self, connection: &mut ScriptedConnection) -> Result<(), SharedError> {
        let answer = connection.query(Duration::ZERO).await;
        answer.map_err(|error| Arc::new(error) as SharedError)
    }

    async fn at_server(&self) -> u32 {
        u32::try_from(self.script.open()).unwrap()
    }

    async fn kill(&self, connection: &mut ScriptedConnection) -> bool {
        connection.cut();
        true
    }

    async fn set_reachable(&self, reachable: bool) -> bool {
        if reachable {
            self.script.connect().works();
        } else {
            let answer = Answer::Fails(ConnectFault::Transient);
            self.script.connect().always(answer);
        }
        true
    }
}

pool_testkit::conformance_tests!(Scripted::start());
