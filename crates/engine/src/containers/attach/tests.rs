//! Attaching, against a socket that does what a shim's does.

use std::path::PathBuf;

use lighter_shim_api::attach as wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::*;

/// A shim's side of the attach socket.
struct Shim {
    dir: PathBuf,
    listener: UnixListener,
}

impl Shim {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("engine-attach-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let listener = UnixListener::bind(dir.join("socket")).unwrap();
        Self { dir, listener }
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    async fn client(&self) -> UnixStream {
        let (mut client, _) = self.listener.accept().await.unwrap();
        say(&mut client, wire::READY, b"").await;
        client
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

async fn say(client: &mut UnixStream, kind: u8, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap();
    client.write_all(&wire::header(kind, length)).await.unwrap();
    client.write_all(bytes).await.unwrap();
}

async fn hear(client: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; wire::HEADER_LEN];
    client.read_exact(&mut head).await.unwrap();
    let (kind, length) = wire::parse(&head);
    let mut bytes = vec![0; length as usize];
    client.read_exact(&mut bytes).await.unwrap();
    (kind, bytes)
}

fn wish() -> Wish {
    Wish {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
        keys: None,
        close: true,
    }
}

fn wait(hub: &Hub, wish: Wish) -> Attached {
    match hub.meet(wish) {
        Met::Waiting(attached) => attached,
        Met::Socket(..) => panic!("nothing runs"),
    }
}

async fn all(output: Output) -> Vec<(StreamKind, Vec<u8>)> {
    output
        .map(|frame| (frame.stream, frame.bytes.to_vec()))
        .collect()
        .await
}

#[tokio::test]
async fn who_waits_is_connected_before_the_process_starts_and_misses_nothing() {
    let (shim, hub) = (Shim::new("waits"), Hub::default());
    let both = wait(&hub, wish());
    let one = wait(
        &hub,
        Wish {
            stderr: false,
            ..wish()
        },
    );
    let socket = shim.socket();
    let ((), mut clients) = tokio::join!(hub.open(&socket), async {
        vec![shim.client().await, shim.client().await]
    });
    for client in &mut clients {
        say(client, wire::STDOUT, b"out").await;
        say(client, wire::STDERR, b"err").await;
        say(client, wire::END, b"").await;
    }
    let out = (StreamKind::Stdout, b"out".to_vec());
    assert_eq!(
        all(both.output).await,
        [out.clone(), (StreamKind::Stderr, b"err".to_vec())]
    );
    assert_eq!(all(one.output).await, [out]);
    assert!(
        matches!(hub.meet(wish()), Met::Socket(..)),
        "who comes later connects by themselves"
    );
    hub.close();
    assert!(matches!(hub.meet(wish()), Met::Waiting(_)));
}

#[tokio::test]
async fn a_start_that_fails_ends_the_wait() {
    let hub = Hub::default();
    let mut attached = wait(&hub, wish());
    hub.dismiss();
    let written = attached
        .input
        .as_mut()
        .unwrap()
        .write(Bytes::from_static(b"x"))
        .await;
    assert_eq!(written, Err(InputClosed));
    assert!(all(attached.output).await.is_empty());
}

#[tokio::test]
async fn input_arrives_in_frames_and_its_end_is_told() {
    let shim = Shim::new("input");
    let socket = shim.socket();
    let (attached, mut client) = tokio::join!(connect(&socket, wish()), shim.client());
    let mut input = attached.unwrap().input.unwrap();
    input.write(Bytes::from_static(b"hello")).await.unwrap();
    input.close().await;
    assert_eq!(hear(&mut client).await, (wire::STDIN, b"hello".to_vec()));
    assert_eq!(hear(&mut client).await, (wire::CLOSE_STDIN, Vec::new()));
}

#[tokio::test]
async fn the_output_goes_on_when_the_input_is_dropped_and_ends_with_the_shim() {
    let shim = Shim::new("dropped");
    let socket = shim.socket();
    let (attached, mut client) = tokio::join!(connect(&socket, wish()), shim.client());
    let Attached {
        mut output, input, ..
    } = attached.unwrap();
    drop(input);
    say(&mut client, wire::STDOUT, b"more").await;
    assert_eq!(output.next().await.unwrap().bytes, b"more"[..]);
    // Killed within a frame.
    client.write_all(&wire::header(wire::STDOUT, 9)).await.unwrap();
    drop(client);
    assert_eq!(output.next().await, None);
}

#[tokio::test]
async fn the_keys_detach_and_are_not_passed_on() {
    let shim = Shim::new("keys");
    let (socket, keys) = (shim.socket(), Keys::parse("").ok());
    let terminal = Wish {
        keys,
        tty: true,
        close: false,
        ..wish()
    };
    let (attached, mut client) = tokio::join!(connect(&socket, terminal), shim.client());
    let Attached { output, input, .. } = attached.unwrap();
    let mut input = input.unwrap();
    assert_eq!(
        input.write(Bytes::from_static(b"ls\x10\x11")).await,
        Err(InputClosed)
    );
    assert_eq!(hear(&mut client).await, (wire::STDIN, b"ls".to_vec()));
    assert!(all(output).await.is_empty());
}

#[tokio::test]
async fn a_process_that_has_just_ended_has_nothing_to_show() {
    let shim = Shim::new("ended");
    let socket = shim.dir.join("gone");
    assert!(
        all(connect(&socket, wish()).await.unwrap().output)
            .await
            .is_empty()
    );
}
