//! X authority files: which cookie opens which display (`Xau(3)`).
//!
//! Reads and writes the format; entries of a 16-bit family and four strings with 16-bit lengths, all big-endian.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;

use super::cookie::{Cookie, MIT_MAGIC_COOKIE};
use super::error::X11Error;

const INTERNET: u16 = 0;
const INTERNET6: u16 = 6;
const LOCAL: u16 = 256;
const WILD: u16 = 65_535;

/// No authority file is longer; a thousand entries are some 60 KiB.
const MAX_FILE: u64 = 1 << 20;

/// The end that a display's cookie is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// This machine, by its host name.
    Local(Vec<u8>),
    Ip(IpAddr),
}

impl Address {
    /// What stands in a file for a connection to there: one to this machine's own address is a local one.
    pub(super) fn of(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        if ip.is_loopback() { Self::Local(host_name()) } else { Self::Ip(ip) }
    }

    fn is(&self, family: u16, address: &[u8]) -> bool {
        match self {
            _ if family == WILD => true,
            Self::Local(name) => family == LOCAL && address == name,
            Self::Ip(IpAddr::V4(ip)) => family == INTERNET && address == ip.octets(),
            Self::Ip(IpAddr::V6(ip)) => family == INTERNET6 && address == ip.octets(),
        }
    }
}

/// This machine's name.
pub(super) fn host_name() -> Vec<u8> {
    #[cfg(unix)]
    return rustix::system::uname().nodename().to_bytes().to_vec();
    #[cfg(not(unix))]
    std::env::var("COMPUTERNAME").unwrap_or_default().into_bytes()
}

/// `$XAUTHORITY`, or `~/.Xauthority`.
pub(super) fn usual_file() -> PathBuf {
    match std::env::var_os("XAUTHORITY").filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None => std::env::home_dir().unwrap_or_default().join(".Xauthority"),
    }
}

/// The first cookie in the file for a display; `None` if there is none, or no file.
pub(super) async fn find(
    path: &Path,
    addresses: &[Address],
    number: u16,
) -> Result<Option<Cookie>, X11Error> {
    let found = async {
        let mut file = match open(path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?.take(MAX_FILE + 1),
        };
        let mut bytes = Vec::new();
        if file.read_to_end(&mut bytes).await? as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "is longer than 1 MiB"));
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let entry = Entry::read(&mut rest).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "ends in the middle of an entry")
            })?;
            if addresses.iter().any(|address| entry.opens(address, number)) {
                return Ok(Some(Cookie::new(entry.data)));
            }
        }
        Ok(None)
    };
    found.await.map_err(|error| X11Error::Authority { path: path.to_owned(), error: Arc::new(error) })
}

/// Opens a regular file. A FIFO or a device could keep its reader waiting for ever: it is opened without waiting, and then
/// refused.
async fn open(path: &Path) -> io::Result<tokio::fs::File> {
    let mut options = tokio::fs::File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    let file = options.open(path).await?;
    if !file.metadata().await?.is_file() {
        let problem = "is no regular file; name one, by the option or by XAUTHORITY";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    Ok(file)
}

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    family: u16,
    address: &'a [u8],
    number: &'a [u8],
    name: &'a [u8],
    data: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let family = take_u16(rest)?;
        let mut string = || {
            let len = usize::from(take_u16(rest)?);
            let (string, after) = rest.split_at_checked(len)?;
            *rest = after;
            Some(string)
        };
        Some(Self { family, address: string()?, number: string()?, name: string()?, data: string()? })
    }

    /// Whether it has the cookie for that display. An entry without a number is for all of a host's displays.
    fn opens(&self, address: &Address, number: u16) -> bool {
        address.is(self.family, self.address)
            && (self.number.is_empty() || self.number == number.to_string().as_bytes())
            && self.name == MIT_MAGIC_COOKIE.as_bytes()
    }

    /// A whole file with one cookie, for a display of this machine: under its name, and for programs that look for
    /// another one under no name.
    #[cfg(feature = "server")]
    pub(crate) fn file(number: u16, cookie: &Cookie) -> Vec<u8> {
        let (name, number) = (host_name(), number.to_string());
        let mut file = Vec::new();
        for (family, address) in [(LOCAL, name.as_slice()), (WILD, &[])] {
            let data = cookie.bytes();
            Entry { family, address, number: number.as_bytes(), name: MIT_MAGIC_COOKIE.as_bytes(), data }
                .write(&mut file);
        }
        file
    }

    #[cfg(any(feature = "server", test))]
    fn write(&self, file: &mut Vec<u8>) {
        file.extend_from_slice(&self.family.to_be_bytes());
        for string in [self.address, self.number, self.name, self.data] {
            let string = string.get(..usize::from(u16::MAX)).unwrap_or(string);
            file.extend_from_slice(&u16::try_from(string.len()).unwrap_or(u16::MAX).to_be_bytes());
            file.extend_from_slice(string);
        }
    }
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    let (head, tail) = rest.split_first_chunk::<2>()?;
    *rest = tail;
    Some(u16::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = MIT_MAGIC_COOKIE.as_bytes();

    /// Family, address, number, name, data.
    type Fields<'a> = (u16, &'a [u8], &'a [u8], &'a [u8], &'a [u8]);

    fn file(entries: &[Fields<'_>]) -> tempfile::NamedTempFile {
        let mut bytes = Vec::new();
        for &(family, address, number, name, data) in entries {
            Entry { family, address, number, name, data }.write(&mut bytes);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    async fn first(file: &Path, address: Address, number: u16) -> Option<Vec<u8>> {
        find(file, &[address], number).await.unwrap().map(|cookie| cookie.bytes().to_vec())
    }

    #[tokio::test]
    async fn the_first_cookie_for_the_display_is_found() {
        let file = file(&[
            (LOCAL, b"me", b"0", b"XDM-AUTHORIZATION-1", b"xdm"),
            (LOCAL, b"me", b"1", NAME, b"one"),
            (LOCAL, b"me", b"0", NAME, b"zero"),
            (INTERNET, &[192, 0, 2, 1], b"0", NAME, b"four"),
            (LOCAL, b"you", b"", NAME, b"any"),
            (WILD, b"", b"7", NAME, b"wild"),
        ]);
        let local = |name: &[u8]| Address::Local(name.to_vec());
        let four = Address::of("::ffff:192.0.2.1".parse().unwrap());
        for (address, number, found) in [
            (local(b"me"), 0, Some(&b"zero"[..])),
            (local(b"me"), 1, Some(b"one")),
            (local(b"me"), 2, None),
            (local(b"me"), 7, Some(b"wild")),
            (local(b"you"), 2, Some(b"any")),
            (four.clone(), 0, Some(b"four")),
            (four, 1, None),
        ] {
            assert_eq!(
                first(file.path(), address.clone(), number).await.as_deref(),
                found,
                "{address:?} {number}"
            );
        }
        assert_eq!(Address::of("127.0.0.1".parse().unwrap()), Address::Local(host_name()));
        assert_eq!(first(Path::new("/nonexistent/file"), local(b"me"), 0).await, None);
    }

    #[tokio::test]
    async fn a_file_that_is_cut_off_or_endless_is_an_error() {
        let whole = file(&[(LOCAL, b"me", b"1", NAME, b"one")]);
        let bytes = std::fs::read(whole.path()).unwrap();
        for cut in 1..bytes.len() {
            std::fs::write(whole.path(), &bytes[..cut]).unwrap();
            let error = find(whole.path(), &[], 0).await.unwrap_err();
            assert!(error.to_string().contains("in the middle"), "cut at {cut}: {error}");
        }
        whole.as_file().set_len(MAX_FILE + 1).unwrap();
        let error = find(whole.path(), &[], 0).await.unwrap_err();
        assert!(error.to_string().contains("longer than 1 MiB"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_no_regular_file_is_an_error_and_nothing_waits_for_it() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [fifo.as_path(), Path::new("/dev/zero"), directory.path()] {
            // A blocking open of the FIFO would wait for a writer, and the runtime for it.
            let found = tokio::time::timeout(std::time::Duration::from_secs(10), find(path, &[], 0)).await;
            let error = found.expect("nothing is waited for").unwrap_err();
            assert!(error.to_string().contains("is no regular file"), "{error}");
        }
    }

    #[cfg(feature = "server")]
    #[tokio::test]
    async fn what_is_written_is_found_again() {
        let (cookie, path) = (Cookie::made_up(), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(path.path(), Entry::file(10, &cookie)).unwrap();
        for address in [Address::Local(host_name()), Address::Local(b"elsewhere".to_vec())] {
            assert_eq!(first(path.path(), address, 10).await.as_deref(), Some(cookie.bytes()));
        }
        assert_eq!(first(path.path(), Address::Local(host_name()), 11).await, None);
    }
}
