//! TCP: every address of a name in turn, without Nagle's algorithm.

use std::io;

use tokio::net::{TcpStream, lookup_host};

/// Connects to the first address that answers. TCP_NODELAY is set: with Nagle's algorithm every short exchange of SSH
/// waits for the peer's delayed acknowledgement, 40 ms each.
///
/// # Errors
/// The name has no address, or the last address's error.
pub(crate) async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in lookup_host((host, port)).await? {
        match TcpStream::connect(addr).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
