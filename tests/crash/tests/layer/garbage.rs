//! Bytes that are no messages, and messages that are nonsense: the layer refuses them, and goes on.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _};
use lighter_containerd_api::any;
use lighter_containerd_api::containers::{Container, CreateContainerRequest};
use lighter_containerd_api::content::{WriteAction, WriteContentRequest};
use lighter_containerd_api::diff::ApplyRequest;
use lighter_containerd_api::images::{CreateImageRequest, Image, ListImagesRequest};
use lighter_containerd_api::leases::{AddResourceRequest, Resource};
use lighter_containerd_api::snapshots::PrepareSnapshotRequest;
use lighter_containerd_api::tasks::{ExecProcessRequest, KillRequest};
use lighter_containerd_api::transfer::TransferRequest;
use lighter_containerd_api::transfer_types::{ImageStore, OciRegistry};
use lighter_containerd_api::types::Descriptor;
use lighter_containerd_api::version::version_client::VersionClient;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Status};

use crate::daemon::{Daemon, SOCKET, request};
use crate::kills::must;
use crate::operations::{self, digest};

/// How long each kind of garbage is thrown.
const BUDGET: Duration = Duration::from_secs(4);
/// What the layer may use afterwards, in KiB: a build with debug assertions is larger than the one that is shipped.
const MOST_MEMORY: u64 = 96 << 10;

/// Calls of every service. Not Diff.Diff: what it would read is whatever directory a mutation happens to name.
const METHODS: [&str; 36] = [
    "/containerd.services.containers.v1.Containers/Create",
    "/containerd.services.containers.v1.Containers/List",
    "/containerd.services.containers.v1.Containers/Update",
    "/containerd.services.content.v1.Content/Abort",
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/List",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Update",
    "/containerd.services.content.v1.Content/Write",
    "/containerd.services.diff.v1.Diff/Apply",
    "/containerd.services.events.v1.Events/Forward",
    "/containerd.services.events.v1.Events/Publish",
    "/containerd.services.events.v1.Events/Subscribe",
    "/containerd.services.images.v1.Images/Create",
    "/containerd.services.images.v1.Images/List",
    "/containerd.services.images.v1.Images/Update",
    "/containerd.services.introspection.v1.Introspection/Plugins",
    "/containerd.services.leases.v1.Leases/AddResource",
    "/containerd.services.leases.v1.Leases/Create",
    "/containerd.services.leases.v1.Leases/ListResources",
    "/containerd.services.namespaces.v1.Namespaces/Create",
    "/containerd.services.namespaces.v1.Namespaces/Update",
    "/containerd.services.sandbox.v1.Controller/Status",
    "/containerd.services.sandbox.v1.Store/Create",
    "/containerd.services.snapshots.v1.Snapshots/Commit",
    "/containerd.services.snapshots.v1.Snapshots/List",
    "/containerd.services.snapshots.v1.Snapshots/Prepare",
    "/containerd.services.snapshots.v1.Snapshots/Update",
    "/containerd.services.streaming.v1.Streaming/Stream",
    "/containerd.services.tasks.v1.Tasks/Create",
    "/containerd.services.tasks.v1.Tasks/Exec",
    "/containerd.services.tasks.v1.Tasks/Kill",
    "/containerd.services.tasks.v1.Tasks/Metrics",
    "/containerd.services.tasks.v1.Tasks/Update",
    "/containerd.services.transfer.v1.Transfer/Transfer",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// Good messages, to be made bad.
fn seeds() -> Vec<Vec<u8>> {
    let descriptor = || Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: digest(b"no blob"),
        size: 7,
        ..Default::default()
    };
    let labels = [("containerd.io/gc.ref.content.0".to_owned(), digest(b"no blob"))];
    vec![
        any::pack(&CreateContainerRequest {
            container: Some(Container {
                id: "container".to_owned(),
                labels: labels.clone().into(),
                snapshotter: "overlayfs".to_owned(),
                snapshot_key: "container".to_owned(),
                spec: Some(any::json(any::SPEC, b"{\"ociVersion\":\"1.2.0\"}".to_vec())),
                ..Default::default()
            }),
        }),
        any::pack(&WriteContentRequest {
            action: WriteAction::Commit.into(),
            r#ref: "a ref".to_owned(),
            total: 7,
            expected: digest(b"garbage"),
            data: b"garbage".to_vec(),
            labels: labels.clone().into(),
            ..Default::default()
        }),
        any::pack(&ApplyRequest {
            diff: Some(descriptor()),
            ..Default::default()
        }),
        any::pack(&CreateImageRequest {
            image: Some(Image {
                name: "docker.io/library/garbage:latest".to_owned(),
                target: Some(descriptor()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        any::pack(&ListImagesRequest {
            filters: vec!["name~=\"^docker\",labels.\"a.b\"==c".to_owned()],
        }),
        any::pack(&AddResourceRequest {
            id: "lease".to_owned(),
            resource: Some(Resource {
                id: digest(b"no blob"),
                r#type: "content".to_owned(),
            }),
        }),
        any::pack(&PrepareSnapshotRequest {
            snapshotter: "overlayfs".to_owned(),
            key: "snapshot".to_owned(),
            labels: labels.into(),
            ..Default::default()
        }),
        any::pack(&ExecProcessRequest {
            container_id: "nobody".to_owned(),
            exec_id: "exec".to_owned(),
            spec: Some(any::json(any::PROCESS, b"{\"args\":[\"true\"]}".to_vec())),
            ..Default::default()
        }),
        any::pack(&KillRequest {
            container_id: "nobody".to_owned(),
            signal: 9,
            ..Default::default()
        }),
        any::pack(&TransferRequest {
            source: Some(any::pack(&OciRegistry {
                reference: "127.0.0.1:1/library/garbage:latest".to_owned(),
                resolver: None,
            })),
            destination: Some(any::pack(&ImageStore {
                name: "127.0.0.1:1/library/garbage:latest".to_owned(),
                ..Default::default()
            })),
            options: None,
        }),
    ]
    .into_iter()
    .map(|message| message.value)
    .collect()
}

/// One to four changes.
fn mutated(seed: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=bytes.len().saturating_sub(1));
        match random.random_range(0..6) {
            _ if bytes.is_empty() => bytes.push(random.random()),
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            // A length, or a number, as large as can be.
            3 => drop(bytes.splice(
                at..=at,
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            )),
            4 => drop(bytes.splice(at..at, std::iter::repeat_n(0x0a, 200))),
            _ => {
                let part = bytes[at..].to_vec();
                bytes.extend(part);
            }
        }
    }
    bytes
}

#[test]
fn nonsense_at_any_call_is_refused_and_the_layer_goes_on() {
    let mut daemon = Daemon::start();
    let mut random = StdRng::seed_from_u64(lighter_crash::seed());
    let (seeds, begun, pid) = (seeds(), Instant::now(), daemon.pid());
    let (mut sent, mut refused) = (0, 0);
    while begun.elapsed() < BUDGET {
        let method = METHODS[random.random_range(0..METHODS.len())];
        let message = mutated(&seeds[random.random_range(0..seeds.len())], &mut random);
        let answer = daemon.runtime.block_on(call(&daemon, method, message));
        // A handler that panics, or a layer that is gone.
        if let Err(error) = &answer {
            let gone = error.code() == Code::Unavailable && error.message().contains("transport");
            assert!(!gone, "{method}: {error}");
        }
        sent += 1;
        refused += u32::from(answer.is_err());
    }
    println!("{sent} messages, {refused} refused");
    assert!(refused > 0);
    is_well(&mut daemon, pid);
}

#[test]
fn bytes_that_are_no_http_are_refused_and_the_layer_goes_on() {
    let mut daemon = Daemon::start();
    let mut random = StdRng::seed_from_u64(lighter_crash::seed());
    let (begun, pid) = (Instant::now(), daemon.pid());
    let own = daemon.host.path(SOCKET);
    let shims = daemon.host.path(&format!("{SOCKET}.ttrpc"));
    let mut sent = 0;
    while begun.elapsed() < BUDGET {
        for (socket, seed) in [(&own, conversation()), (&shims, ttrpc())] {
            let bytes = mutated(&seed, &mut random);
            let mut stream = UnixStream::connect(socket).expect("the layer listens");
            // It may hang up in the middle.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let limit = stream.set_read_timeout(Some(Duration::from_millis(50)));
            limit.expect("a limit");
            let _ = stream.read(&mut [0; 4096]);
            sent += 1;
        }
    }
    println!("{sent} connections");
    is_well(&mut daemon, pid);
}

/// It is the one that it was, small, has seen no panic, and works.
fn is_well(daemon: &mut Daemon, pid: u32) {
    assert!(daemon.is_alive(), "the layer died");
    assert_eq!(daemon.pid(), pid);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
    let memory: u64 = memory.expect("its memory").trim().parse().expect("a number");
    println!("{memory} KiB");
    assert!(memory < MOST_MEMORY, "{memory} KiB");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    let version = daemon
        .runtime
        .block_on(VersionClient::new(daemon.channel.clone()).version(()));
    version.expect("it answers");
    must(
        daemon,
        operations::pull(&daemon.channel, true),
        "a pull afterwards",
    );
}

async fn call(daemon: &Daemon, method: &'static str, message: Vec<u8>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(daemon.channel.clone());
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(format!("transport: {error}")))?;
    let stream = request(tokio_stream::once(message));
    let answer = async {
        let answers = client.streaming(stream, PathAndQuery::from_static(method), Raw);
        let mut answers = answers.await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    };
    // Some wait for what never comes.
    tokio::time::timeout(Duration::from_millis(100), answer)
        .await
        .unwrap_or(Ok(()))
}

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).to_vec()))
    }
}

/// A call of Version, as HTTP/2 has it. Source: RFC 9113, 3.4, 4.1, 6.1, 6.2; RFC 7541, 6.2.2.
fn conversation() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("a short frame");
        bytes.extend([0, 0, length, kind, flags, 0, 0, 0, stream]);
        bytes.extend(payload);
    };
    frame(4, 0, 0, &[]);
    let mut headers = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/containerd.services.version.v1.Version/Version"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        headers.push(0);
        for text in [name, value] {
            headers.push(u8::try_from(text.len()).expect("a short text"));
            headers.extend(text.as_bytes());
        }
    }
    frame(1, 4, 1, &headers);
    frame(0, 1, 1, &[0, 0, 0, 0, 0]);
    bytes
}

/// An event of a shim. Source: containerd's ttrpc, PROTOCOL.md: length, stream, kind, flags, then a request.
fn ttrpc() -> Vec<u8> {
    let mut payload = vec![0x0a, 34];
    payload.extend(b"containerd.services.events.ttrpc.v1.Events".iter().take(34));
    payload.extend([0x12, 7]);
    payload.extend(b"Forward");
    let length = u8::try_from(payload.len()).expect("a short frame");
    let mut bytes = vec![0, 0, 0, length, 0, 0, 0, 1, 1, 0];
    bytes.extend(payload);
    bytes
}
