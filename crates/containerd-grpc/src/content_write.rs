//! One session of `Content.Write`: a client appends to an ingest, asks how far it is, and makes it a blob.
//!
//! Source of the protocol: the comments of containerd's `content.proto`, and what its service answers.

use std::sync::Arc;

use futures_util::stream::{self, Stream};
use lighter_containerd::time::to_wire;
use lighter_containerd_api::content::{WriteAction, WriteContentRequest, WriteContentResponse};
use lighter_content::{ContentStore, Error as ContentError, Writer, WriterOptions};
use lighter_oci::{Algorithm, Digest, Hasher};
use tonic::{Status, Streaming};

use crate::convert::labels;
use crate::descriptor::{bytes, digest_if_any};
use crate::error::{Result, status};

pub(crate) struct Session {
    store: Arc<dyn ContentStore>,
    requests: Streaming<WriteContentRequest>,
    /// The first, not yet answered.
    first: Option<WriteContentRequest>,
    writer: Kept,
    name: String,
    /// Bytes there will be; 0: not known.
    total: u64,
    expected: Option<Digest>,
    /// Of what was written so far, for a client that does not know what it will be: when it is there already, that is all that it hears of it.
    running: Option<Hasher>,
    committed: bool,
}

/// A writer whose data reaches the file when the session ends, however it does: the next one goes on from what this one was told.
struct Kept(Option<Box<dyn Writer>>);

impl Kept {
    async fn end(&mut self) {
        if let Some(writer) = self.0.take() {
            end(writer).await;
        }
    }
}

async fn end(mut writer: Box<dyn Writer>) {
    let offset = writer.status().offset;
    // To where it is: what was gathered is written. One that is committed refuses, and a failure shows in the next offset.
    let _ = writer.truncate(offset).await;
}

/// For a client that went away in the middle.
impl Drop for Kept {
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(end(writer));
        }
    }
}

impl Session {
    /// Opens the ingest that the first request names.
    pub(crate) async fn begin(
        store: Arc<dyn ContentStore>,
        mut requests: Streaming<WriteContentRequest>,
    ) -> Result<Session> {
        let first = requests
            .message()
            .await?
            .filter(|first| !first.r#ref.is_empty())
            .ok_or_else(|| Status::invalid_argument("the first message must name a reference"))?;
        let options = WriterOptions {
            name: first.r#ref.clone(),
            total: size("total", first.total)?,
            expected: digest_if_any(&first.expected)?,
        };
        let (name, total, expected) = (options.name.clone(), options.total, options.expected.clone());
        let writer = store.writer(options).await.map_err(status)?;
        let is_new = writer.status().offset == 0;
        Ok(Session {
            running: (expected.is_none() && is_new).then(|| Algorithm::Sha256.hasher()),
            store,
            requests,
            first: Some(first),
            writer: Kept(Some(writer)),
            name,
            total,
            expected,
            committed: false,
        })
    }

    /// An answer for each request; ends with the client's side, or with the first failure. What was written and not committed stays
    /// for the next session of the same name.
    pub(crate) fn run(self) -> impl Stream<Item = Result<WriteContentResponse>> {
        stream::unfold(Some(self), |session| async move {
            let mut session = session?;
            let step = session.step().await;
            if !matches!(step, Ok(Some(_))) {
                // Before the client hears of the end: it may open the ingest again at once.
                session.writer.end().await;
            }
            match step {
                Ok(Some(response)) => Some((Ok(response), Some(session))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn step(&mut self) -> Result<Option<WriteContentResponse>> {
        let request = match self.first.take() {
            Some(first) => first,
            None => match self.requests.message().await? {
                Some(request) => request,
                None => return Ok(None),
            },
        };
        if !request.r#ref.is_empty() && request.r#ref != self.name {
            let text = format!("the session is about {:?}, not {:?}", self.name, request.r#ref);
            return Err(Status::invalid_argument(text));
        }
        let action = WriteAction::try_from(request.action)
            .map_err(|_| Status::invalid_argument(format!("unknown action {}", request.action)))?;
        if self.committed {
            return Err(Status::failed_precondition(format!(
                "{:?} is committed",
                self.name
            )));
        }
        self.learn(&request).await?;
        if action == WriteAction::Stat {
            return self.response(action).map(Some);
        }
        self.append(request.offset, request.data).await?;
        if action == WriteAction::Commit {
            let (total, expected) = (self.total, self.expected.clone());
            let committed = self
                .writer()?
                .commit(total, expected.as_ref(), labels(request.labels));
            let digest = committed.await.map_err(status)?;
            self.committed = true;
            return Ok(Some(WriteContentResponse {
                digest: digest.to_string(),
                ..self.response(action)?
            }));
        }
        self.response(action).map(Some)
    }

    /// Takes over what a request knows better. When the blob that is now expected is there, nothing need be written.
    async fn learn(&mut self, request: &WriteContentRequest) -> Result<()> {
        if request.total != 0 {
            self.total = size("total", request.total)?;
        }
        let expected = digest_if_any(&request.expected)?;
        if expected.is_none() || expected == self.expected {
            return Ok(());
        }
        self.expected = expected;
        let Some(expected) = &self.expected else {
            return Ok(());
        };
        if self.store.info(expected).await.is_err() {
            return Ok(());
        }
        let error = status(ContentError::ContentExists(expected.clone()));
        if let Some(mut writer) = self.writer.0.take() {
            // Nobody writes it any more then.
            let _ = writer.truncate(0).await;
            drop(writer);
            let _ = self.store.abort(&self.name).await;
        }
        Err(error)
    }

    /// Writes `data` at `offset`: where the ingest ends, or 0 to begin anew.
    async fn append(&mut self, offset: i64, data: Vec<u8>) -> Result<()> {
        let (offset, at) = (size("offset", offset)?, self.writer()?.status().offset);
        if offset > 0 && offset != at {
            let text = format!("a write at {offset} must be at the end of what is there, {at}");
            return Err(Status::out_of_range(text));
        }
        if offset == 0 && at > 0 {
            self.writer()?.truncate(0).await.map_err(status)?;
            self.running = self.expected.is_none().then(|| Algorithm::Sha256.hasher());
        }
        if let Some(running) = &mut self.running {
            running.update(&data);
        }
        self.writer()?.write(data.into()).await.map_err(status)
    }

    fn writer(&mut self) -> Result<&mut Box<dyn Writer>> {
        self.writer
            .0
            .as_mut()
            .ok_or_else(|| Status::internal("the writer is gone"))
    }

    fn response(&mut self, action: WriteAction) -> Result<WriteContentResponse> {
        let now = self.writer()?.status();
        Ok(WriteContentResponse {
            action: action.into(),
            started_at: Some(to_wire(now.started_at)),
            updated_at: Some(to_wire(now.updated_at)),
            offset: bytes(now.offset),
            total: bytes(self.total),
            digest: self
                .running
                .clone()
                .map_or_else(String::new, |running| running.finish().to_string()),
        })
    }
}

/// A number of bytes as a request gives it.
fn size(what: &str, value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Status::invalid_argument(format!("{what} {value}: it is negative")))
}
