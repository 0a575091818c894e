//! How a file is opened.

use std::ops::BitOr;

/// How a file is opened (draft-ietf-secsh-filexfer-02 section 6.3). Flags are joined with `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpenFlags(u32);

impl OpenFlags {
    /// To read.
    pub const READ: Self = Self(0x01);
    /// To write.
    pub const WRITE: Self = Self(0x02);
    /// What is written goes to the end, wherever the position is.
    pub const APPEND: Self = Self(0x04);
    /// It is made if it is not there.
    pub const CREATE: Self = Self(0x08);
    /// It is cut to nothing.
    pub const TRUNCATE: Self = Self(0x10);
    /// It must not be there; with [`CREATE`](Self::CREATE).
    pub const EXCLUSIVE: Self = Self(0x20);

    pub(super) const fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for OpenFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
