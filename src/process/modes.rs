//! Terminal modes of RFC 4254 section 8, as this system has them.

use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex, Termios};

use crate::wire::{TerminalMode, TerminalModes};

/// What RFC 4254 section 8 puts in the place of a control character that is switched off.
const NO_CHARACTER: u32 = 255;
/// What this system does.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const DISABLED: u8 = 0;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const DISABLED: u8 = 255;

const CHARACTERS: &[(TerminalMode, SpecialCodeIndex)] = &[
    (TerminalMode::VINTR, SpecialCodeIndex::VINTR),
    (TerminalMode::VQUIT, SpecialCodeIndex::VQUIT),
    (TerminalMode::VERASE, SpecialCodeIndex::VERASE),
    (TerminalMode::VKILL, SpecialCodeIndex::VKILL),
    (TerminalMode::VEOF, SpecialCodeIndex::VEOF),
    (TerminalMode::VEOL, SpecialCodeIndex::VEOL),
    (TerminalMode::VEOL2, SpecialCodeIndex::VEOL2),
    (TerminalMode::VSTART, SpecialCodeIndex::VSTART),
    (TerminalMode::VSTOP, SpecialCodeIndex::VSTOP),
    (TerminalMode::VSUSP, SpecialCodeIndex::VSUSP),
    (TerminalMode::VREPRINT, SpecialCodeIndex::VREPRINT),
    (TerminalMode::VWERASE, SpecialCodeIndex::VWERASE),
    (TerminalMode::VLNEXT, SpecialCodeIndex::VLNEXT),
    (TerminalMode::VDISCARD, SpecialCodeIndex::VDISCARD),
    #[cfg(target_os = "linux")]
    (TerminalMode::VSWTCH, SpecialCodeIndex::VSWTC),
];

const INPUT: &[(TerminalMode, InputModes)] = &[
    (TerminalMode::IGNPAR, InputModes::IGNPAR),
    (TerminalMode::PARMRK, InputModes::PARMRK),
    (TerminalMode::INPCK, InputModes::INPCK),
    (TerminalMode::ISTRIP, InputModes::ISTRIP),
    (TerminalMode::INLCR, InputModes::INLCR),
    (TerminalMode::IGNCR, InputModes::IGNCR),
    (TerminalMode::ICRNL, InputModes::ICRNL),
    #[cfg(target_os = "linux")]
    (TerminalMode::IUCLC, InputModes::IUCLC),
    (TerminalMode::IXON, InputModes::IXON),
    (TerminalMode::IXANY, InputModes::IXANY),
    (TerminalMode::IXOFF, InputModes::IXOFF),
    (TerminalMode::IMAXBEL, InputModes::IMAXBEL),
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    (TerminalMode::IUTF8, InputModes::IUTF8),
];

const LOCAL: &[(TerminalMode, LocalModes)] = &[
    (TerminalMode::ISIG, LocalModes::ISIG),
    (TerminalMode::ICANON, LocalModes::ICANON),
    #[cfg(target_os = "linux")]
    (TerminalMode::XCASE, LocalModes::XCASE),
    (TerminalMode::ECHO, LocalModes::ECHO),
    (TerminalMode::ECHOE, LocalModes::ECHOE),
    (TerminalMode::ECHOK, LocalModes::ECHOK),
    (TerminalMode::ECHONL, LocalModes::ECHONL),
    (TerminalMode::NOFLSH, LocalModes::NOFLSH),
    (TerminalMode::TOSTOP, LocalModes::TOSTOP),
    (TerminalMode::IEXTEN, LocalModes::IEXTEN),
    (TerminalMode::ECHOCTL, LocalModes::ECHOCTL),
    (TerminalMode::ECHOKE, LocalModes::ECHOKE),
    (TerminalMode::PENDIN, LocalModes::PENDIN),
];

const OUTPUT: &[(TerminalMode, OutputModes)] = &[
    (TerminalMode::OPOST, OutputModes::OPOST),
    #[cfg(target_os = "linux")]
    (TerminalMode::OLCUC, OutputModes::OLCUC),
    (TerminalMode::ONLCR, OutputModes::ONLCR),
    (TerminalMode::OCRNL, OutputModes::OCRNL),
    (TerminalMode::ONOCR, OutputModes::ONOCR),
    (TerminalMode::ONLRET, OutputModes::ONLRET),
];

/// Changes what the peer said something about; the rest stays as the system made it. What there is no such thing as here
/// is passed over.
pub(super) fn apply(modes: &TerminalModes, termios: &mut Termios) {
    for (mode, value) in modes.iter() {
        let on = value != 0;
        if let Some(index) = find(CHARACTERS, mode) {
            termios.special_codes[index] = character(value);
        } else if let Some(flag) = find(INPUT, mode) {
            termios.input_modes.set(flag, on);
        } else if let Some(flag) = find(LOCAL, mode) {
            termios.local_modes.set(flag, on);
        } else if let Some(flag) = find(OUTPUT, mode) {
            termios.output_modes.set(flag, on);
        } else {
            control(mode, value, termios);
        }
    }
}

fn find<T: Copy>(table: &[(TerminalMode, T)], mode: TerminalMode) -> Option<T> {
    table.iter().find(|(known, _)| *known == mode).map(|(_, found)| *found)
}

fn character(value: u32) -> u8 {
    if value == NO_CHARACTER { DISABLED } else { u8::try_from(value).unwrap_or(DISABLED) }
}

fn control(mode: TerminalMode, value: u32, termios: &mut Termios) {
    let control = &mut termios.control_modes;
    let on = value != 0;
    match mode {
        // The size of a character is one field.
        TerminalMode::CS7 if on => *control = (*control - ControlModes::CSIZE) | ControlModes::CS7,
        TerminalMode::CS8 if on => *control = (*control - ControlModes::CSIZE) | ControlModes::CS8,
        TerminalMode::PARENB => control.set(ControlModes::PARENB, on),
        TerminalMode::PARODD => control.set(ControlModes::PARODD, on),
        // 0 would hang the line up. A speed this system does not have is passed over.
        TerminalMode::ISPEED if on => drop(termios.set_input_speed(value)),
        TerminalMode::OSPEED if on => drop(termios.set_output_speed(value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Termios {
        let (_keyboard, process) = pty_process::blocking::open().unwrap();
        rustix::termios::tcgetattr(&process).unwrap()
    }

    fn applied(modes: &[(TerminalMode, u32)]) -> Termios {
        let mut termios = fresh();
        apply(&modes.iter().copied().collect(), &mut termios);
        termios
    }

    /// Terminals of Linux take no other size and no parity, whatever they are told; others do.
    #[test]
    fn characters_have_one_size_and_no_mode_takes_it_away() {
        let size = |modes: &[_]| applied(modes).control_modes & ControlModes::CSIZE;
        assert_eq!(size(&[(TerminalMode::CS7, 1)]), ControlModes::CS7);
        assert_eq!(size(&[(TerminalMode::CS7, 1), (TerminalMode::CS8, 1)]), ControlModes::CS8);
        assert_eq!(size(&[(TerminalMode::CS8, 0)]), ControlModes::CS8);
        assert!(applied(&[(TerminalMode::PARENB, 1)]).control_modes.contains(ControlModes::PARENB));
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let nonsense =
            [(TerminalMode::ISPEED, 0), (TerminalMode::raw(127).unwrap(), 1), (TerminalMode::VSTATUS, 9)];
        let (before, after) = (fresh(), applied(&nonsense));
        assert_eq!(before.control_modes, after.control_modes);
        assert_eq!(before.local_modes, after.local_modes);
        assert_eq!(before.input_speed(), after.input_speed());
    }

    #[test]
    fn a_character_that_is_none_or_too_large_is_switched_off() {
        let termios =
            applied(&[(TerminalMode::VINTR, 255), (TerminalMode::VQUIT, 1000), (TerminalMode::VEOF, 5)]);
        let code = |index| termios.special_codes[index];
        assert_eq!(code(SpecialCodeIndex::VINTR), DISABLED);
        assert_eq!(code(SpecialCodeIndex::VQUIT), DISABLED);
        assert_eq!(code(SpecialCodeIndex::VEOF), 5);
    }

    #[test]
    fn every_named_mode_but_the_legacy_ones_is_known() {
        let legacy = [TerminalMode::VDSUSP, TerminalMode::VFLUSH, TerminalMode::VSTATUS];
        for mode in (1..160).filter_map(TerminalMode::raw).filter(|mode| mode.name().is_some()) {
            let flag =
                find(INPUT, mode).is_some() || find(LOCAL, mode).is_some() || find(OUTPUT, mode).is_some();
            let control = [
                TerminalMode::CS7,
                TerminalMode::CS8,
                TerminalMode::PARENB,
                TerminalMode::PARODD,
                TerminalMode::ISPEED,
                TerminalMode::OSPEED,
            ];
            let known = flag || find(CHARACTERS, mode).is_some() || control.contains(&mode);
            let elsewhere = cfg!(not(target_os = "linux")) || legacy.contains(&mode);
            assert!(known || elsewhere, "{mode}");
        }
    }
}
