//! Signals by their SSH names, and how a process ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal as System;

use crate::wire::{ExitSignal, Signal};

/// The name for a signal that RFC 4254 section 6.10 has none for, as OpenSSH says it.
const NAMELESS: &str = "SIG@openssh.com";

const SIGNALS: [(Signal, System); 13] = [
    (Signal::Abrt, System::ABORT),
    (Signal::Alrm, System::ALARM),
    (Signal::Fpe, System::FPE),
    (Signal::Hup, System::HUP),
    (Signal::Ill, System::ILL),
    (Signal::Int, System::INT),
    (Signal::Kill, System::KILL),
    (Signal::Pipe, System::PIPE),
    (Signal::Quit, System::QUIT),
    (Signal::Segv, System::SEGV),
    (Signal::Term, System::TERM),
    (Signal::Usr1, System::USR1),
    (Signal::Usr2, System::USR2),
];

/// This system's signal of that name; `None` for names outside the RFC.
pub(super) fn by_name(signal: &Signal) -> Option<System> {
    SIGNALS.into_iter().find(|(known, _)| known == signal).map(|(_, system)| system)
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Status(u32),
    Signal(ExitSignal),
}

impl From<ExitStatus> for Ending {
    fn from(status: ExitStatus) -> Self {
        if let Some(code) = status.code().and_then(|code| u32::try_from(code).ok()) {
            return Self::Status(code);
        }
        let number = status.signal().unwrap_or_default();
        let known = SIGNALS.into_iter().find(|(_, system)| system.as_raw() == number);
        let exit = match known {
            Some((signal, _)) => ExitSignal::new(signal),
            None => ExitSignal::new(Signal::from_name(NAMELESS)).message(status.to_string(), ""),
        };
        Self::Signal(exit.core_dumped(status.core_dumped()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_status_and_a_signal_is_named() {
        assert_eq!(Ending::from(ExitStatus::from_raw(7 << 8)), Ending::Status(7));
        let term = ExitStatus::from_raw(System::TERM.as_raw());
        assert_eq!(Ending::from(term), Ending::Signal(ExitSignal::new(Signal::Term)));
        let segv = ExitStatus::from_raw(System::SEGV.as_raw() | 0x80);
        assert_eq!(Ending::from(segv), Ending::Signal(ExitSignal::new(Signal::Segv).core_dumped(true)));
        let Ending::Signal(bus) = Ending::from(ExitStatus::from_raw(System::BUS.as_raw())) else {
            panic!("a signal ended it")
        };
        assert_eq!(bus.signal.name(), NAMELESS);
        assert!(bus.message.contains("SIGBUS"), "{bus}");
    }

    #[test]
    fn every_name_of_the_rfc_is_a_signal_here_and_no_other() {
        for (signal, system) in SIGNALS {
            assert_eq!(by_name(&Signal::from_name(signal.name())), Some(system));
        }
        assert_eq!(by_name(&Signal::from_name("STOP")), None);
        assert_eq!(by_name(&Signal::from_name("INFO@openssh.com")), None);
    }
}
