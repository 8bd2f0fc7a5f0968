#![no_main]
//! Every message that a client of the layer can send, and what stands in its `Any`s: the first byte chooses.

use lighter_containerd_api as api;
use prost::Message;

/// What can be read can be written, and is read as the same.
fn again<M: Message + Default + PartialEq>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let same = M::decode(message.encode_to_vec().as_slice());
        // A number that is none is not equal to itself.
        assert!(same.is_ok_and(|same| same == message || message != message));
    }
}

macro_rules! messages {
    ($which:expr, $bytes:expr, $($message:ty),* $(,)?) => {{
        let all: &[fn(&[u8])] = &[$(again::<$message>),*];
        all[usize::from($which) % all.len()]($bytes);
    }};
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((which, bytes)) = input.split_first() else {
        return;
    };
    messages!(
        *which,
        bytes,
        api::containers::CreateContainerRequest,
        api::containers::ListContainersRequest,
        api::containers::UpdateContainerRequest,
        api::content::ListContentRequest,
        api::content::ReadContentRequest,
        api::content::UpdateRequest,
        api::content::WriteContentRequest,
        api::diff::ApplyRequest,
        api::diff::DiffRequest,
        api::event_service::ForwardRequest,
        api::event_service::PublishRequest,
        api::event_service::SubscribeRequest,
        api::images::CreateImageRequest,
        api::images::DeleteImageRequest,
        api::images::UpdateImageRequest,
        api::leases::AddResourceRequest,
        api::leases::CreateRequest,
        api::namespaces::UpdateNamespaceRequest,
        api::sandbox::ControllerCreateRequest,
        api::sandbox::StoreCreateRequest,
        api::snapshots::CommitSnapshotRequest,
        api::snapshots::PrepareSnapshotRequest,
        api::snapshots::UpdateSnapshotRequest,
        api::tasks::CreateTaskRequest,
        api::tasks::ExecProcessRequest,
        api::tasks::KillRequest,
        api::tasks::MetricsRequest,
        api::tasks::UpdateTaskRequest,
        api::transfer::TransferRequest,
        api::transfer_types::ImageStore,
        api::transfer_types::OciRegistry,
        api::runc::Options,
    );
});
