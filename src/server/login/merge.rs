//! What a login may do when two sides have a say in it: two steps, or a certificate and the line of its authority.

use super::decision::LoginRefusal;
use crate::server::permissions::Permissions;

/// No more than both allow. Two different forced commands are an error: neither side's wish could be kept.
pub(super) fn both(one: Permissions, other: Permissions) -> Result<Permissions, LoginRefusal> {
    let force_command = match (one.force_command, other.force_command) {
        (Some(one), Some(other)) if one != other => return Err(LoginRefusal::TwoCommands),
        (one, other) => one.or(other),
    };
    let mut environment = one.environment;
    for (name, value) in other.environment {
        if !environment.iter().any(|(known, _)| *known == name) {
            environment.push((name, value));
        }
    }
    Ok(Permissions {
        force_command,
        environment,
        pty: one.pty && other.pty,
        port_forwarding: one.port_forwarding && other.port_forwarding,
        agent_forwarding: one.agent_forwarding && other.agent_forwarding,
        x11_forwarding: one.x11_forwarding && other.x11_forwarding,
        permit_open: common(one.permit_open, other.permit_open),
        permit_listen: common(one.permit_listen, other.permit_listen),
    })
}

/// What stands in both lists, word for word; a side without a list allows anything.
fn common(one: Option<Vec<String>>, other: Option<Vec<String>>) -> Option<Vec<String>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.into_iter().filter(|target| other.contains(target)).collect()),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_can_only_take_away() {
        let mut one = Permissions::all();
        one.pty = false;
        one.environment = vec![("A".into(), "1".into())];
        one.permit_open = Some(vec!["a:1".into(), "b:2".into()]);
        let mut other = Permissions::none();
        other.pty = true;
        other.force_command = Some("x".into());
        other.environment = vec![("A".into(), "2".into()), ("B".into(), "3".into())];
        other.permit_open = Some(vec!["b:2".into(), "c:3".into()]);
        other.permit_listen = Some(vec!["8080".into()]);
        let merged = both(one, other).unwrap();
        let mut expected = Permissions::none();
        expected.force_command = Some("x".into());
        expected.environment = vec![("A".into(), "1".into()), ("B".into(), "3".into())];
        expected.permit_open = Some(vec!["b:2".into()]);
        expected.permit_listen = Some(vec!["8080".into()]);
        assert_eq!(merged, expected);
        assert_eq!(both(Permissions::all(), Permissions::all()), Ok(Permissions::all()));
    }

    #[test]
    fn two_different_commands_are_refused_and_the_same_one_is_not() {
        let forced = |command: &'static str| {
            let mut permissions = Permissions::all();
            permissions.force_command = Some(command.into());
            permissions
        };
        assert_eq!(both(forced("a"), forced("b")), Err(LoginRefusal::TwoCommands));
        assert_eq!(both(forced("a"), forced("a")), Ok(forced("a")));
    }
}
