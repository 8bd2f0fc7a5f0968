//! Requests over kept connections: how many an engine answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Asks for `path` on `connections` connections, each again as soon as it is answered, and gives answers a second.
pub fn rate(socket: &Path, path: &str, connections: usize, window: Duration) -> Result<f64> {
    let begin = Instant::now();
    let counts: Vec<Result<u64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| ask(socket, path, begin, window)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a panic"))))
            .collect()
    });
    let took = begin.elapsed().as_secs_f64();
    Ok(counts.into_iter().sum::<Result<u64>>()? as f64 / took)
}

fn ask(socket: &Path, path: &str, begin: Instant, window: Duration) -> Result<u64> {
    let mut writer = UnixStream::connect(socket).context("connecting")?;
    let mut reader = BufReader::new(writer.try_clone()?);
    let request = format!("GET {path} HTTP/1.1\r\nHost: docker\r\n\r\n");
    let mut count = 0;
    while begin.elapsed() < window {
        writer.write_all(request.as_bytes())?;
        answer(&mut reader).with_context(|| format!("GET {path}"))?;
        count += 1;
    }
    Ok(count)
}

/// Waits until `path` is answered on a socket that may not be there yet.
pub fn first_answer(socket: &Path, path: &str, limit: Duration) -> Result<()> {
    let begin = Instant::now();
    loop {
        let asked = UnixStream::connect(socket)
            .map_err(anyhow::Error::from)
            .and_then(|mut stream| {
                write!(stream, "GET {path} HTTP/1.1\r\nHost: docker\r\n\r\n")?;
                answer(&mut BufReader::new(stream))
            });
        match asked {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > limit => {
                return Err(error.context(format!("no answer to {path}")));
            }
            Err(_) => std::thread::sleep(Duration::from_micros(500)),
        }
    }
}

/// Reads one answer to its end (RFC 9112: by length, or in chunks); it must be 200.
fn answer(reader: &mut BufReader<UnixStream>) -> Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).unwrap_or("nothing").to_owned();
    let (mut length, mut chunked) = (0, false);
    loop {
        line.clear();
        ensure!(
            reader.read_line(&mut line)? > 0,
            "the connection ended within a head"
        );
        let head = line.trim_end().to_ascii_lowercase();
        match head.split_once(':') {
            _ if head.is_empty() => break,
            Some(("content-length", value)) => length = value.trim().parse()?,
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            _ => {}
        }
    }
    if chunked {
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).context("a chunk's size")?;
            skip(reader, size + 2)?;
            if size == 0 {
                break;
            }
        }
    } else {
        skip(reader, length)?;
    }
    ensure!(status == "200", "answered with {status}");
    Ok(())
}

fn skip(reader: &mut BufReader<UnixStream>, length: u64) -> Result<()> {
    let copied = std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    ensure!(copied == length, "the connection ended within a body");
    Ok(())
}
