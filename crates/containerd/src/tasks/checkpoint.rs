//! Checkpoints of tasks as content, and tasks that come back from one.

use std::path::Path;

use bytes::Bytes;
use lighter_archive::{Options, Whiteouts};
use lighter_content::{Labels, ReadAt, write_blob};
use lighter_oci::Descriptor;
use lighter_shim_api::Message;
use lighter_shim_api::runc_options::{self, CheckpointOptions};
use lighter_shim_api::service::{RUNC_OPTIONS, is_type};
use lighter_shim_api::task as wire;
use lighter_snapshots::Mount;
use lighter_stdx::tree;
use prost_types::Any;

use super::{Bundle, Tasks, blocking, detached};
use crate::compare::Comparison;
use crate::error::io as failed;
use crate::layer::Layer;
use crate::{Error, Kind, Result, diff};

/// The media type of CRIU's images in a tar. Source: containerd's `core/images/mediatypes.go`.
const CHECKPOINT: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
/// The media type of the specification of the container that was checkpointed. Source: as [`CHECKPOINT`].
const CHECKPOINT_CONFIG: &str = "application/vnd.containerd.container.checkpoint.config.v1+proto";
/// The protocol buffers' name of the options of a checkpoint.
const OPTIONS: &str = "containerd.runc.v1.CheckpointOptions";

/// The images of processes that come back.
#[derive(Debug)]
pub enum Images {
    /// A directory of the client's.
    Directory(String),
    /// A tar, which is unpacked into the bundle and goes with it.
    Archive(Box<dyn ReadAt>),
}

impl Images {
    /// The directory that the shim is told.
    pub(super) async fn into_directory(self, bundle: &Bundle) -> Result<String> {
        let archive = match self {
            Images::Directory(path) => return Ok(path),
            Images::Archive(archive) => archive,
        };
        let path = bundle.path.join("checkpoint");
        let shown = path.to_string_lossy().into_owned();
        blocking(move || {
            std::fs::create_dir(&path).map_err(failed("create directory", &path))?;
            let options = Options {
                whiteouts: Whiteouts::Drop,
                lower: Vec::new(),
                limit: diff::LIMIT,
            };
            lighter_archive::apply(archive.into_read(), &path, &options)?;
            Ok(())
        })
        .await?;
        Ok(shown)
    }
}

impl Layer {
    /// What a task that is made with these options and this checkpoint comes back from. The descriptor's annotations are not looked at.
    ///
    /// Source: containerd's task service. Where that unpacks to a temporary directory which stays, ours goes with the task.
    pub async fn checkpoint_images(
        &self,
        namespace: &str,
        options: Option<&Any>,
        checkpoint: Option<&Descriptor>,
    ) -> Result<Option<Images>> {
        let options = options.filter(|options| is_type(&options.type_url, RUNC_OPTIONS));
        let named = match options {
            Some(options) => decode::<runc_options::Options>(options)?.criu_image_path,
            None => String::new(),
        };
        if !named.is_empty() {
            return Ok(Some(Images::Directory(named)));
        }
        let Some(checkpoint) = checkpoint else {
            return Ok(None);
        };
        if checkpoint.media_type != CHECKPOINT {
            return Err(Error::Answer {
                kind: Kind::Unknown,
                message: format!("unsupported checkpoint type {:?}", checkpoint.media_type),
            });
        }
        let content = self.content(namespace, None);
        let archive = content.reader_at(&checkpoint.digest).await?;
        Ok(Some(Images::Archive(archive)))
    }

    /// Checkpoints a running task (containerd's `CheckpointOptions`). Gives the descriptors of the images and of the container's
    /// specification; none, if the options name a directory for the images.
    pub async fn checkpoint(
        &self,
        namespace: &str,
        lease: Option<&str>,
        id: &str,
        options: Option<Any>,
    ) -> Result<Vec<Descriptor>> {
        let container = self.containers().get(namespace, id)?;
        let named = match &options {
            Some(options) if is_type(&options.type_url, OPTIONS) => {
                decode::<CheckpointOptions>(options)?.image_path
            }
            Some(_) => {
                return Err(Error::Answer {
                    kind: Kind::Unknown,
                    message: format!("invalid task checkpoint option for {}", container.runtime),
                });
            }
            None => String::new(),
        };
        if !named.is_empty() {
            self.tasks().checkpoint(namespace, id, named, options).await?;
            return Ok(Vec::new());
        }
        let (layer, namespace, id) = (self.clone(), namespace.to_owned(), id.to_owned());
        let lease = lease.map(str::to_owned);
        detached(async move {
            let path = layer.tasks().images_directory(&namespace, &id)?;
            let made = async {
                let images = path.to_string_lossy().into_owned();
                let checkpointed = layer.tasks().checkpoint(&namespace, &id, images, options);
                checkpointed.await?;
                let images = layer.archive(&namespace, lease.as_deref(), &path).await?;
                let spec = container.spec.unwrap_or_default();
                let spec = prost::Message::encode_to_vec(&spec);
                let spec = layer.keep_spec(&namespace, lease.as_deref(), spec).await?;
                Ok(vec![images, spec])
            };
            let made = made.await;
            if let Err(error) = tree::remove(&path) {
                tracing::warn!(path = %path.display(), %error, "images of a checkpoint stay until their task is deleted");
            }
            made
        })
        .await
    }

    /// Keeps what is in a directory.
    async fn archive(&self, namespace: &str, lease: Option<&str>, path: &Path) -> Result<Descriptor> {
        let mount = Mount {
            kind: "bind".to_owned(),
            source: path.to_string_lossy().into_owned(),
            options: vec!["rbind".to_owned(), "ro".to_owned()],
            ..Mount::default()
        };
        let plain = Comparison {
            media_type: lighter_oci::media_type::OCI_LAYER.to_owned(),
            ..Comparison::default()
        };
        let mut images = self.compare(namespace, lease, &[], &[mount], plain).await?;
        images.media_type = CHECKPOINT.to_owned();
        Ok(images)
    }

    async fn keep_spec(&self, namespace: &str, lease: Option<&str>, spec: Vec<u8>) -> Result<Descriptor> {
        let size = spec.len() as u64;
        let content = self.content(namespace, lease);
        let digest = write_blob(&*content, Bytes::from(spec), Labels::default()).await?;
        Ok(Descriptor::new(CHECKPOINT_CONFIG.to_owned(), digest, size))
    }
}

impl Tasks {
    /// An empty directory in a task's bundle.
    fn images_directory(&self, namespace: &str, id: &str) -> Result<std::path::PathBuf> {
        let path = self.get(namespace, id)?.bundle.path.join("images");
        // What a death left.
        tree::remove(&path).map_err(failed("remove", &path))?;
        std::fs::create_dir(&path).map_err(failed("create directory", &path))?;
        Ok(path)
    }

    async fn checkpoint(&self, namespace: &str, id: &str, path: String, options: Option<Any>) -> Result<()> {
        let request = wire::CheckpointTaskRequest {
            id: id.to_owned(),
            path,
            options,
        };
        self.ask(namespace, id, "Checkpoint", &request).await
    }
}

fn decode<T: Message + Default>(any: &Any) -> Result<T> {
    T::decode(any.value.as_slice())
        .map_err(|error| Error::invalid("options", &any.type_url, error.to_string()))
}
