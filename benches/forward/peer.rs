//! The destination: a process with a source and a sink.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// The process, ended with this.
pub(crate) struct Peer {
    child: Child,
    /// Sends as many bytes as it is asked for, in 8 bytes.
    pub(crate) source: SocketAddr,
    /// Counts to the end, and says how many there were.
    pub(crate) sink: SocketAddr,
}

impl Peer {
    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap().parse().unwrap();
        let (source, sink) = (next(), next());
        Self { child, source, sink }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until standard input ends, so that it cannot outlive the bench.
pub(crate) fn serve() {
    for work in [source as fn(TcpStream) -> std::io::Result<()>, sink] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::Builder::new().stack_size(128 << 10).spawn(move || work(stream)).unwrap();
            }
        });
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn source(mut stream: TcpStream) -> std::io::Result<()> {
    let mut wanted = [0; 8];
    stream.read_exact(&mut wanted)?;
    let mut left = u64::from_be_bytes(wanted);
    static ZEROS: [u8; 256 << 10] = [0; 256 << 10];
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
        stream.write_all(&ZEROS[..now])?;
        left -= now as u64;
    }
    Ok(())
}

fn sink(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut buffer, mut count) = (vec![0; 256 << 10], 0_u64);
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            read => count += read as u64,
        }
    }
    stream.write_all(&count.to_be_bytes())
}
