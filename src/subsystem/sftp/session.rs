//! One client's session: its open files, and which request does what.
//!
//! Everything here blocks, and runs in the pool for it. Requests come one after another, and each has one answer.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use russh_sftp::protocol::{Attrs, Data, File, Handle, Name, Packet, StatusCode, Version};

use super::extensions::EXTENSIONS;
use super::failure::{Failure, Malformed, Outcome};
use super::open_files::OpenFiles;
use super::place::{Names, Place};
use super::settings::Settings;
use super::tally::count;

/// Packet types (draft section 3). What is above and not here is unknown, and answered so.
const INIT: u8 = 1;
const VERSION: u8 = 2;
const FIRST_REQUEST: u8 = 3;
const LAST_REQUEST: u8 = 20;
const EXTENDED: u8 = 200;
const FIRST_ANSWER: u8 = 101;
const LAST_ANSWER: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// The version of the protocol spoken here.
const SPOKEN: u32 = 3;

pub(super) struct Session {
    pub(super) root: Dir,
    pub(super) names: Names,
    pub(super) settings: Arc<Settings>,
    pub(super) files: OpenFiles,
    greeted: bool,
}

impl Session {
    /// Opens the root.
    pub(super) fn open(settings: Arc<Settings>) -> io::Result<Self> {
        Ok(Self {
            root: Dir::open_ambient_dir(&settings.root, ambient_authority())?,
            names: Names::new(&settings.start, settings.max_path, Arc::clone(&settings.tally)),
            files: OpenFiles::new(settings.max_handles),
            settings,
            greeted: false,
        })
    }

    /// Does what a packet asks for, and says what came of it. Both without the length field here, with it there.
    pub(super) fn answer(&mut self, mut packet: Bytes) -> Result<Bytes, Malformed> {
        let kind = packet.first().copied().unwrap_or_default();
        let unreadable = |error: &dyn ToString| Malformed::Unreadable { kind, problem: error.to_string() };
        match kind {
            INIT if self.greeted => return Err(Malformed::SecondInit),
            _ if kind != INIT && !self.greeted => return Err(Malformed::BeforeInit { kind }),
            VERSION | FIRST_ANSWER..=LAST_ANSWER | EXTENDED_REPLY => {
                return Err(Malformed::FromServers { kind });
            }
            INIT | FIRST_REQUEST..=LAST_REQUEST | EXTENDED => {}
            _ => {
                let id = packet.get(1..5).and_then(|id| id.try_into().ok()).map_or(0, u32::from_be_bytes);
                let answer = Packet::error(id, StatusCode::OpUnsupported);
                return Bytes::try_from(answer).map_err(|error| unreadable(&error));
            }
        }
        let request = Packet::try_from(&mut packet).map_err(|error| unreadable(&error))?;
        let id = request.get_request_id();
        let answer = self.serve(id, request)?.unwrap_or_else(|failure| failure.into_packet(id));
        Bytes::try_from(answer).map_err(|error| unreadable(&error))
    }

    fn serve(&mut self, id: u32, request: Packet) -> Result<Outcome<Packet>, Malformed> {
        Ok(match request {
            Packet::Init(init) => return self.greet(init.version).map(Ok),
            Packet::Open(ask) => self.open_file(&ask.filename, ask.pflags, &ask.attrs).map(handle(id)),
            Packet::Close(ask) => self.files.close(&ask.handle).map(done(id)),
            Packet::Read(ask) => self.read(&ask.handle, ask.offset, ask.len).map(data(id)),
            Packet::Write(ask) => self.write(&ask.handle, ask.offset, &ask.data).map(done(id)),
            Packet::Lstat(ask) => self.lstat(&ask.path).map(attrs(id)),
            Packet::Stat(ask) => self.stat(&ask.path).map(attrs(id)),
            Packet::Fstat(ask) => self.fstat(&ask.handle).map(attrs(id)),
            Packet::SetStat(ask) => self.set_stat(&ask.path, &ask.attrs).map(done(id)),
            Packet::FSetStat(ask) => self.set_fstat(&ask.handle, &ask.attrs).map(done(id)),
            Packet::OpenDir(ask) => self.open_directory(&ask.path).map(handle(id)),
            Packet::ReadDir(ask) => self.read_directory(&ask.handle).map(names(id)),
            Packet::Remove(ask) => self.remove(&ask.filename).map(done(id)),
            Packet::MkDir(ask) => self.make_directory(&ask.path, &ask.attrs).map(done(id)),
            Packet::RmDir(ask) => self.remove_directory(&ask.path).map(done(id)),
            Packet::RealPath(ask) => self.real_path(&ask.path).map(name(id)),
            Packet::Rename(ask) => self.rename(&ask.oldpath, &ask.newpath).map(done(id)),
            Packet::ReadLink(ask) => self.read_link(&ask.path).map(name(id)),
            // The draft has the link first, OpenSSH and with it everybody else the target.
            Packet::Symlink(ask) => self.make_link(&ask.linkpath, &ask.targetpath).map(done(id)),
            Packet::Extended(ask) => return self.extended(id, &ask.request, ask.data.into()),
            _ => Err(Failure::new(StatusCode::OpUnsupported, "No request")),
        })
    }

    fn greet(&mut self, version: u32) -> Result<Packet, Malformed> {
        if version < SPOKEN {
            return Err(Malformed::TooOld { version });
        }
        self.greeted = true;
        let extensions: HashMap<_, _> =
            EXTENSIONS.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
        Ok(Packet::Version(Version { version: SPOKEN, extensions }))
    }

    /// What a name means.
    pub(super) fn place(&self, name: &str) -> Outcome<Place> {
        self.names.place(name)
    }

    /// Whether one more file or directory may be open. Asked before anything is opened or made.
    pub(super) fn check_room(&self) -> Outcome<()> {
        if self.files.is_full() {
            count(&self.settings.tally.refused_handles);
            return Err(Failure::failed(&format!("More than {} open files", self.settings.max_handles)));
        }
        Ok(())
    }

    /// For requests that change something: whether this session may.
    pub(super) fn may_change(&self) -> Outcome<()> {
        if self.settings.read_only {
            count(&self.settings.tally.refused_changes);
            return Err(Failure::denied("Nothing can be changed here"));
        }
        Ok(())
    }
}

fn handle(id: u32) -> impl Fn(String) -> Packet {
    move |handle| Packet::Handle(Handle { id, handle })
}

pub(super) fn done(id: u32) -> impl Fn(()) -> Packet {
    move |()| Packet::status(id, StatusCode::Ok, "Success", "")
}

fn data(id: u32) -> impl Fn(Vec<u8>) -> Packet {
    move |data| Packet::Data(Data { id, data })
}

fn attrs(id: u32) -> impl Fn(russh_sftp::protocol::FileAttributes) -> Packet {
    move |attrs| Packet::Attrs(Attrs { id, attrs })
}

fn names(id: u32) -> impl Fn(Vec<File>) -> Packet {
    move |files| Packet::Name(Name { id, files })
}

fn name(id: u32) -> impl Fn(String) -> Packet {
    move |name| {
        let file = File { longname: name.clone(), filename: name, attrs: Default::default() };
        Packet::Name(Name { id, files: vec![file] })
    }
}
