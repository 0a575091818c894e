//! Closes the byte stream of a handshake that was given up.

use std::sync::Arc;

use crate::transport::pump::PumpControl;

/// Closes the byte stream unless told otherwise: russh's session would outlive a dropped handshake.
pub(in crate::transport) struct CloseOnDrop(Option<Arc<PumpControl>>);

impl CloseOnDrop {
    pub(in crate::transport) fn new(control: &Arc<PumpControl>) -> Self {
        Self(Some(Arc::clone(control)))
    }

    /// The handshake has succeeded.
    pub(in crate::transport) fn keep_open(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(control) = self.0.take() {
            control.abort();
        }
    }
}
