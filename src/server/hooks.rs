//! What a program hears of its daemon's connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::session::{SessionEnd, SessionInfo};

type Hook = Arc<dyn Fn(&SessionInfo) + Send + Sync>;
type EndHook = Arc<dyn Fn(&SessionInfo, &SessionEnd) + Send + Sync>;

/// The hooks of a configuration. A panic in one is caught, and changes nothing.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub(super) connect: Option<Hook>,
    pub(super) login: Option<Hook>,
    pub(super) disconnect: Option<EndHook>,
}

impl Hooks {
    pub(super) fn connected(&self, session: &SessionInfo) {
        if let Some(hook) = &self.connect {
            guarded("on_connect", || hook(session));
        }
    }

    pub(super) fn logged_in(&self, session: &SessionInfo) {
        if let Some(hook) = &self.login {
            guarded("on_login", || hook(session));
        }
    }

    pub(super) fn disconnected(&self, session: &SessionInfo, end: &SessionEnd) {
        if let Some(hook) = &self.disconnect {
            guarded("on_disconnect", || hook(session, end));
        }
    }
}

fn guarded(name: &str, hook: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(hook)).is_err() {
        tracing::error!(hook = name, "a hook panicked");
    }
}
