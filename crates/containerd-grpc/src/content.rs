//! Content: blobs and ingests.
