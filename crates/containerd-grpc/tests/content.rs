//! Blobs and ingests through the socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::HashMap;

use lighter_containerd_api::content::content_client::ContentClient;
use lighter_containerd_api::content::{self as api, WriteAction, WriteContentRequest, WriteContentResponse};
use lighter_oci::Digest;
use prost_types::FieldMask;
use support::{Server, request, request_in};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

type Client = ContentClient<Channel>;

/// A session of `Content.Write`.
struct Session {
    requests: mpsc::Sender<WriteContentRequest>,
    responses: Streaming<WriteContentResponse>,
}

impl Session {
    async fn open(
        client: &mut Client,
        namespace: &str,
        first: WriteContentRequest,
    ) -> Result<Session, Status> {
        let (requests, stream) = mpsc::channel(8);
        requests.send(first).await.unwrap();
        let responses = client
            .write(request_in(namespace, ReceiverStream::new(stream)))
            .await?
            .into_inner();
        Ok(Session { requests, responses })
    }

    async fn heard(&mut self) -> Result<WriteContentResponse, Status> {
        self.responses.message().await.map(Option::unwrap)
    }

    async fn ask(&mut self, request: WriteContentRequest) -> Result<WriteContentResponse, Status> {
        self.requests.send(request).await.unwrap();
        self.heard().await
    }
}

fn stat(name: &str) -> WriteContentRequest {
    WriteContentRequest {
        r#ref: name.to_owned(),
        ..Default::default()
    }
}

fn write(offset: usize, data: &[u8]) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Write.into(),
        offset: offset.try_into().unwrap(),
        data: data.to_vec(),
        ..Default::default()
    }
}

fn commit(offset: usize, expected: &Digest) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Commit.into(),
        offset: offset.try_into().unwrap(),
        total: offset.try_into().unwrap(),
        expected: expected.to_string(),
        labels: HashMap::from([("a".to_owned(), "b".to_owned())]),
        ..Default::default()
    }
}

/// Puts a blob into the namespace `test`.
async fn put(client: &mut Client, data: &[u8]) -> Digest {
    let digest = Digest::sha256(data);
    let mut session = Session::open(client, "test", stat(digest.as_str()))
        .await
        .unwrap();
    session.heard().await.unwrap();
    session.ask(write(0, data)).await.unwrap();
    session.ask(commit(data.len(), &digest)).await.unwrap();
    digest
}

async fn read(client: &mut Client, digest: &Digest, offset: i64, size: i64) -> Result<Vec<u8>, Status> {
    let digest = digest.to_string();
    let read = api::ReadContentRequest { digest, offset, size };
    let mut chunks = client.read(request(read)).await?.into_inner();
    let mut data = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        assert_eq!(usize::try_from(chunk.offset - offset).unwrap(), data.len());
        data.extend(chunk.data);
    }
    Ok(data)
}

#[tokio::test]
async fn what_was_written_is_read_in_whole_and_in_part() {
    let server = Server::start().await;
    let mut client = ContentClient::new(server.channel.clone());
    // More than two chunks of a read, and not whole ones.
    let data: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = Digest::sha256(&data);
    let mut session = Session::open(&mut client, "test", stat("one")).await.unwrap();
    assert_eq!(session.heard().await.unwrap().offset, 0);
    let half = data.len() / 2;
    assert_eq!(
        session.ask(write(0, &data[..half])).await.unwrap().offset,
        half as i64
    );
    let all = session.ask(write(half, &data[half..])).await.unwrap();
    assert_eq!(all.offset, data.len() as i64);
    let done = session.ask(commit(data.len(), &digest)).await.unwrap();
    assert_eq!(
        (done.offset, done.digest.as_str()),
        (data.len() as i64, digest.as_str())
    );
    // A session ends with the client's side of it.
    let Session {
        requests,
        mut responses,
    } = session;
    drop(requests);
    assert_eq!(responses.message().await.unwrap(), None);

    assert_eq!(read(&mut client, &digest, 0, 0).await.unwrap(), data);
    assert_eq!(read(&mut client, &digest, 7, 5).await.unwrap(), data[7..12]);
    let tail = read(&mut client, &digest, 2_499_990, 1000).await.unwrap();
    assert_eq!(tail, data[2_499_990..]);
    assert_eq!(
        read(&mut client, &digest, data.len() as i64, 0).await.unwrap(),
        b""
    );
    let behind = read(&mut client, &digest, data.len() as i64 + 1, 0).await;
    assert_eq!(behind.unwrap_err().code(), Code::OutOfRange);
    let absent = read(&mut client, &Digest::sha256(b"absent"), 0, 0).await;
    assert_eq!(absent.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_ingest_is_resumed_where_it_broke_off_and_can_be_begun_anew() {
    let server = Server::start().await;
    let mut client = ContentClient::new(server.channel.clone());
    let digest = Digest::sha256(b"first second");
    let mut session = Session::open(&mut client, "test", stat("broken")).await.unwrap();
    session.heard().await.unwrap();
    session.ask(write(0, b"first ")).await.unwrap();
    // While it is open it is nobody else's.
    let other = Session::open(&mut client, "test", stat("broken")).await;
    assert_eq!(other.err().unwrap().code(), Code::Unavailable);
    let locked = client
        .abort(request(api::AbortRequest {
            r#ref: "broken".into(),
        }))
        .await;
    assert_eq!(locked.unwrap_err().code(), Code::Unavailable);
    drop(session);

    let mut session = loop {
        // The server hears of the end when it hears of it.
        match Session::open(&mut client, "test", stat("broken")).await {
            Ok(session) => break session,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    };
    assert_eq!(session.heard().await.unwrap().offset, 6);
    let status = api::StatusRequest {
        r#ref: "broken".into(),
    };
    let status = client
        .status(request(status))
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert_eq!((status.r#ref.as_str(), status.offset), ("broken", 6));
    let all = client
        .list_statuses(request(api::ListStatusesRequest::default()))
        .await;
    assert_eq!(all.unwrap().into_inner().statuses.len(), 1);
    session.ask(write(6, b"second")).await.unwrap();
    session.ask(commit(12, &digest)).await.unwrap();
    assert_eq!(read(&mut client, &digest, 0, 0).await.unwrap(), b"first second");

    let mut session = Session::open(&mut client, "test", stat("anew")).await.unwrap();
    session.heard().await.unwrap();
    session.ask(write(0, b"wrong")).await.unwrap();
    // From 0 again: what was there is gone.
    assert_eq!(session.ask(write(0, b"right!")).await.unwrap().offset, 6);
    let gap = session.ask(write(10, b"x")).await.unwrap_err();
    assert_eq!(gap.code(), Code::OutOfRange, "{gap}");
}

#[tokio::test]
async fn a_commit_is_of_what_was_expected() {
    let server = Server::start().await;
    let mut client = ContentClient::new(server.channel.clone());
    for (name, offset, expected) in [("digest", 4, b"other".as_slice()), ("size", 4, b"data")] {
        let mut session = Session::open(&mut client, "test", stat(name)).await.unwrap();
        session.heard().await.unwrap();
        session.ask(write(0, b"data")).await.unwrap();
        let mut commit = commit(offset, &Digest::sha256(expected));
        if name == "size" {
            commit.total = 5;
        }
        let error = session.ask(commit).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    }
    let unnamed = Session::open(&mut client, "test", write(0, b"x")).await;
    assert_eq!(unnamed.err().unwrap().code(), Code::InvalidArgument);

    // What is there need not be written: told at the opening, and when it is told later what is expected.
    let digest = put(&mut client, b"there").await;
    let mut opening = stat("again");
    opening.expected = digest.to_string();
    let exists = Session::open(&mut client, "test", opening.clone()).await;
    assert_eq!(exists.err().unwrap().code(), Code::AlreadyExists);
    let mut session = Session::open(&mut client, "test", stat("later")).await.unwrap();
    session.heard().await.unwrap();
    session.ask(write(0, b"there")).await.unwrap();
    let exists = session.ask(commit(5, &digest)).await.unwrap_err();
    assert_eq!(exists.code(), Code::AlreadyExists, "{exists}");

    // Another namespace does not see it, and gets it without its bytes.
    let info = api::InfoRequest {
        digest: digest.to_string(),
    };
    let unseen = client.info(request_in("other", info.clone())).await;
    assert_eq!(unseen.unwrap_err().code(), Code::NotFound);
    let shared = Session::open(&mut client, "other", opening).await;
    assert_eq!(shared.err().unwrap().code(), Code::AlreadyExists);
    let info = client
        .info(request_in("other", info))
        .await
        .unwrap()
        .into_inner()
        .info
        .unwrap();
    assert_eq!((info.size, info.labels.len()), (5, 0));
}

#[tokio::test]
async fn blobs_are_listed_labelled_and_deleted() {
    let server = Server::start().await;
    let mut client = ContentClient::new(server.channel.clone());
    let (one, two) = (put(&mut client, b"one").await, put(&mut client, b"two").await);
    let info = |labels: &[(&str, &str)]| api::Info {
        digest: one.to_string(),
        labels: labels
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
        ..Default::default()
    };
    let update = |info: api::Info, fields: &[&str]| api::UpdateRequest {
        info: Some(info),
        update_mask: Some(FieldMask {
            paths: fields.iter().map(|field| field.to_string()).collect(),
        }),
    };
    let changed = client
        .update(request(update(info(&[("x", "1")]), &["labels.x"])))
        .await;
    assert_eq!(changed.unwrap().into_inner().info.unwrap().labels.len(), 2);
    let wrong = client.update(request(update(info(&[]), &["size"]))).await;
    assert_eq!(wrong.unwrap_err().code(), Code::InvalidArgument);

    let mut listed = async |filters: &[&str]| {
        let filters = filters.iter().map(|filter| filter.to_string()).collect();
        let list = client.list(request(api::ListContentRequest { filters })).await;
        let mut batches = list.unwrap().into_inner();
        let mut digests = Vec::new();
        while let Some(batch) = batches.message().await.unwrap() {
            digests.extend(batch.info.into_iter().map(|info| info.digest));
        }
        digests
    };
    assert_eq!(listed(&[]).await.len(), 2);
    assert_eq!(listed(&[r#"labels."x"==1"#]).await, [one.to_string()]);
    assert_eq!(listed(&[&format!("digest=={two}")]).await, [two.to_string()]);

    let delete = api::DeleteContentRequest {
        digest: one.to_string(),
    };
    client.delete(request(delete.clone())).await.unwrap();
    let again = client.delete(request(delete)).await;
    assert_eq!(again.unwrap_err().code(), Code::NotFound);
    let odd = client
        .info(request(api::InfoRequest {
            digest: "sha256:zz".into(),
        }))
        .await;
    assert_eq!(odd.unwrap_err().code(), Code::InvalidArgument);
}
