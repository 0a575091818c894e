//! Links, symbolic and hard. None is made, followed or told that leads out of the root.

use std::path::{Component, Path};

use super::directories::names_in;
use super::failure::{Failure, Outcome};
use super::place::Place;
use super::session::Session;

impl Session {
    pub(super) fn read_link(&self, name: &str) -> Outcome<String> {
        let place = self.place(name)?;
        let target = self.root.read_link_contents(place.entry()?)?;
        if leads_out(self.depth(&place)?, &target) {
            return Err(leaves());
        }
        Ok(target.to_string_lossy().into_owned())
    }

    /// Makes a symbolic link. Its target is relative to its own directory, and goes up only at its beginning: then
    /// where it leads does not depend on other links.
    pub(super) fn make_link(&self, target: &str, link: &str) -> Outcome<()> {
        self.may_change()?;
        self.names.check(target)?;
        let place = self.place(link)?;
        let entry = place.entry()?;
        let target = Path::new(target);
        if leads_out(self.depth(&place)?, target) || turns_back(target) {
            return Err(leaves());
        }
        Ok(self.root.symlink(target, entry)?)
    }

    /// Makes a hard link (`hardlink@openssh.com`).
    pub(super) fn make_hard_link(&self, old: &str, new: &str) -> Outcome<()> {
        self.may_change()?;
        let (old, new) = (self.place(old)?.entry()?, self.place(new)?.entry()?);
        if !self.root.symlink_metadata(&old)?.is_file() {
            return Err(Failure::failed("Only regular files can have a second name"));
        }
        Ok(self.root.hard_link(old, &self.root, new)?)
    }

    /// How many directories there are above an entry, the root not counted.
    fn depth(&self, place: &Place) -> Outcome<usize> {
        let (parent, _) = place.split()?;
        Ok(names_in(&self.canonical(&parent)?).count())
    }
}

fn leaves() -> Failure {
    Failure::denied("The link leads out of the root, or is not relative to its directory")
}

/// Whether a link in a directory at this depth leads above the root.
fn leads_out(mut depth: usize, target: &Path) -> bool {
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::CurDir => {}
            _ => return true,
        }
    }
    false
}

/// Whether there is a `..` behind a name.
fn turns_back(target: &Path) -> bool {
    let mut parts = target.components().filter(|part| *part != Component::CurDir);
    parts.by_ref().find(|part| *part != Component::ParentDir);
    parts.any(|part| part == Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_above_the_root_and_absolute_ones_lead_out() {
        for (depth, target, out) in [
            (0, "a", false),
            (0, "a/../b", false),
            (0, "..", true),
            (0, "a/../../b", true),
            (2, "../../a", false),
            (2, "../../../a", true),
            (2, "./../x/../..", false),
            (9, "/a", true),
        ] {
            assert_eq!(leads_out(depth, Path::new(target)), out, "{target} at {depth}");
        }
    }

    #[test]
    fn a_target_goes_up_only_at_its_beginning() {
        for (target, back) in
            [("../../a/b", false), ("a", false), ("./../a", false), ("a/..", true), ("../a/../b", true)]
        {
            assert_eq!(turns_back(Path::new(target)), back, "{target}");
        }
    }
}
