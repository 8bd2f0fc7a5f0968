//! Content: blobs and ingests.

use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::stream::{self, BoxStream, Iter, StreamExt as _};
use lighter_containerd::Layer;
use lighter_containerd::time::to_wire;
use lighter_containerd_api::content as api;
use lighter_containerd_api::content::content_server::Content;
use lighter_content::{ContentStore, Info, ReadAt};
use tonic::{Request, Response, Status, Streaming};

use crate::content_write::Session;
use crate::convert::{fields, labels, to_labels};
use crate::descriptor::{bytes, digest};
use crate::error::{Result, status};
use crate::request::{lease, namespace};

pub(crate) struct Service(pub(crate) Layer);

/// Blobs of one message of a list. Source: containerd's content service.
const BATCH: usize = 100;
/// Bytes of one message of a read. Source: containerd's content service.
const CHUNK: usize = 1 << 20;

#[tonic::async_trait]
impl Content for Service {
    async fn info(&self, request: Request<api::InfoRequest>) -> Result<Response<api::InfoResponse>> {
        let store = self.of(&request)?;
        let info = store.info(&digest(&request.get_ref().digest)?).await;
        let info = Some(message(info.map_err(status)?));
        Ok(Response::new(api::InfoResponse { info }))
    }

    async fn update(&self, request: Request<api::UpdateRequest>) -> Result<Response<api::UpdateResponse>> {
        let store = self.of(&request)?;
        let request = request.into_inner();
        let info = request
            .info
            .ok_or_else(|| Status::invalid_argument("the blob is missing"))?;
        let (digest, fields) = (digest(&info.digest)?, fields(request.update_mask));
        let updated = store.update(&digest, labels(info.labels), &fields).await;
        let info = Some(message(updated.map_err(status)?));
        Ok(Response::new(api::UpdateResponse { info }))
    }

    type ListStream = Iter<IntoIter<Result<api::ListContentResponse>>>;

    async fn list(&self, request: Request<api::ListContentRequest>) -> Result<Response<Self::ListStream>> {
        let store = self.of(&request)?;
        let all = store.list(&request.get_ref().filters).await.map_err(status)?;
        let all: Vec<_> = all.into_iter().map(message).collect();
        let batch = |infos: &[api::Info]| Ok(api::ListContentResponse { info: infos.to_vec() });
        let batches: Vec<_> = all.chunks(BATCH).map(batch).collect();
        Ok(Response::new(stream::iter(batches)))
    }

    async fn delete(&self, request: Request<api::DeleteContentRequest>) -> Result<Response<()>> {
        let store = self.of(&request)?;
        let digest = digest(&request.get_ref().digest)?;
        store.delete(&digest).await.map_err(status)?;
        // What only it referred to may go.
        self.0.collect_soon();
        Ok(Response::new(()))
    }

    type ReadStream = BoxStream<'static, Result<api::ReadContentResponse>>;

    async fn read(&self, request: Request<api::ReadContentRequest>) -> Result<Response<Self::ReadStream>> {
        let store = self.of(&request)?;
        let request = request.into_inner();
        let reader = store.reader_at(&digest(&request.digest)?).await.map_err(status)?;
        let size = reader.size();
        let from = u64::try_from(request.offset).unwrap_or(0);
        if from > size {
            let text = format!(
                "read at {from}, behind the end of the {size} bytes of {}",
                request.digest
            );
            return Err(Status::out_of_range(text));
        }
        // None, or more than there is: all there is.
        let length = u64::try_from(request.size).ok().filter(|length| *length > 0);
        let end = length.map_or(size, |length| size.min(from.saturating_add(length)));
        Ok(Response::new(chunks(reader, from, end).boxed()))
    }

    async fn status(&self, request: Request<api::StatusRequest>) -> Result<Response<api::StatusResponse>> {
        let store = self.of(&request)?;
        let found = store.status(&request.get_ref().r#ref).await;
        let status = Some(ingest(found.map_err(status)?));
        Ok(Response::new(api::StatusResponse { status }))
    }

    async fn list_statuses(
        &self,
        request: Request<api::ListStatusesRequest>,
    ) -> Result<Response<api::ListStatusesResponse>> {
        let store = self.of(&request)?;
        let found = store.list_statuses(&request.get_ref().filters).await;
        let statuses = found.map_err(status)?.into_iter().map(ingest).collect();
        Ok(Response::new(api::ListStatusesResponse { statuses }))
    }

    type WriteStream = BoxStream<'static, Result<api::WriteContentResponse>>;

    async fn write(
        &self,
        request: Request<Streaming<api::WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>> {
        let store = self.of(&request)?;
        let session = Session::begin(store, request.into_inner()).await?;
        Ok(Response::new(session.run().boxed()))
    }

    async fn abort(&self, request: Request<api::AbortRequest>) -> Result<Response<()>> {
        let store = self.of(&request)?;
        let aborted = store.abort(&request.get_ref().r#ref).await;
        aborted.map(Response::new).map_err(status)
    }
}

impl Service {
    /// The store as the request's namespace and lease see it.
    fn of<T>(&self, request: &Request<T>) -> Result<Arc<dyn ContentStore>> {
        let (namespace, lease) = (namespace(request)?, lease(request));
        Ok(self.0.content(&namespace, lease.as_deref()))
    }
}

/// The bytes from `from` to `end`, a mebibyte at a time; the next is read while one is on its way.
fn chunks(
    reader: Box<dyn ReadAt>,
    from: u64,
    end: u64,
) -> impl stream::Stream<Item = Result<api::ReadContentResponse>> {
    let reader: Arc<dyn ReadAt> = reader.into();
    let offsets = stream::iter((from..end).step_by(CHUNK));
    let read = move |offset: u64| {
        let reader = Arc::clone(&reader);
        async move {
            let length = usize::try_from(end - offset).map_or(CHUNK, |left| left.min(CHUNK));
            let data = reader.read_at(offset, length).await.map_err(status)?;
            if data.len() < length {
                return Err(Status::data_loss("the blob's file is shorter than the blob"));
            }
            Ok(api::ReadContentResponse {
                offset: bytes(offset),
                data: data.into(),
            })
        }
    };
    offsets.map(read).buffered(2)
}

fn message(info: Info) -> api::Info {
    api::Info {
        digest: info.digest.to_string(),
        size: bytes(info.size),
        created_at: Some(to_wire(info.created_at)),
        updated_at: Some(to_wire(info.updated_at)),
        labels: to_labels(info.labels),
    }
}

fn ingest(found: lighter_content::Status) -> api::Status {
    api::Status {
        started_at: Some(to_wire(found.started_at)),
        updated_at: Some(to_wire(found.updated_at)),
        r#ref: found.name,
        offset: bytes(found.offset),
        total: bytes(found.total),
        expected: found
            .expected
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
    }
}
