//! The session, and its operations on names.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::attributes::Attributes;
use super::error::{SftpError, SftpErrorKind};
use super::file::RemoteFile;
use super::handle::Handle;
use super::line::{Hello, Line};
use super::listing::{DirEntry, ReadDir};
use super::open::OpenFlags;
use super::options::SftpOptions;
use super::reply::Reply;
use super::table::Answer;
use super::wire::{Fields, MOST_PACKET, Request, WRITE_OVERHEAD, code};
use crate::ChannelHandle;
use crate::session::{ChannelStream, Command};
use crate::target::Target;

pub(super) const FSYNC: &str = "fsync@openssh.com";
const POSIX_RENAME: &str = "posix-rename@openssh.com";
const HARDLINK: &str = "hardlink@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";
const LSETSTAT: &str = "lsetstat@openssh.com";
const LIMITS: &str = "limits@openssh.com";

/// What every server must take in one request.
const SURE: usize = 32 << 10;

/// Files on a server: a session of the SSH file transfer protocol, version 3. See [`sftp`](crate::sftp).
///
/// Cheap to clone; any number of tasks may use it at a time, and their requests are on the way together. When the last
/// clone, file and listing is dropped, eof is sent and the channel closed.
///
/// Names are bytes, as in the protocol; what is relative is so to the user's directory on the server.
///
/// # Cancel safety
/// If the future of any operation is dropped, its answer is swallowed when it comes, and a file that it was to open is
/// closed. Whether the server has done what was asked is not known.
#[derive(Clone)]
pub struct SftpClient {
    pub(super) line: Arc<Line>,
    facts: Arc<Facts>,
}

#[derive(Debug)]
struct Facts {
    extensions: Hello,
    reach: Reach,
    most_entries: usize,
}

/// How much at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Bytes of one read request.
    pub(super) read: usize,
    /// Bytes of one write request.
    pub(super) write: usize,
    pub(super) read_ahead: usize,
    pub(super) write_behind: usize,
    pub(super) fsync: bool,
}

/// How many requests of one file are on the way at a time, at most, however small a server wants them to be.
pub(super) const MOST_AT_ONCE: usize = 256;

/// How many requests of `each` bytes go into a budget of `bytes`: at least one.
pub(super) fn at_once(bytes: usize, each: usize) -> usize {
    (bytes / each.max(1)).clamp(1, MOST_AT_ONCE)
}

/// The space of a file system, as of `statvfs(3)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSystem {
    /// Block size for reading and writing, in bytes.
    pub block_size: u64,
    /// The size that the counts of blocks are in, in bytes.
    pub fragment_size: u64,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for who is not root.
    pub blocks_available: u64,
    /// All files there can be.
    pub files: u64,
    /// Files there can still be.
    pub files_free: u64,
    /// Files there can still be for who is not root.
    pub files_available: u64,
    /// Its number.
    pub id: u64,
    /// 1: read-only; 2: no set-uid.
    pub flags: u64,
    /// The longest name, in bytes.
    pub longest_name: u64,
}

impl FileSystem {
    /// Bytes that a user who is not root can still write.
    #[must_use]
    pub const fn available(&self) -> u64 {
        self.blocks_available.saturating_mul(self.fragment_size)
    }
}

impl fmt::Debug for SftpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpClient").field("channel", &self.line.channel().id()).finish_non_exhaustive()
    }
}

/// # The session
impl SftpClient {
    /// Opens a session, with [defaults](SftpOptions).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use ractor_ssh::{ClientConfig, sftp::SftpClient};
    ///
    /// let sftp = SftpClient::open_session(ClientConfig::new("files.example.org", "ci")).await?;
    /// for entry in sftp.list(".").await? {
    ///     println!("{}", entry.name_text());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is closed.
    ///
    /// # Errors
    /// There is no channel, no such subsystem, or no SFTP server behind it.
    pub async fn open_session(target: impl Into<Target>) -> Result<Self, SftpError> {
        Self::open_session_with(target, SftpOptions::new()).await
    }

    /// As [`open_session`](Self::open_session), with other options.
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is closed.
    ///
    /// # Errors
    /// As [`open_session`](Self::open_session); wrong options.
    pub async fn open_session_with(
        target: impl Into<Target>,
        options: SftpOptions,
    ) -> Result<Self, SftpError> {
        options.check().map_err(|error| SftpErrorKind::from(error).at(OPEN, b""))?;
        let command = Command::subsystem(target, options.subsystem.clone());
        let stream = command.stream().await;
        let stream = stream.map_err(|error| SftpErrorKind::Start(Box::new(error)).at(OPEN, b""))?;
        Self::on_stream(stream, options).await
    }

    /// Speaks to a server on a stream that is there: of a command like `sudo /usr/lib/openssh/sftp-server`, say.
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is closed.
    ///
    /// # Errors
    /// No SFTP server speaks there; wrong options.
    pub async fn on_stream(stream: ChannelStream, options: SftpOptions) -> Result<Self, SftpError> {
        Self::hello(stream, options).await.map_err(|kind| kind.at(OPEN, b""))
    }

    async fn hello(stream: ChannelStream, options: SftpOptions) -> Result<Self, SftpErrorKind> {
        options.check()?;
        let (line, extensions) = Line::start(stream, options.timeout).await?;
        let mut facts = Facts {
            reach: Reach {
                read: options.packet_data.min(SURE),
                write: options.packet_data.min(SURE),
                read_ahead: options.read_ahead,
                write_behind: options.write_behind,
                fsync: false,
            },
            extensions,
            most_entries: options.most_entries,
        };
        facts.reach.fsync = facts.has(FSYNC);
        if facts.has(LIMITS) {
            // A server that tells nothing of its limits after all is treated as one that never said it would.
            match line.call(Request::extended(LIMITS)).await?.extended() {
                Ok(mut limits) => {
                    let (packet, read, write) = (limits.u64()?, limits.u64()?, limits.u64()?);
                    facts.reach.read = within(options.packet_data, packet, read);
                    facts.reach.write = within(options.packet_data, packet, write);
                }
                Err(SftpErrorKind::Status { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(Self { line, facts: Arc::new(facts) })
    }

    /// Sends eof and waits until the server has closed the channel; after the timeout, closes it. Clones, files and
    /// listings are dead then.
    ///
    /// # Cancel safety
    /// If the future is dropped, eof was sent; the channel is closed with the last clone.
    pub async fn close(self) {
        self.line.finish().await;
    }

    /// Its channel: information, counters, abort.
    #[must_use]
    pub fn channel(&self) -> &ChannelHandle {
        self.line.channel()
    }

    /// Why the session is over, if it is.
    #[must_use]
    pub fn ended(&self) -> Option<SftpErrorKind> {
        self.line.ended()
    }

    /// How many requests are on the way or unanswered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.line.unanswered()
    }

    /// Whether the server offers an extension, by its name: `fsync@openssh.com`.
    #[must_use]
    pub fn offers(&self, extension: &str) -> bool {
        self.facts.has(extension)
    }

    pub(super) fn reach(&self) -> Reach {
        self.facts.reach
    }
}

const OPEN: &str = "open an SFTP session";

impl Facts {
    fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|(name, _)| name == extension.as_bytes())
    }
}

/// How many bytes go into one request when a server says so much of its limits; 0 means that it does not say.
fn within(wanted: usize, packet: u64, data: u64) -> usize {
    let of = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    let data = if data == 0 { SURE } else { of(data) };
    // Room for a handle of 256 bytes and the fields beside it.
    let packet = if packet == 0 { MOST_PACKET } else { of(packet) };
    wanted.min(data).min(packet.saturating_sub(WRITE_OVERHEAD + 256 + 4)).max(1)
}

/// # Files
impl SftpClient {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the server said.
    pub async fn open(&self, path: impl AsRef<[u8]>) -> Result<RemoteFile, SftpError> {
        self.open_with(path, OpenFlags::READ, Attributes::new()).await
    }

    /// Opens a file for writing; it is made, or cut to nothing.
    ///
    /// # Errors
    /// What the server said.
    pub async fn create(&self, path: impl AsRef<[u8]>) -> Result<RemoteFile, SftpError> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        self.open_with(path, flags, Attributes::new()).await
    }

    /// Opens a file as the flags say; attributes are for one that is made.
    ///
    /// # Errors
    /// What the server said.
    pub async fn open_with(
        &self,
        path: impl AsRef<[u8]>,
        flags: OpenFlags,
        attributes: Attributes,
    ) -> Result<RemoteFile, SftpError> {
        let path = path.as_ref();
        let request = Request::new(code::OPEN).string(path).u32(flags.bits()).attributes(&attributes);
        let handle = self.handle("open", path, request).await?;
        Ok(RemoteFile::new(handle, Bytes::copy_from_slice(path), self.reach()))
    }

    async fn handle(
        &self,
        operation: &'static str,
        path: &[u8],
        request: Request,
    ) -> Result<Handle, SftpError> {
        let handle = self.ask(operation, path, request, Reply::handle).await?;
        Ok(Handle::new(Arc::clone(&self.line), handle))
    }

    /// Reads a whole file of at most `most` bytes.
    ///
    /// # Errors
    /// What the server said; there is more in it.
    pub async fn read(&self, path: impl AsRef<[u8]>, most: usize) -> Result<Vec<u8>, SftpError> {
        use tokio::io::AsyncReadExt as _;

        let path = path.as_ref();
        let file = self.open(path).await?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let read = file.take(limit).read_to_end(&mut bytes).await;
        read.map_err(|error| from_io("read", path, error))?;
        if bytes.len() > most {
            let problem = format!("there are more than {most} bytes in it");
            return Err(SftpErrorKind::refused(problem).at("read", path));
        }
        Ok(bytes)
    }

    /// Writes a whole file; it is made, or replaced.
    ///
    /// # Errors
    /// What the server said.
    pub async fn write(&self, path: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Result<(), SftpError> {
        use tokio::io::AsyncWriteExt as _;

        let (path, data) = (path.as_ref(), data.as_ref());
        let mut file = self.create(path).await?;
        file.write_all(data).await.map_err(|error| from_io("write", path, error))?;
        file.close().await
    }
}

/// An error that went through `io::Error` on its way.
fn from_io(operation: &'static str, path: &[u8], error: std::io::Error) -> SftpError {
    match error.downcast::<SftpError>() {
        Ok(error) => error,
        Err(error) => SftpErrorKind::Local(Arc::new(error)).at(operation, path),
    }
}

/// # Names
impl SftpClient {
    /// The attributes of a file; of what a link leads to.
    ///
    /// # Errors
    /// What the server said.
    pub async fn stat(&self, path: impl AsRef<[u8]>) -> Result<Attributes, SftpError> {
        self.ask_of("stat", code::STAT, path.as_ref(), Reply::attributes).await
    }

    /// The attributes of a name; of a link itself.
    ///
    /// # Errors
    /// What the server said.
    pub async fn lstat(&self, path: impl AsRef<[u8]>) -> Result<Attributes, SftpError> {
        self.ask_of("lstat", code::LSTAT, path.as_ref(), Reply::attributes).await
    }

    /// Changes those attributes that are set; links are followed.
    ///
    /// # Errors
    /// What the server said.
    pub async fn set_attributes(
        &self,
        path: impl AsRef<[u8]>,
        attributes: Attributes,
    ) -> Result<(), SftpError> {
        let path = path.as_ref();
        let request = Request::new(code::SETSTAT).string(path).attributes(&attributes);
        self.ask("set attributes of", path, request, Reply::done).await
    }

    /// Changes those attributes that are set, of a link itself (`lsetstat@openssh.com`).
    ///
    /// # Errors
    /// What the server said; it does not offer this.
    pub async fn set_link_attributes(
        &self,
        path: impl AsRef<[u8]>,
        attributes: Attributes,
    ) -> Result<(), SftpError> {
        let path = path.as_ref();
        let request = self.extension("set attributes of", path, LSETSTAT)?;
        self.ask("set attributes of", path, request.string(path).attributes(&attributes), Reply::done).await
    }

    /// Gives a file another name. What has that name is replaced in one step where the server offers
    /// `posix-rename@openssh.com`; elsewhere it depends on the server.
    ///
    /// # Errors
    /// What the server said.
    pub async fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        if self.offers(POSIX_RENAME) {
            let request = Request::extended(POSIX_RENAME).string(from).string(to);
            return self.ask("rename", from, request, Reply::done).await;
        }
        self.rename_to_new(from, to).await
    }

    /// Gives a file another name, which must be free (`SSH_FXP_RENAME`).
    ///
    /// # Errors
    /// What the server said.
    pub async fn rename_to_new(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let request = Request::new(code::RENAME).string(from).string(to);
        self.ask("rename", from, request, Reply::done).await
    }

    /// Removes a file or a link; not a directory.
    ///
    /// # Errors
    /// What the server said.
    pub async fn remove(&self, path: impl AsRef<[u8]>) -> Result<(), SftpError> {
        self.ask_of("remove", code::REMOVE, path.as_ref(), Reply::done).await
    }

    /// Makes a directory, with the server's usual permissions.
    ///
    /// # Errors
    /// What the server said.
    pub async fn mkdir(&self, path: impl AsRef<[u8]>) -> Result<(), SftpError> {
        self.mkdir_with(path, Attributes::new()).await
    }

    /// Makes a directory with attributes.
    ///
    /// # Errors
    /// What the server said.
    pub async fn mkdir_with(&self, path: impl AsRef<[u8]>, attributes: Attributes) -> Result<(), SftpError> {
        let path = path.as_ref();
        let request = Request::new(code::MKDIR).string(path).attributes(&attributes);
        self.ask("make directory", path, request, Reply::done).await
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the server said.
    pub async fn rmdir(&self, path: impl AsRef<[u8]>) -> Result<(), SftpError> {
        self.ask_of("remove directory", code::RMDIR, path.as_ref(), Reply::done).await
    }

    /// Makes a symbolic link at `link` that leads to `target`.
    ///
    /// # Errors
    /// What the server said.
    pub async fn symlink(&self, target: impl AsRef<[u8]>, link: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let (target, link) = (target.as_ref(), link.as_ref());
        // The draft has it the other way round; OpenSSH does not, and all others follow OpenSSH.
        let request = Request::new(code::SYMLINK).string(target).string(link);
        self.ask("make link", link, request, Reply::done).await
    }

    /// Gives a file a second name (`hardlink@openssh.com`).
    ///
    /// # Errors
    /// What the server said; it does not offer this.
    pub async fn hardlink(&self, file: impl AsRef<[u8]>, link: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let (file, link) = (file.as_ref(), link.as_ref());
        let request = self.extension("make hard link", link, HARDLINK)?;
        self.ask("make hard link", link, request.string(file).string(link), Reply::done).await
    }

    /// Where a symbolic link leads, as it is written in it.
    ///
    /// # Errors
    /// What the server said.
    pub async fn read_link(&self, path: impl AsRef<[u8]>) -> Result<Bytes, SftpError> {
        self.ask_of("read link", code::READLINK, path.as_ref(), Reply::name).await
    }

    /// The absolute name, without `.`, `..` and links. Of `.`: the directory that relative names begin in.
    ///
    /// # Errors
    /// What the server said.
    pub async fn real_path(&self, path: impl AsRef<[u8]>) -> Result<Bytes, SftpError> {
        self.ask_of("find", code::REALPATH, path.as_ref(), Reply::name).await
    }

    /// Reads a directory, a page of names at a time.
    ///
    /// # Errors
    /// What the server said.
    pub async fn read_dir(&self, path: impl AsRef<[u8]>) -> Result<ReadDir, SftpError> {
        let path = path.as_ref();
        let request = Request::new(code::OPENDIR).string(path);
        let handle = self.handle("list", path, request).await?;
        Ok(ReadDir::new(handle, Bytes::copy_from_slice(path), self.facts.most_entries))
    }

    /// All names of a directory, in the server's order, without `.` and `..`; at most
    /// [`most_entries`](SftpOptions::most_entries).
    ///
    /// # Errors
    /// As [`ReadDir::next_entry`].
    pub async fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<DirEntry>, SftpError> {
        let mut names = self.read_dir(path).await?;
        let mut entries = Vec::new();
        while let Some(entry) = names.next_entry().await? {
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The space of the file system that a file is on (`statvfs@openssh.com`).
    ///
    /// # Errors
    /// What the server said; it does not offer this.
    pub async fn statvfs(&self, path: impl AsRef<[u8]>) -> Result<FileSystem, SftpError> {
        let path = path.as_ref();
        let request = self.extension("look at the file system of", path, STATVFS)?.string(path);
        let read = |reply: Reply| {
            let mut fields = reply.extended()?;
            let mut next = || Fields::u64(&mut fields);
            Ok(FileSystem {
                block_size: next()?,
                fragment_size: next()?,
                blocks: next()?,
                blocks_free: next()?,
                blocks_available: next()?,
                files: next()?,
                files_free: next()?,
                files_available: next()?,
                id: next()?,
                flags: next()?,
                longest_name: next()?,
            })
        };
        self.ask("look at the file system of", path, request, read).await
    }

    fn extension(
        &self,
        operation: &'static str,
        path: &[u8],
        extension: &'static str,
    ) -> Result<Request, SftpError> {
        if self.offers(extension) {
            Ok(Request::extended(extension))
        } else {
            Err(SftpErrorKind::Unsupported { extension }.at(operation, path))
        }
    }

    async fn ask_of<T>(
        &self,
        operation: &'static str,
        kind: u8,
        path: &[u8],
        read: impl FnOnce(Reply) -> Result<T, SftpErrorKind>,
    ) -> Result<T, SftpError> {
        self.ask(operation, path, Request::new(kind).string(path), read).await
    }

    async fn ask<T>(
        &self,
        operation: &'static str,
        path: &[u8],
        request: Request,
        read: impl FnOnce(Reply) -> Result<T, SftpErrorKind>,
    ) -> Result<T, SftpError> {
        let answer: Answer = self.line.call(request).await;
        answer.and_then(read).map_err(|kind| kind.at(operation, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wants_single_bytes_does_not_get_millions_of_requests() {
        assert_eq!(at_once(4 << 20, within(255 << 10, 1, 1)), MOST_AT_ONCE);
        assert_eq!(at_once(4 << 20, within(255 << 10, 0, 0)), 128);
        assert_eq!(at_once(0, SURE), 1);
    }
}
