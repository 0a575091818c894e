//! A managed connection as that on which a forward stands.

use std::sync::{Arc, Weak};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::grounds::gone;
use super::managed_ref::ManagedRef;
use crate::error::{ConnectionError, OpenError};
use crate::forward::Base;
use crate::handle::ConnectionRef;
use crate::handle::route::{Route, Way};
use crate::observe::Watched;

/// Keeps the managed connection from ending for want of an address.
pub(super) struct Ground(ManagedRef);

impl Ground {
    pub(super) const fn new(managed: ManagedRef) -> Self {
        Self(managed)
    }
}

impl Base for Ground {
    /// How long a connection is waited for, the forward says.
    fn route(&self) -> Route {
        let managed = self.0.clone();
        Route::found(move |_| {
            let managed = managed.clone();
            async move {
                let found = managed.comes_up().await;
                found.map(Way::shared).map_err(OpenError::from)
            }
        })
    }

    fn is_up(&self) -> bool {
        self.0.current().is_some()
    }

    fn connection(&self) -> BoxFuture<'static, Result<ConnectionRef, ConnectionError>> {
        let managed = self.0.clone();
        async move {
            managed.comes_up().await.map_err(|_| managed.state().over().unwrap_or(ConnectionError::Closed))
        }
        .boxed()
    }

    fn comes_back(&self) -> bool {
        true
    }

    fn gone(&self) -> BoxFuture<'static, ConnectionError> {
        gone(Arc::clone(self.0.grounds())).boxed()
    }

    fn list(&self, forward: Weak<dyn Watched>) {
        self.0.grounds().watched.add(forward);
    }
}
