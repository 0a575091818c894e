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
