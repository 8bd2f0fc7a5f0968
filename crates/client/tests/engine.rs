//! The client against a scripted engine on a real socket: what is sent, and what is made of the answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;

use lighter_client::{AttachQuery, Client, Error, Host, Query};

/// An engine that gives each connection's requests these answers, one after another, then closes it. It ends with all
/// connections' request lines.
fn engine(path: &Path, connections: Vec<Vec<&'static str>>) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(path).expect("a socket");
    std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answers in connections {
            let (stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream);
            for answer in answers {
                asked.push(request(&mut reader));
                reader
                    .get_mut()
                    .write_all(answer.as_bytes())
                    .expect("an answer sent");
            }
        }
        asked
    })
}

/// Reads one request; its first line without the protocol.
fn request(reader: &mut BufReader<UnixStream>) -> String {
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).expect("a line");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).expect("a body");
    first.trim_end_matches(" HTTP/1.1\r\n").to_owned()
}

const PING: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: 0\r\n\r\n";

fn client(path: &Path) -> Client {
    Client::new(Host::Unix(path.to_owned()), None, "test")
}

#[test]
fn the_older_version_is_spoken_on_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let engine = engine(
        &path,
        vec![vec![
            PING,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
        ]],
    );
    let client = client(&path);
    assert!(
        client
            .container_list(true, None, false, "{\"a\":{}}")
            .unwrap()
            .is_empty()
    );
    assert_eq!(client.api_version(), "1.44");
    assert_eq!(
        engine.join().unwrap(),
        [
            "HEAD /_ping",
            "GET /v1.44/containers/json?all=1&filters=%7B%22a%22%3A%7B%7D%7D"
        ]
    );
}

#[test]
fn a_connection_that_the_engine_closed_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let engine = engine(&path, vec![vec![PING], vec!["HTTP/1.1 204 No Content\r\n\r\n"]]);
    client(&path).container_start("name", "").unwrap();
    assert_eq!(engine.join().unwrap()[1], "POST /v1.44/containers/name/start");
}

#[test]
fn a_refusal_is_the_engines_word() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let answer = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n{\"message\":\"No such container: xyz\"}";
    let engine = engine(&path, vec![vec![PING, answer]]);
    let error = client(&path).container_inspect("xyz").unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(
        error.to_string(),
        "Error response from daemon: No such container: xyz"
    );
    engine.join().unwrap();
}

#[test]
fn nobody_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let error = client(&path).get("/info", &Query::new()).unwrap_err();
    assert!(matches!(error, Error::NotRunning(_)));
    assert_eq!(
        error.to_string(),
        format!(
            "Cannot connect to the Docker daemon at unix://{}. Is the docker daemon running?",
            path.display()
        )
    );
}

#[test]
fn a_stream_both_ways_keeps_what_came_with_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let upgraded = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly";
    let engine = engine(&path, vec![vec![PING, upgraded]]);
    let what = AttachQuery {
        stdin: true,
        stdout: true,
        ..AttachQuery::default()
    };
    let mut stream = client(&path).container_attach("name", &what).unwrap();
    let mut text = String::new();
    stream.output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "early");
    assert_eq!(
        engine.join().unwrap()[1],
        "POST /v1.44/containers/name/attach?stream=1&stdin=1&stdout=1"
    );
}
