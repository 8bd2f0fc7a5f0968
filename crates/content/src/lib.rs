//! Content-addressed blobs, resumable ingests, leases, mark and sweep.
