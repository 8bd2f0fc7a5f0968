//! What can go wrong with an image.

use lighter_oci::{Digest, Platform};
use lighter_stdx::kind::Kind;

/// The result of an image operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of a pull, a push, an import or an export, or to read an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] lighter_registry::Error),
    /// The content store.
    #[error(transparent)]
    Content(#[from] lighter_content::Error),
    /// The snapshotter.
    #[error(transparent)]
    Snapshots(#[from] lighter_snapshots::Error),
    /// A layer could not be unpacked.
    #[error("failed to extract layer {layer}")]
    Unpack {
        /// Its digest.
        layer: Digest,
        /// Why.
        #[source]
        source: lighter_archive::Error,
    },
    /// What came is not the layer.
    #[error("filesystem layer verification failed for digest {layer}")]
    Layer {
        /// Its digest.
        layer: Digest,
        /// What came.
        #[source]
        source: lighter_content::Error,
    },
    /// A layer holds something else than the image's config says.
    #[error("wrong diff id {actual} calculated on extraction of layer {layer}, {expected} was expected")]
    DiffId {
        /// The layer's digest.
        layer: Digest,
        /// Of what it holds.
        actual: Digest,
        /// Of what it should hold.
        expected: Digest,
    },
    /// A manifest, index or config makes no sense.
    #[error("bad document {digest}: {why}")]
    Document {
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// There is nothing for this platform.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoPlatform {
        /// The platform.
        platform: Platform,
    },
    /// It is something else than a container image.
    #[error("unsupported media type {0}")]
    NotAnImage(String),
    /// An archive of images cannot be read.
    #[error("read the archive of images")]
    Archive(#[source] lighter_archive::Error),
    /// An archive of images makes no sense.
    #[error("{what} in the archive of images: {why}")]
    BadArchive {
        /// The entry, or a part of it.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is no archive of images.
    #[error("unrecognized image format: neither oci-layout nor manifest.json is in the archive")]
    Unrecognized,
    /// What shall be exported or pushed is not there.
    #[error("{what} of {of}")]
    Part {
        /// What is missing or wrong: a digest with what it is.
        what: String,
        /// What it is part of.
        of: String,
        /// Why.
        #[source]
        source: lighter_content::Error,
    },
    /// An index has no manifest for what is to be exported.
    #[error("no manifest found for platform")]
    NothingToExport,
    /// Nothing that an archive holds is wanted.
    #[error("no image of the archive is for a platform that is wanted")]
    NothingToImport,
    /// Only manifests and indexes may be exported.
    #[error("only manifests may be exported")]
    NotAManifest,
    /// Whoever reads an export went away.
    #[error("the reader of the archive went away")]
    NoReader,
    /// The snapshotter gave mounts that nothing can be unpacked into.
    #[error("snapshot {0:?} has no directory to unpack into")]
    NoDirectory(String),
    /// Layers below it were removed again and again while it was unpacked.
    #[error("layers of the image were removed while it was unpacked")]
    Removed,
    /// A background task died.
    #[error("a task of the pull panicked")]
    Panicked,
}

impl Error {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Registry(error) => error.kind(),
            Error::Content(error) => error.kind(),
            Error::Snapshots(error) => error.kind(),
            Error::Unpack { source, .. } if source.is_disk_full() => Kind::Exhausted,
            Error::Unpack { .. } | Error::Layer { .. } | Error::DiffId { .. } | Error::Document { .. } => {
                Kind::FailedPrecondition
            }
            Error::NoPlatform { .. } | Error::NothingToExport | Error::NothingToImport => Kind::NotFound,
            Error::NotAnImage(_) | Error::BadArchive { .. } | Error::Unrecognized | Error::NotAManifest => {
                Kind::InvalidArgument
            }
            Error::Archive(lighter_archive::Error::Read(_)) => Kind::Unavailable,
            Error::Archive(_) => Kind::InvalidArgument,
            Error::Part { source, .. } => source.kind(),
            Error::NoReader => Kind::Unavailable,
            Error::Removed => Kind::Unavailable,
            Error::NoDirectory(_) | Error::Panicked => Kind::Internal,
        }
    }

    /// The registry wants (other) credentials.
    pub fn is_refused(&self) -> bool {
        matches!(self, Error::Registry(error) if error.is_refused())
    }
}
